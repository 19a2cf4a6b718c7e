"""Data sets are fetched by name: first the terms, then all missing data that is available."""

import hashlib
import io

import pytest
from command_line import call
from rich.console import Console
from upstream_site import COMMIT, REPOSITORY, Site, serve

from clinprompt.cli.screen import download_bar
from clinprompt.errors import DataError, RunError, SettingError
from clinprompt.jobs.fetch import choose_cards, fetch_cards
from clinprompt.runs.suite_data import find_mirror
from clinprompt.tasks.card import TaskCard, catalog, find_card
from clinprompt.tasks.fetch.task_files import DownloadSource, data_cache
from clinprompt.tasks.suite import find_suite

ROWS = b"n,t,l\n1,a,1\n2,b,0\n"


@pytest.fixture
def site(monkeypatch, tmp_path):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("CLINPROMPT_CACHE", str(tmp_path / "cache"))
    with serve(Site()) as running:
        yield running


@pytest.fixture
def console():
    return Console(file=io.StringIO(), width=200)


@pytest.fixture
def route(site, console):
    with download_bar(console) as bar:
        yield DownloadSource(bar, site.url, site.url, lambda _: None)


def card(name, allows="any", file="a.csv", folder="", **source):
    return TaskCard.model_validate(
        {
            "name": name,
            "type": "nli",
            "answer": "label",
            "title": name,
            "metric": "accuracy",
            "folder": folder,
            "reader": {"name": "table", "row": {"fields": {"text": "t"}, "label": "l"}},
            "labels": {"1": "yes", "0": "no"},
            "source": {
                "repository": REPOSITORY,
                "commit": COMMIT,
                "paths": (f"{folder or name}/{file}",),
                "license": "its own",
                "license_allows": allows,
                **source,
            },
            "wording": {"version": 1, "template": "{{ text }}", "instruction": "yes or no"},
            "files": {"train": (file,)},
            "checksums": {file: hashlib.sha256(ROWS).hexdigest()},
        }
    )


def test_data_goes_to_the_cache_where_tasks_find_it(site, route, console):
    assert find_mirror(None) is None
    site.put("one/a.csv", ROWS)
    [row] = fetch_cards([card("one", "share-alike")], route)
    folder = data_cache() / "one"
    assert row == {
        "data": "one",
        "license": "its own",
        "allows": "share-alike",
        "fetched": 1,
        "folder": str(folder),
    }
    assert (folder / "a.csv").read_bytes() == ROWS
    assert f"one: license its own (use: share-alike); {REPOSITORY}" in console.file.getvalue()
    assert find_mirror(None) == data_cache()
    assert find_mirror(folder) == folder
    assert fetch_cards([card("one")], route)[0]["fetched"] == 0


def test_an_environment_variable_takes_precedence_over_fetched_data(site, monkeypatch, tmp_path):
    data_cache().mkdir(parents=True)
    monkeypatch.setenv("CLINPROMPT_MIRROR", str(tmp_path / "lab"))
    assert find_mirror(None) == tmp_path / "lab"


def test_terms_are_accepted_before_anything_is_fetched(site, route, tmp_path):
    cards = [card("free"), card("nc", "non-commercial"), card("dumb", "unstated")]
    for name in ("free", "nc", "dumb"):
        site.put(f"{name}/a.csv", ROWS)
    with pytest.raises(
        SettingError, match=r"\n- nc \(its own, http.*\)\n- dumb \(.*\n.*--accept-license"
    ):
        fetch_cards(cards, route, folder=tmp_path)
    with pytest.raises(SettingError, match=r"stated:\n- dumb \("):
        fetch_cards(cards, route, folder=tmp_path, accepted=["nc"])
    assert site.asked == []
    assert len(fetch_cards(cards, route, folder=tmp_path, accepted=["nc", "dumb"])) == 3
    assert len(fetch_cards(cards, route, folder=tmp_path)) == 3, "what is there needs no consent"
    assert len(fetch_cards(cards, route, folder=tmp_path / "new", accepted=["all"])) == 3


