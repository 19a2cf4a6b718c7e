"""Cards are found by name, folder or file, and say what does not fit together."""

import re
import tomllib
from pathlib import Path

import pytest
from made_cards import CARD_TEXT

from clinprompt.errors import DataError, SettingError
from clinprompt.tasks.card import catalog, find_card, read_card
from clinprompt.tasks.records import one_line
from clinprompt.tasks.suite import find_suite

ROOT = Path(__file__).parents[3]
TRAIN, WHY = "train = { rows = 3 }", "reason = 'damaged'"


def refusal(folder, old, new):
    assert old in CARD_TEXT
    (folder / "card.toml").write_text(CARD_TEXT.replace(old, new, 1))
    with pytest.raises(DataError) as caught:
        find_card(str(folder))
    assert str(caught.value).startswith(f"{folder / 'card.toml'}: ")
    return str(caught.value)


def test_card_is_found_by_name_folder_or_file(tmp_path):
    (tmp_path / "card.toml").write_text(CARD_TEXT)
    by_folder = find_card(str(tmp_path))
    assert by_folder == find_card(str(tmp_path / "card.toml"))
    assert by_folder.path == tmp_path / "card.toml"
    assert find_card("nli-mqp").name == "nli-mqp"


def test_every_card_of_the_catalog_bears_its_file_name():
    for name, path in catalog().items():
        assert read_card(path).name == name


def test_every_card_of_the_catalog_says_where_it_comes_from():
    for name in catalog():
        card = find_card(name)
        if card.source.access:  # not public: no one can say what its files' checksums are
            assert card.source.paths
        elif not name.startswith("practice-"):
            assert card.source.repository.startswith("https://github.com/")
            assert len(card.source.commit) == 40
            named = {a.partition("!")[0] for files in dict(card.files).values() for a in files}
            assert named <= set(card.checksums)


def test_unknown_task_offers_the_nearest_names():
    with pytest.raises(SettingError, match="unknown task 'nli-mpq': did you mean nli-mqp"):
        find_card("nli-mpq")


def test_a_misspelt_folder_offers_the_nearest_and_not_the_whole_catalog(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my-task").mkdir()
    (tmp_path / "my-task" / "card.toml").write_text(CARD_TEXT)
    with pytest.raises(SettingError, match=r"'my-tsak/': did you mean my-task\? 'clinprompt tasks"):
        find_card("my-tsak/")
    with pytest.raises(SettingError) as caught:
        find_card("/no/such/place/xyzzy")
    assert "'clinprompt tasks list' shows all names; your own task is a folder" in str(caught.value)
    assert len(str(caught.value)) < 200


def test_folder_without_card_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"no such card; a task folder needs a card\.toml"):
        find_card(str(tmp_path))


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("name", "= name", "not readable as TOML"),
        ("title", "titel", "titel: no such setting; did you mean title?"),
        ('"nli"', '"classification"', "type = 'classification'; use nli"),
        ('"label"', '"spans"', "but type nli takes label"),
        ('"accuracy"', '"bleu"', "but answer label takes accuracy or "),
        ("version = 1", 'version = "a"', "wording.version: must be a whole number"),
        ("version = 1", "version = 0", "wording.version: must be at least 1"),
        ('title = "Mine"', "title = 5", "title: must be a text in quotes"),
        ('title = "Mine"', "", "title: is missing; add it"),
        ('title = "Mine"', 'title = "Mine"\nignore = ["1"]', "ignore: '1' has a word in labels"),
        ('"accuracy"', '"rouge_l"', "metric = 'rouge_l'"),
        ('{ 1 = "yes", 0 = "no" }', "{}", "labels is empty"),
        (
            '1 = "yes", 0 = "no"',
            '1 = "not so", 0 = "not  so"',
            "1 and 0 have the same word; give each label a different one",
        ),
        ('"no" }', '"Yes" }', "give each label a different one"),
        ('"accuracy"', '"positive_f1"\npositive = "2"', "must name some of the labels"),
        (
            '"accuracy"',
            '"macro_f1"\npositive = "1"',
            "positive = ['1'] is for metric positive_f1",
        ),
        (
            'type = "nli"\nanswer = "label"\ntitle = "Mine"\nmetric = "accuracy"',
            'type = "qa"\nanswer = "choice"\ntitle = "Mine"\nmetric = "accuracy"',
            "labels has no effect with answer = 'choice'; leave it out",
        ),
        ('"table"', '"tabel"', "reader.name: no reader 'tabel'; did you mean table?"),
        ("fields =", "feilds =", "reader.row.feilds: no such setting; did you mean fields or"),
        ("row =", "raw =", "reader.raw: no such setting; did you mean row?"),
        ("license_allows", "allows", "source.allows: no such setting; did you mean license_allows"),
        ("version = 1", "version = 1\nversoin = 2", "wording.versoin: no such setting; did you"),
        ("files", "fetch = { a = { fil = 'x' } }\nfiles", "fetch.a.fil: no such setting; did you"),
        ("files", "counts = { train = { raws = 1 } }\nfiles", "counts.train.raws: no such setting"),
        ('{ train = ["a.csv"] }', "{}", "files is empty"),
        ("files", "resplit = { test = 0.1, source = 'test' }\nfiles", "a share to move"),
        ("files", "resplit = { seed = 3 }\nfiles", "a share to move"),
        ("files", "resplit = { test = 0.5, validation = 0.5 }\nfiles", "or nothing is left"),
        (
            '"a.csv"] ',
            '"a.csv"], test = ["b"] }\nresplit = { test = 0.1 ',
            "which already have files",
        ),
        ("files", "readers = { test = { name = 'conll' } }\nfiles", "readers.test has no effect"),
        ("files", "published = { left_out = [] }\nfiles", "published: states nothing"),
        ("files", "published.all = {}\nfiles", "published.all: states neither rows nor"),
        ("files", "published.test = { rows = 3 }\nfiles", "published.test has no effect"),
        ("files", f"published = {{ {TRAIN}, left_out = [{{ rows = 1 }}] }}\nfiles", "reason"),
        ("files", f"published = {{ {TRAIN}, left_out = [{{ {WHY} }}] }}\nfiles", "counts neither"),
        (
            "files",
            f"published = {{ {TRAIN}, left_out = [{{ annotations = 1, {WHY} }}] }}\nfiles",
            "1 annotations of all differ, but no annotations of it are stated",
        ),
        (
            "files",
            f"published = {{ {TRAIN}, added = [{{ split = 'test', rows = 2, {WHY} }}] }}\nfiles",
            "2 rows of test differ, but no rows of it are stated",
        ),
    ],
)
def test_card_that_does_not_fit_together_is_refused(tmp_path, old, new, says):
    assert says in refusal(tmp_path, old, new)


