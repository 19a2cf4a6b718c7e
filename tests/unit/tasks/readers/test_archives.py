"""Archives unpack within limits, in memory; what leads out of them is refused, links are left."""

import io
import struct
import tarfile
import time
import zipfile

import pytest
from packing import gzipped, tarred, workbook, zipped

from clinprompt.errors import DataError
from clinprompt.tasks.fetch.checksums import checksum
from clinprompt.tasks.readers.generic.archives import (
    FREE_BYTES,
    MAX_BYTES,
    MAX_MEMBERS,
    Budget,
    Unsafe,
    check_zip,
    leads_out,
)
from clinprompt.tasks.readers.generic.data_files import open_files
from clinprompt.tasks.readers.generic.excel import open_sheet

LARGE = bytes(FREE_BYTES + (4 << 20))  # about 20 kB when packed
MUCH = r"unpacks to more than 256 MiB, or to more than 100 times its size; if you trust it"


def contents(folder, address):
    return [file.content() for file in open_files(folder, address)]


BOMBS = {
    "a.zip": zipped({"a.txt": LARGE}),
    "b.zip": zipped({f"{n}.txt": bytes(1 << 20) for n in range(25)}),
    "a.tar.gz": gzipped(tarred({"a.txt": LARGE})),
    "a.txt.gz": gzipped(LARGE),
    "b.txt.gz": gzipped(bytes(1 << 20)) * 25,
    "inside.zip": zipped({"a.txt.gz": gzipped(LARGE)}),
}


@pytest.mark.parametrize("name", BOMBS)
def test_an_archive_that_unpacks_to_far_more_than_its_size_is_refused_by_name(tmp_path, name):
    (tmp_path / name).write_bytes(BOMBS[name])
    with pytest.raises(DataError, match=rf"{name}(!a\.txt\.gz)?: {MUCH}"):
        contents(tmp_path, name)


@pytest.mark.parametrize("name", ["a.tar.gz", "a.txt.gz", "b.txt.gz"])
def test_the_checksum_of_such_an_archive_is_not_computed(tmp_path, name):
    (tmp_path / name).write_bytes(BOMBS[name])
    with pytest.raises(DataError, match=rf"{name}: {MUCH}"):
        checksum(tmp_path / name, like="content:")


def test_a_text_that_compresses_well_is_read(tmp_path):
    """15 MB of one line pack to 15 kB: 1,000 times, but within the first 16 MiB."""
    (tmp_path / "a.txt.gz").write_bytes(gzipped(b"one note\n" * 1_700_000))
    (content,) = contents(tmp_path, "a.txt.gz")
    assert len(content) == 9 * 1_700_000


def test_the_budget_counts_the_bytes_of_all_members():
    budget = Budget(0)
    assert budget.read(io.BytesIO(bytes(10))) == bytes(10)
    budget.take(FREE_BYTES - 10)
    with pytest.raises(Unsafe):
        budget.take(1)
    Budget(1 << 40).take(MAX_BYTES)
    with pytest.raises(Unsafe):
        Budget(1 << 40).take(MAX_BYTES + 1)


def test_too_many_members_are_refused():
    budget = Budget(0)
    for number in range(MAX_MEMBERS):
        budget.take_member(str(number))
    with pytest.raises(Unsafe, match="has more than 100,000 members"):
        budget.take_member("more")


def test_a_zip_whose_members_share_their_bytes_is_refused(tmp_path):
    """The directory names one member of 1 MiB 300 times: 300 MiB of a file of 20 kB."""
    content = zipped({"a.txt": bytes(1 << 20)})
    at, end = content.index(b"PK\x01\x02"), content.index(b"PK\x05\x06")
    entry, number = content[at:end], 300
    last = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, number, number, number * len(entry), at, 0)
    (tmp_path / "a.zip").write_bytes(content[:at] + entry * number + last)
    with pytest.raises(DataError, match=rf"a\.zip: {MUCH}"):
        contents(tmp_path, "a.zip")


def test_a_sparse_member_counts_with_the_size_that_it_states(tmp_path):
    """A member of 4 GiB of which nothing is stored."""
    member = tarfile.TarInfo("a.txt")
    member.type, member.size = tarfile.GNUTYPE_SPARSE, 0
    header = bytearray(member.tobuf(tarfile.GNU_FORMAT))
    header[483:495] = b"\x80\0\0\0\0\0\0\0" + struct.pack(">I", 1 << 31)  # the real size
    header[148:156] = b" " * 8
    header[148:156] = f"{sum(header):06o}\0 ".encode()
    (tmp_path / "a.tar").write_bytes(bytes(header) + bytes(1024))
    begun = time.process_time()
    with pytest.raises(DataError, match=rf"a\.tar: {MUCH}"):
        contents(tmp_path, "a.tar")
    assert time.process_time() - begun < 1


