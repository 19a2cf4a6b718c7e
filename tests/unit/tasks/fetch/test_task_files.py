"""Fetched data is whole, verified, and laid out like a mirror, whatever the network does."""

import gzip
import hashlib
import io
import os
import tarfile
from pathlib import Path
from types import SimpleNamespace

import pytest
from made_cards import CARD_TEXT, SOURCE
from upstream_site import COMMIT, REPOSITORY, Site, serve

from clinprompt.errors import DataError, RunError, SettingError
from clinprompt.tasks.card import catalog, find_card, read_card
from clinprompt.tasks.fetch.checksums import checksum
from clinprompt.tasks.fetch.task_files import (
    DownloadSource,
    choose_source,
    fetch_files,
    find_upstream,
    is_public,
    missing_files,
)
from clinprompt.tasks.fetch.upstream import Upstream, match_path
from clinprompt.tasks.load import load_task
from clinprompt.tasks.readers import PracticeReader

MIRROR = Path(os.environ.get("CLINPROMPT_MIRROR") or Path(__file__).parents[5] / "shared" / "data")
ROWS = b"n,t,l\n1,a,1\n2,b,0\n"
ROWS_SUM = hashlib.sha256(ROWS).hexdigest()
NOTES = {"notes/1.txt": b"one", "notes/2.txt": b"two"}
# as `sha256sum notes/1.txt notes/2.txt | sha256sum` gives it
NOTES_SUM = hashlib.sha256(
    "".join(f"{hashlib.sha256(c).hexdigest()}  {n}\n" for n, c in NOTES.items()).encode()
).hexdigest()
CARD = (
    CARD_TEXT.replace(SOURCE, "").replace("a.csv", "NAME")
    + """
[source]
repository = "REPOSITORY"
commit = "COMMIT"
paths = ["data/a.csv", "data/b.csv", "corpus/notes/"]
license = "none stated"
license_allows = "unstated"
[checksums]
"NAME" = "SUM"
"""
)


class RecordedProgress:
    """Record what is reported: starts as (what, total, done), and bytes."""

    def __init__(self):
        self.starts = []
        self.num_bytes = 0

    def begin(self, what, *, total, done):
        self.starts.append((what, total, done))

    def advance(self, num_bytes):
        self.num_bytes += num_bytes

    def say(self, message):
        pass