def test_suites_name_tasks_of_the_catalog():
    for name in ("open-mini", "open-mini-smoke"):
        suite = find_suite(name)
        assert suite.name == name
        assert {*suite.sources, *suite.targets} <= set(catalog())
        assert not set(suite.sources) & set(suite.targets)


def test_unknown_or_damaged_suite_is_refused(tmp_path):
    with pytest.raises(SettingError, match="did you mean open-mini"):
        find_suite("open-minn")
    path = tmp_path / "mine.toml"
    path.write_text('name = "mine"')
    with pytest.raises(DataError, match=r"mine\.toml: not a suite: title"):
        find_suite(str(path))


def words(text):
    return set(re.findall(r"\w+", text))


@pytest.mark.parametrize("name", catalog())
def test_types_of_mentions_and_links_stand_in_the_template_or_the_note_says_why_not(name):
    card = find_card(name)
    is_asked = card.answer in ("spans", "relations") and len(card.labels) > 1
    types = words(" ".join(card.labels.values())) if is_asked else set()
    assert types <= words(card.wording.instruction)
    is_told = "named in the instruction alone" in " ".join(card.source.note.split())
    assert is_told != (types <= words(card.wording.template))


def test_the_shipped_metaprompt_learns_only_from_sources_free_for_any_use():
    suite = find_suite("shippable")
    assert {find_card(name).source.license_allows for name in suite.sources} == {"any"}
    assert suite.targets == find_suite("open21").targets


def test_the_sources_of_the_second_edition_are_free_and_held_back_tasks_are_not_among_them():
    free, research = find_suite("shippable-2"), find_suite("research-2")
    assert {find_card(name).source.license_allows for name in free.sources} == {"any"}
    assert {*find_suite("shippable").sources} < {*free.sources} < {*research.sources}
    held_back = {"ner-vaers", "nli-mqp", "ie-pgxcorpus", "qa-bioasq", "qa-medicationqa"}
    assert not held_back & {*research.sources}
    assert free.targets == research.targets == find_suite("open21").targets


def test_further_targets_are_no_sources_and_no_setting_was_searched_on_them():
    more, first = find_suite("more-targets"), find_suite("shippable")
    assert more.sources == first.sources
    configs = [tomllib.loads(path.read_text()) for path in (ROOT / "configs").glob("*.toml")]
    searched = {name for one in configs for name in one.get("search", {}).get("tasks", ())}
    assert {"ner-vaers", "nli-mqp", "nli-healthver"} <= searched
    assert not {*more.targets} & {*first.sources, *first.targets, *searched}


def test_the_shippable_suite_names_every_open_task_that_it_leaves_out():
    suite = find_suite("shippable")
    left_out = [line for line in suite.missing if line.startswith("left out, ")]
    named = {name for line in left_out for name in line.partition(": ")[2].split(", ")}
    open_tasks = {
        name
        for name in catalog()
        if not find_card(name).source.access and not name.startswith("practice-")
    }
    assert named == open_tasks - {*suite.sources, *suite.targets}


@pytest.mark.parametrize("name", catalog())
def test_every_paraphrase_has_the_label_words_and_the_form_of_the_instruction(name):
    card = find_card(name)
    first, *others = card.wording.instructions
    assert 2 <= len(others) <= 4
    asked = words(" ".join(card.labels.values())) & words(first)
    forms = re.findall(r"`([^`]+)`", first)
    for said in others:
        assert asked <= words(said)
        assert re.findall(r"`([^`]+)`", one_line(said)) == [one_line(form) for form in forms]
        assert ("none" in words(said)) == ("none" in words(first))
