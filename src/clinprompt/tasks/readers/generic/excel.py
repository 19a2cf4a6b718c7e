"""Read sheets of Excel workbooks. Knows no columns by name."""

import io
import warnings
from collections.abc import Iterator, Sequence
from typing import Literal, Protocol
from zipfile import ZipFile

from openpyxl import load_workbook
from openpyxl.utils.exceptions import InvalidFileException
from pydantic import Field

from clinprompt.errors import DataError, did_you_mean
from clinprompt.settings.groups import Settings
from clinprompt.tasks.readers.generic.archives import DAMAGED, Unsafe, check_zip
from clinprompt.tasks.readers.generic.data_files import DataFile
from clinprompt.tasks.readers.generic.delimited import check_names
from clinprompt.tasks.readers.generic.rows import RowShape, no_value
from clinprompt.tasks.records import Record

# The strict form of the standard (ISO/IEC 29500) has new names; openpyxl knows the older ones.
_OLDER_NAMES = {
    b"http://purl.oclc.org/ooxml/spreadsheetml/main": (
        b"http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    ),
    b"http://purl.oclc.org/ooxml/officeDocument/relationships": (
        b"http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    ),
}
# openpyxl checks little itself: these are what it raises for a workbook with missing parts.
_UNREADABLE = (
    *DAMAGED,
    InvalidFileException,
    OSError,
    SyntaxError,
    LookupError,
    TypeError,
    AttributeError,
)


class Sheet(Protocol):
    """The rows of one sheet, including the first row."""

    def iter_rows(
        self, *, max_col: int | None = ..., values_only: Literal[True]
    ) -> Iterator[Sequence[object]]:
        """Yield the values of each row."""
        ...


class ExcelReader(Settings):
    """Read one record per row of a sheet whose first row names the columns.

    The sheet is named in the address (``book.xlsx!train``) or by ``sheet``; otherwise it is the
    first one.
    """

    name: Literal["excel"]
    row: RowShape = Field(description="what the values of a row become")
    sheet: str = Field(default="", description="name of the sheet, if the address names none")

    def read(self, file: DataFile) -> Iterator[Record]:
        """Yield one record per row and skip blank rows.

        Raises:
            DataError: the workbook is damaged, or a sheet, column or value is missing.
        """
        sheet = open_sheet(file, file.part or self.sheet)
        header = next(rows_of(file, sheet), ())
        names = ["" if name is None else str(name) for name in header]
        check_names(file, names, needed=self.row.names())
        columns = {str(name): index for index, name in enumerate(header) if name is not None}
        for name in self.row.names():
            if name not in columns:
                raise file.error(no_value(name, columns), 1)
        # Some workbooks claim 16,384 columns, so read only up to the last one that has a name.
        width = max(columns.values()) + 1
        for number, cells in enumerate(rows_of(file, sheet, width), start=1):
            if number > 1 and any(cell is not None for cell in cells):
                values = {name: cells[columns[name]] for name in self.row.names()}
                with file.errors_at(number):
                    yield self.row.record(values, f"{file.label}:{number}")


def open_sheet(file: DataFile, name: str = "") -> Sheet:
    """Open the sheet of that name, or the first one if no name is given.

    Raises:
        DataError: the file is no workbook, or has no such sheet.
    """
    content = file.content()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # openpyxl warns of parts that it skips, never of values
        try:
            check_zip(content)
            older = io.BytesIO(_with_older_names(content))
            book = load_workbook(older, read_only=True, data_only=True)
        except Unsafe as error:
            raise file.error(str(error)) from error
        except _UNREADABLE as error:
            raise _unreadable(file) from error
    sheets: dict[str, Sheet] = {sheet.title: sheet for sheet in book.worksheets}
    if not sheets or name not in ("", *sheets):
        raise file.error(f"no sheet named {name!r}; {did_you_mean(name, sheets)}")
    return sheets[name] if name else next(iter(sheets.values()))


def rows_of(file: DataFile, sheet: Sheet, width: int | None = None) -> Iterator[Sequence[object]]:
    """Yield the values of each row of a sheet, only of its first ``width`` columns if given.

    Raises:
        DataError: the sheet is damaged. This is not known before its rows are read.
    """
    try:
        yield from sheet.iter_rows(max_col=width, values_only=True)
    except _UNREADABLE as error:
        raise _unreadable(file) from error


def _unreadable(file: DataFile) -> DataError:
    return file.error("not a readable Excel workbook; save it again as .xlsx")


def _with_older_names(content: bytes) -> bytes:
    """Return a workbook of the strict form with the names that openpyxl reads; others unchanged."""
    with ZipFile(io.BytesIO(content)) as book:
        if not any(name in book.read("_rels/.rels") for name in _OLDER_NAMES):
            return content
        renamed = io.BytesIO()
        with ZipFile(renamed, "w") as copy:
            for member in book.namelist():
                part = book.read(member)
                for name, older in _OLDER_NAMES.items():
                    part = part.replace(name, older)
                copy.writestr(member, part)
    return renamed.getvalue()