@pytest.fixture
def site(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with serve(Site()) as running:
        yield running


@pytest.fixture
def bench(site, tmp_path):
    """Fetch into ``folder`` from ``site``; ``waits`` are the pauses that were asked for."""
    waits = []
    progress = RecordedProgress()
    source = DownloadSource(progress, site.url, site.url, waits.append)
    folder = tmp_path / "data"
    return SimpleNamespace(site=site, folder=folder, waits=waits, progress=progress, source=source)


def card(tmp_path, name="a.csv", total=ROWS_SUM, more=""):
    text = CARD.replace("NAME", name).replace("SUM", total).replace("REPOSITORY", REPOSITORY)
    path = tmp_path / "card.toml"
    path.write_text(text.replace("COMMIT", COMMIT) + more)
    return read_card(path)


def names(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def test_a_file_is_fetched_as_it_is_and_only_once(bench, tmp_path):
    bench.site.put("data/a.csv", ROWS)
    mine = card(tmp_path)
    assert fetch_files(mine, bench.folder, bench.source) == ("a.csv",)
    assert (bench.folder / "a.csv").read_bytes() == ROWS
    assert bench.progress.starts == [("a.csv", len(ROWS), 0)]
    assert bench.progress.num_bytes == len(ROWS)
    assert fetch_files(mine, bench.folder, bench.source) == ()
    assert len(bench.site.asked) == 1
    assert names(bench.folder) == ["a.csv"]


def test_fetched_data_and_a_mirror_load_alike(bench, tmp_path):
    """The card has the checksum of the content, so it does not matter who packed the file."""
    bench.site.put("data/a.csv", ROWS)
    mine = card(tmp_path, "a.csv.gz", f"content:{ROWS_SUM}")
    fetch_files(mine, tmp_path, bench.source)
    fetched = (tmp_path / "a.csv.gz").read_bytes()
    theirs = gzip.compress(ROWS, compresslevel=1, mtime=99)
    assert gzip.decompress(fetched) == ROWS
    assert fetched != theirs
    data = load_task(mine, None)
    (tmp_path / "a.csv.gz").write_bytes(theirs)
    assert load_task(mine, None).splits == data.splits
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(ROWS + b"3,c,1\n"))
    with pytest.raises(DataError, match=f"sha256 is content:.*the card has content:{ROWS_SUM}"):
        load_task(mine, None)
    (tmp_path / "a.csv.gz").write_bytes(theirs[:-9])
    with pytest.raises(DataError, match=r"a\.csv\.gz: damaged"):
        load_task(mine, None)


def test_a_folder_is_packed_the_same_every_time(bench, tmp_path):
    others = {"corpus/notes/.DS_Store": b"x", "corpus/notesheet.txt": b"x", "README.md": b"x"}
    bench.site.put_archive({f"corpus/{n}": c for n, c in NOTES.items()} | others)
    mine = card(tmp_path, "notes.tar.gz", f"content:{NOTES_SUM}")
    assert fetch_files(mine, bench.folder, bench.source) == ("notes.tar.gz",)
    packed = (bench.folder / "notes.tar.gz").read_bytes()
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        assert {m.name: archive.extractfile(m).read() for m in archive} == NOTES
    assert names(bench.folder) == ["notes.tar.gz"]
    (bench.folder / "notes.tar.gz").unlink()
    bench.site.put_archive({f"corpus/{n}": NOTES[n] for n in reversed(NOTES)})
    fetch_files(mine, bench.folder, bench.source)
    assert (bench.folder / "notes.tar.gz").read_bytes() == packed


def test_content_checksum_of_an_archive_ignores_order_and_dot_files(tmp_path):
    sums = set()
    for suffix, members in {
        "tar": NOTES,
        "tar.gz": {f"./{n}": NOTES[n] for n in reversed(NOTES)} | {"notes/.DS_Store": b"x"},
    }.items():
        path = tmp_path / f"notes.{suffix}"
        with tarfile.open(path, "w:gz" if suffix.endswith("gz") else "w") as archive:
            for name, content in members.items():
                member = tarfile.TarInfo(name)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
        sums.add(checksum(path, like="content:"))
    assert sums == {f"content:{NOTES_SUM}"}


def test_two_files_packed_from_one_repository_need_one_download(bench, tmp_path):
    bench.site.put_archive(NOTES)
    one = hashlib.sha256(f"{hashlib.sha256(b'one').hexdigest()}  1.txt\n".encode()).hexdigest()
    more = f"""
    "one.tar.gz" = "content:{one}"
    [fetch]
    "both.tar.gz" = {{ pack = ["notes"] }}
    "one.tar.gz" = {{ pack = ["notes/1.txt"], below = "notes" }}
    """
    mine = card(tmp_path, "both.tar.gz", f"content:{NOTES_SUM}", more)
    assert fetch_files(mine, bench.folder, bench.source) == ("both.tar.gz", "one.tar.gz")
    assert len(bench.site.asked) == 1
    assert names(bench.folder) == ["both.tar.gz", "one.tar.gz"]


def test_a_file_may_come_from_another_repository(bench, tmp_path):
    bench.site.put("x/a (1).csv", ROWS, repository="other/place")
    bench.site.files = {k.replace("a (1)", "a%20%281%29"): v for k, v in bench.site.files.items()}
    more = f"""
    [fetch."deep/a.csv"]
    file = "x/a (1).csv"
    repository = "https://github.com/other/place"
    commit = "{COMMIT}"
    """
    fetch_files(card(tmp_path, "deep/a.csv", more=more), bench.folder, bench.source)
    assert names(bench.folder) == ["deep", "deep/a.csv"]


@pytest.mark.parametrize("takes_ranges", [True, False])
def test_a_cut_download_continues_if_the_server_supports_it(bench, tmp_path, takes_ranges):
    rows = ROWS * 1000
    bench.site.put("data/a.csv", rows)
    bench.site.takes_ranges = takes_ranges
    bench.site.troubles = [-5000, -7000]
    mine = card(tmp_path, total=hashlib.sha256(rows).hexdigest())
    fetch_files(mine, bench.folder, bench.source)
    assert (bench.folder / "a.csv").read_bytes() == rows
    assert names(bench.folder) == ["a.csv"]
    second = "bytes=12000-" if takes_ranges else "bytes=7000-"
    assert [asked for _, asked in bench.site.asked] == ["", "bytes=5000-", second]
    assert bench.progress.starts[1] == ("a.csv", len(rows), 5000 if takes_ranges else 0)
    assert bench.waits == [1.0, 2.0]


def test_the_next_run_continues_what_an_unreachable_server_left(bench, tmp_path):
    rows = ROWS * 1000
    bench.site.put("data/a.csv", rows)
    bench.site.troubles = [-1000] * 5
    mine = card(tmp_path, total=hashlib.sha256(rows).hexdigest())
    with pytest.raises(RunError, match=r"127\.0\.0\.1:\d+: no complete answer .*check the network"):
        fetch_files(mine, bench.folder, bench.source)
    assert bench.waits == [1.0, 2.0, 4.0, 8.0]
    assert not (bench.folder / "a.csv").exists()
    fetch_files(mine, bench.folder, bench.source)
    assert bench.site.asked[-1] == ("a.csv", "bytes=5000-")
    assert (bench.folder / "a.csv").read_bytes() == rows


def test_a_partial_file_that_is_too_long_is_discarded(bench, tmp_path):
    bench.site.put("data/a.csv", ROWS)
    mine = card(tmp_path)
    bench.site.troubles = [-3] * 5
    with pytest.raises(RunError):
        fetch_files(mine, bench.folder, bench.source)
    [part] = bench.folder.iterdir()
    part.write_bytes(b"x" * 100)
    fetch_files(mine, bench.folder, bench.source)
    assert [asked for _, asked in bench.site.asked[-2:]] == ["bytes=100-", ""]
    assert names(bench.folder) == ["a.csv"]


def test_an_overloaded_server_is_asked_again(bench, tmp_path):
    bench.site.put("data/a.csv", ROWS)
    bench.site.troubles = [503, 429, 500]
    fetch_files(card(tmp_path), bench.folder, bench.source)
    assert bench.waits == [1.0, 2.0, 4.0]
    (bench.folder / "a.csv").unlink()
    bench.site.troubles = [502] * 5
    with pytest.raises(DataError, match=r"a\.csv: HTTP 502 at every attempt; try again later"):
        fetch_files(card(tmp_path), bench.folder, bench.source)


def test_a_file_that_upstream_does_not_have_is_requested_once(bench, tmp_path):
    with pytest.raises(DataError, match=r"data/a\.csv: HTTP 404 .*--mirror DIR"):
        fetch_files(card(tmp_path), bench.folder, bench.source)
    assert bench.waits == []


@pytest.mark.parametrize("host", ["127.0.0.1:9", "no-such-host.invalid"])
def test_an_unreachable_network_is_one_immediate_error(bench, tmp_path, monkeypatch, host):
    monkeypatch.setenv("no_proxy", "*")
    nowhere = DownloadSource(bench.progress, f"http://{host}", f"http://{host}", bench.waits.append)
    with pytest.raises(RunError, match=rf"{host}: cannot be reached .*https_proxy.*--to DIR"):
        fetch_files(card(tmp_path), bench.folder, nowhere)
    assert bench.waits == []


def test_what_is_not_the_file_of_the_card_is_removed_and_named(bench, tmp_path):
    bench.site.put("data/a.csv", b"other")
    with pytest.raises(DataError, match=rf"a\.csv: the file from .* card has {ROWS_SUM}; it was"):
        fetch_files(card(tmp_path), bench.folder, bench.source)
    assert names(bench.folder) == []


def test_a_damaged_archive_is_removed_and_named(bench, tmp_path):
    mine = card(tmp_path, "notes.tar.gz", f"content:{NOTES_SUM}")
    bench.site.files[f"/someone/corpus/tar.gz/{COMMIT}"] = b"not an archive"
    with pytest.raises(DataError, match="the downloaded archive is damaged"):
        fetch_files(mine, bench.folder, bench.source)
    bench.site.put_archive({"README.md": b"x"})
    with pytest.raises(DataError, match=r"corpus: no 'corpus/notes' at c0ffee"):
        fetch_files(mine, bench.folder, bench.source)
    bench.site.put_archive({"corpus/notes/3.txt": b"three"})
    with pytest.raises(DataError, match=r"notes\.tar\.gz: the file from .* it was removed"):
        fetch_files(mine, bench.folder, bench.source)
    assert names(bench.folder) == []


def test_a_damaged_file_in_the_folder_is_fetched_again(bench, tmp_path):
    bench.site.put("data/a.csv", ROWS)
    bench.folder.mkdir()
    (bench.folder / "a.csv").write_bytes(ROWS[:-1])
    assert missing_files(card(tmp_path), bench.folder) == ("a.csv",)
    fetch_files(card(tmp_path), bench.folder, bench.source)
    assert (bench.folder / "a.csv").read_bytes() == ROWS


def test_a_response_without_a_length_is_read_completely(bench, tmp_path):
    bench.site.put("data/a.csv", ROWS)
    bench.site.tells_length = False
    fetch_files(card(tmp_path), bench.folder, bench.source)
    assert bench.progress.starts == [("a.csv", None, 0)]


def test_a_folder_that_cannot_be_written_is_named(bench, tmp_path):
    bench.site.put("data/a.csv", ROWS)
    bench.folder.write_text("in the way")
    with pytest.raises(RunError, match="could not be written"):
        fetch_files(card(tmp_path), bench.folder, bench.source)


def test_paths_match_names_by_their_end():
    paths = ["x/a.csv", "y/b.csv", "z/b.csv", "corpus/notes/", "top"]
    assert match_path(paths, "a.csv") == Upstream(file="x/a.csv")
    assert match_path(paths, "z/b.csv") == Upstream(file="z/b.csv")
    assert match_path(paths, "a.csv.gz") == Upstream(gzip="x/a.csv")
    assert match_path(paths, "notes.tar.gz") == Upstream(pack=("corpus/notes",), below="corpus")
    assert match_path(paths, "top.tar.gz") == Upstream(pack=("top",))
    assert match_path(paths, "b.csv") is None
    assert match_path(paths, ".csv") is None
    assert match_path(paths, "c.csv") is None


@pytest.mark.parametrize(
    ("name", "more", "problem"),
    [
        ("b.txt", "", r"not exactly one of source\.paths ends with 'b\.txt'; give its path in fe"),
        ("a.csv.gz", "", r"a\.csv\.gz is packed after.* checksum as 'content:HEX'"),
        (
            "a.csv",
            "[fetch]\n'c.csv' = 'x'",
            r"fetch names 'c\.csv', which has no entry in checksums",
        ),
        ("a.csv", "[fetch]\n'a.csv' = {}", "exactly one of file, gzip and pack"),
        ("a.csv", "[fetch]\n'a.csv' = { file = 'x', below = 'y' }", "below has no effect"),
        ("a.csv", "[fetch]\n'a.csv' = { file = 'x', commit = 'y' }", "are needed together"),
        (
            "a.csv",
            "[fetch]\n'a.csv' = { file = 'x', repository = 'y', commit = 'z' }",
            "repository must start with https://github",
        ),
    ],
)
def test_a_card_without_the_origin_of_a_file_is_refused(tmp_path, name, more, problem):
    with pytest.raises(DataError, match=problem):
        find_upstream(card(tmp_path, name, more=more), name)


def test_a_file_without_a_checksum_cannot_be_fetched(tmp_path):
    mine = card(tmp_path).model_copy(update={"checksums": {}})
    with pytest.raises(DataError, match=r"a\.csv has no checksum, so it cannot be fetched; add"):
        missing_files(mine, tmp_path)


def test_files_come_from_github_unless_another_server_is_named(monkeypatch):
    upstream = Upstream(file="x", repository=REPOSITORY, commit=COMMIT)
    source = choose_source(RecordedProgress())
    place = f"https://raw.githubusercontent.com/someone/corpus/{COMMIT}/a%20b/c.txt"
    assert source.file_url(upstream, "a b/c.txt") == place
    archive = f"https://codeload.github.com/someone/corpus/tar.gz/{COMMIT}"
    assert source.archive_url(upstream) == archive
    monkeypatch.setenv("CLINPROMPT_FETCH_BASE", "http://proxy/git/")
    assert choose_source(RecordedProgress()).file_url(upstream, "c") == (
        f"http://proxy/git/someone/corpus/{COMMIT}/c"
    )
    monkeypatch.setenv("CLINPROMPT_FETCH_BASE", "proxy")
    with pytest.raises(SettingError, match="CLINPROMPT_FETCH_BASE = 'proxy' must start with http"):
        choose_source(RecordedProgress())


def public_cards():
    cards = [find_card(name) for name in catalog()]
    return [c for c in cards if not isinstance(c.reader, PracticeReader) and is_public(c)]


@pytest.mark.parametrize("mine", public_cards(), ids=lambda mine: mine.name)
def test_each_card_states_the_origin_of_each_file(mine):
    lacking = missing_files(mine, Path("no such folder"))
    assert lacking == tuple(mine.checksums)
    for name in lacking:
        find_upstream(mine, name)


@pytest.mark.parametrize("name", ["nli-scinli", "sum-mediqa-ans", "ie-maccrobat"])
def test_real_data_is_fetched_from_a_server_laid_out_like_github(bench, name, tmp_path):
    """Put the mirror's files where the card says they come from, and fetch them again."""
    mine = find_card(name)
    mirror = MIRROR / mine.data_folder
    if not mirror.is_dir():
        pytest.skip(f"no mirror of {mine.data_folder} at {MIRROR}")
    for file in mine.checksums:
        upstream = find_upstream(mine, file)
        place = bench.source.file_url(upstream, upstream.file or upstream.gzip)
        content = (mirror / file).read_bytes()
        if upstream.pack:
            with tarfile.open(mirror / file) as archive:
                members = {m.name: archive.extractfile(m).read() for m in archive}
            below = f"{upstream.below}/" if upstream.below else ""
            bench.site.put_archive({f"{below}{n}": c for n, c in members.items()})
            place = bench.source.archive_url(upstream)
            content = bench.site.files.popitem()[1]
        bench.site.files[place.removeprefix(bench.site.url)] = (
            gzip.decompress(content) if upstream.gzip else content
        )
    fetch_files(mine, tmp_path / mine.data_folder, bench.source)
    assert load_task(mine, tmp_path).splits == load_task(mine, MIRROR).splits
