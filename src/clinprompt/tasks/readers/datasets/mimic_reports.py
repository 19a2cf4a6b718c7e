"""Read chest X-ray reports of MIMIC-CXR: findings to impression. Knows no other reports.

A section starts with its title in capitals and a colon, after one blank at the start of a line.
Titles vary and are often misspelled, so they are recognized by words that are similar.
"""

import csv
import io
import re
import zipfile
from collections.abc import Iterator
from difflib import get_close_matches
from functools import cache
from typing import Literal, NamedTuple

from clinprompt.settings.groups import Settings
from clinprompt.tasks.readers.generic.archives import DAMAGED, Budget, Unsafe
from clinprompt.tasks.readers.generic.data_files import DataFile
from clinprompt.tasks.records import Record, TextAnswer, one_line

_TITLE = re.compile(r"\n ([A-Z ()/,-]+):\s")
_BULLET = re.compile(r"(?:^|(?<=\s))\d\.\s+")
_HEADING = re.compile(r"^\s*FINAL REPORT\s*")
_COLUMNS = ("study_id", "subject_id", "split")
_IMPRESSION, _FINDINGS = "impression", "findings"
_NAMES = {
    "impression": _IMPRESSION,
    "conclusion": _IMPRESSION,
    "finding": _FINDINGS,
    "findings": _FINDINGS,
}
_OTHERS = ("history", "comparison", "indication", "addendum", "technique", "examination")
_VIEWS = ("chest", "portable", "lateral", "frontal", "view", "bone window", "ribs")  # = findings


class _Section(NamedTuple):
    kind: str
    title: int  # where the title begins
    text: str


class MimicReportsReader(Settings):
    """Read the reports that are listed in a table of ``study_id,subject_id,split``.

    ``splits.csv!train`` selects the rows of that split; ``reports`` is the archive in the same
    folder. The field ``text`` is the findings, ``background`` the text before them. The numbers of
    list items are removed from the impression. Reports without findings or without impression are
    left out. Reports on one patient form one group.
    """

    name: Literal["mimic_reports"]
    reports: str = "mimic-cxr-reports.zip"

    def read(self, file: DataFile) -> Iterator[Record]:
        """Yield one record per report.

        Raises:
            DataError: the table, the archive or a report in it is missing or damaged.
        """
        archive = file.sibling(self.reports)
        with _opened(archive) as reports:
            for study, subject in _rows(file):
                record = _record(_report(archive, reports, study, subject), study, subject)
                if record is not None:
                    yield record


def _opened(archive: DataFile) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(archive.path)
    except (OSError, *DAMAGED) as error:
        raise archive.error("missing or damaged archive; fetch it again") from error


def _rows(file: DataFile) -> Iterator[tuple[str, str]]:
    """Yield study and subject of the rows of the split that the address names."""
    rows = csv.DictReader(io.StringIO(file.text(), newline=""), restval="", strict=True)
    found = False
    try:
        if not set(_COLUMNS) <= set(rows.fieldnames or ()):
            raise file.error(f"the columns must be {', '.join(_COLUMNS)}", 1)
        for row in rows:
            if not all(row[name] for name in _COLUMNS):
                raise file.error("a row has an empty column; fetch the table again", rows.line_num)
            if row["split"] == file.part or not file.part:
                found = True
                yield row["study_id"].removeprefix("s"), row["subject_id"]
    except csv.Error as error:
        raise file.error(f"not a readable row: {error}", rows.reader.line_num) from error
    if not found:
        raise file.error(
            f"no row has split {file.part!r}; correct the text after '!' in card.files"
        )


def _report(archive: DataFile, reports: zipfile.ZipFile, study: str, subject: str) -> str:
    name = f"files/p{subject[:2]}/p{subject}/s{study}.txt"
    try:
        member = reports.getinfo(name)
        with reports.open(member) as stream:
            content = Budget(member.compress_size).read(stream)
        return content.decode("utf-8-sig").replace("\r\n", "\n")
    except KeyError as error:
        raise archive.error(
            f"no report {name}, but the table lists it; fetch both again"
        ) from error
    except UnicodeDecodeError as error:
        raise archive.error(f"{name} is not UTF-8; fetch the archive again") from error
    except Unsafe as error:
        raise archive.error(f"{name} {error}") from error
    except (OSError, *DAMAGED) as error:
        raise archive.error(f"{name} is damaged; fetch the archive again") from error


def _record(report: str, study: str, subject: str) -> Record | None:
    sections = tuple(_sections(report))
    findings = next((section for section in sections if section.kind == _FINDINGS), None)
    impression = next((section for section in sections if section.kind == _IMPRESSION), None)
    summary = one_line(_BULLET.sub("", impression.text)) if impression else ""
    if findings is None or not summary:
        return None
    background = one_line(_HEADING.sub("", report[: findings.title]))
    fields = {"text": one_line(findings.text), "background": background}
    return Record(f"s{study}", fields, TextAnswer(summary), group=f"p{subject}")


def _sections(report: str) -> Iterator[_Section]:
    """Yield the sections that have text."""
    title = _TITLE.search(report)
    while title is not None:
        # A title on the line of another title starts no section.
        line_end = report.find("\n", title.end())
        following = _TITLE.search(report, title.end() if line_end < 0 else line_end)
        text = report[title.end() : following.start() if following else len(report)]
        if text.strip():
            yield _Section(_kind(title[1].strip().casefold()), title.start(1), text)
        title = following


@cache  # all reports together have only a few thousand titles
def _kind(title: str) -> str:
    """Return the kind of a section; a title that names findings and impression is an impression."""
    words = [word for word in re.split(r"[ /,()]+", title) if word]
    near = [get_close_matches(word, (*_NAMES, *_OTHERS), n=1, cutoff=0.8) for word in words]
    kinds = {_NAMES.get(found[0], "other") for found in near if found}
    for kind in (_IMPRESSION, _FINDINGS, "other"):
        if kind in kinds:
            return kind
    return _FINDINGS if any(view in title for view in _VIEWS) else "other"