def test_consent_for_an_unknown_set_is_refused(route, tmp_path):
    with pytest.raises(SettingError, match=r"--accept-license onne: .* did you mean one\?"):
        fetch_cards([card("one")], route, folder=tmp_path, accepted=["onne"])


def test_tasks_of_one_data_set_share_its_folder_and_consent(site, route, tmp_path):
    cards = [
        card("one-a", "unstated", "a.csv", folder="one"),
        card("one-b", "unstated", "b.csv", folder="one"),
    ]
    site.put("one/a.csv", ROWS)
    site.put("one/b.csv", ROWS)
    [row] = fetch_cards(cards, route, folder=tmp_path, accepted=["one"])
    assert row["fetched"] == 2
    assert sorted(path.name for path in (tmp_path / "one").iterdir()) == ["a.csv", "b.csv"]


def test_unavailable_data_is_named_and_the_rest_is_fetched(site, route, tmp_path):
    gated = card(
        "gated", "non-commercial", repository="https://portal.example.org/", paths=("x.zip",)
    )
    site.put("last/a.csv", ROWS)
    with pytest.raises(DataError) as caught:
        fetch_cards([gated, card("gone"), card("last")], route, folder=tmp_path)
    message = str(caught.value)
    where = "ask for it at https://portal.example.org/ (its own)"
    start = f"2 of 3 not fetched: gated: not public; {where}, and put x.zip into "
    assert message.startswith(f"{start}{tmp_path / 'gated'}; and http")
    assert "gone/a.csv: HTTP 404" in message
    assert (tmp_path / "last" / "a.csv").is_file()
    (tmp_path / "gated").mkdir()
    access = card("gated", access="sign the agreement of its authors", paths=("x.zip",))
    with pytest.raises(DataError, match=r"not public; sign the agreement of its authors, and put"):
        fetch_cards([access], route, folder=tmp_path)
    (tmp_path / "gated" / "x.zip").touch()
    assert fetch_cards([access], route, folder=tmp_path)[0]["fetched"] == 0
    assert fetch_cards([gated], route, folder=tmp_path)[0]["fetched"] == 0


def test_data_that_is_not_public_is_reported_before_the_network_fails(site, console, tmp_path):
    access = card("gated", access="sign the agreement of its authors", paths=("x.zip", "y.zip"))
    with download_bar(console) as bar:
        nowhere = DownloadSource(bar, "http://127.0.0.1:9", "http://127.0.0.1:9", lambda _: None)
        with pytest.raises(RunError, match="cannot be reached"):
            fetch_cards([card("open"), access], nowhere, folder=tmp_path)
    assert "gated: not public; sign the agreement of its authors, and put x.zip, y.zip into" in (
        console.file.getvalue()
    )


def test_cards_are_chosen_by_name_and_suite(tmp_path):
    suite = find_suite("open-mini-smoke")
    chosen = choose_cards(["nli-mqp", "practice-ner-drugs"], "open-mini-smoke")
    assert {c.name for c in chosen} == {"nli-mqp", *suite.sources, *suite.targets}
    with pytest.raises(SettingError, match="nothing to fetch; name a task or a suite"):
        choose_cards(["practice-ner-drugs"])
    with pytest.raises(SettingError, match="nothing to fetch; name a task or a suite"):
        choose_cards([])
    own = find_card("nli-mqp").path.read_text()
    (tmp_path / "card.toml").write_text(own)
    with pytest.raises(
        SettingError, match="nli-mqp: nothing to fetch; its records are in the folder"
    ):
        choose_cards([str(tmp_path)])
    assert find_card("nli-mqp").path in catalog().values()


def test_the_command_lists_terms_to_accept_one_per_line(site):
    result = call("tasks", "fetch", "nli-mqp")
    assert result.exit_code == 2
    head, terms, remedy = result.stderr.splitlines()
    assert head == "error: no commercial use, or no license stated:"
    assert terms.startswith("- nli-mqp (")
    assert remedy.startswith("read the terms there, ")