LEADS_OUT = ["../b.txt", "in/../../b.txt", "/etc/hostname", "C:/b.txt", "..\\b.txt", "in\\..\\b"]


@pytest.mark.parametrize("name", LEADS_OUT)
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_a_member_that_leads_out_of_its_archive_is_refused(tmp_path, kind, name):
    content = zipped({name: b"x"}) if kind == "zip" else tarred({name: b"x"})
    (tmp_path / f"a.{kind}").write_bytes(content)
    with pytest.raises(DataError, match=rf"a\.{kind}: a member has the path .* which leads out"):
        contents(tmp_path, f"a.{kind}")
    assert [one.name for one in tmp_path.iterdir()] == [f"a.{kind}"]


def test_a_member_without_a_name_is_left_to_the_pattern(tmp_path):
    (tmp_path / "a.zip").write_bytes(zipped({"": b"x", "a.txt": b"y"}))
    assert contents(tmp_path, "a.zip!*.txt") == [b"y"]


def test_names_with_dots_and_colons_stay_inside():
    assert not any(map(leads_out, ["a..b", "in/...", "1:2.txt", ".hidden", "./a", ""]))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE])
def test_links_and_devices_are_left_out(tmp_path, kind):
    (tmp_path / "secret.txt").write_text("a foreign note")
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        link = tarfile.TarInfo("link.txt")
        link.type, link.linkname = kind, str(tmp_path / "secret.txt")
        archive.addfile(link)
        member = tarfile.TarInfo("a.txt")
        member.size = 1
        archive.addfile(member, io.BytesIO(b"x"))
    (tmp_path / "a.tar").write_bytes(stream.getvalue())
    assert contents(tmp_path, "a.tar") == [b"x"]


def test_a_workbook_that_unpacks_to_too_much_is_refused(tmp_path):
    with zipfile.ZipFile(io.BytesIO(workbook(("Q",), ("a",)))) as book:
        parts = {name: book.read(name) for name in book.namelist()}
    (tmp_path / "a.xlsx").write_bytes(zipped({**parts, "xl/sharedStrings.xml": LARGE}))
    (file,) = open_files(tmp_path, "a.xlsx")
    with pytest.raises(DataError, match=rf"a\.xlsx: {MUCH}"):
        open_sheet(file)
    check_zip(workbook(("Q",), ("a",)))


@pytest.mark.parametrize("method", [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
def test_a_damaged_member_of_any_compression_is_damaged(tmp_path, method):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        archive.writestr("a.txt", b"One note. " * 50)
    content = bytearray(stream.getvalue())
    content[48:58] = b"\xff" * 10
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(DataError, match=r"a\.zip: damaged archive"):
        contents(tmp_path, "a.zip")


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("../a.txt", r"card\.files names '\.\./a\.txt', which leads out of the task's folder"),
        ("in/../../a.txt", "which leads out of the task's folder"),
        ("../*.txt", "which leads out of the task's folder"),
        ("/etc/hostname", "which leads out of the task's folder"),
        ("a\0.txt", "which leads out of the task's folder"),
        ("n" * 300, r"names 'n+'…, which is too long for a file's name"),
        ("a**", "not a pattern of files"),
    ],
)
def test_an_address_that_no_file_of_the_folder_has_is_refused(tmp_path, address, says):
    (tmp_path / "a.txt").write_text("a foreign note")
    (tmp_path / "mine" / "in").mkdir(parents=True)
    with pytest.raises(DataError, match=says):
        open_files(tmp_path / "mine", address)


def test_a_sibling_outside_of_the_folder_is_refused(tmp_path):
    (tmp_path / "a.txt").write_text("a foreign note")
    (tmp_path / "mine" / "in").mkdir(parents=True)
    (tmp_path / "mine" / "in" / "b.txt").write_text("b")
    (tmp_path / "mine" / "c.txt").write_text("c")
    (file,) = open_files(tmp_path / "mine", "in/b.txt")
    assert file.sibling("../c.txt").text() == "c"
    for name in ("../../a.txt", "../x/../../a.txt", str(tmp_path / "a.txt")):
        with pytest.raises(DataError, match=r"b\.txt: the card names .* which leads out"):
            file.sibling(name)
