"""Read sheets of Excel workbooks. Knows nothing of what the columns mean."""

import io
from collections.abc import Iterator, Sequence
from typing import Literal, Protocol
from zipfile import BadZipFile

from openpyxl import load_workbook
from openpyxl.utils.exceptions import InvalidFileException
from pydantic import BaseModel, ConfigDict

from clinprompt.errors import DataError, did_you_mean
from clinprompt.tasks.example import Record
from clinprompt.tasks.readers.files import DataFile
from clinprompt.tasks.readers.rows import RowShape, no_value


class _Sheet(Protocol):
    def iter_rows(
        self, *, max_row: int | None = ..., max_col: int | None = ..., values_only: Literal[True]
    ) -> Iterator[Sequence[object]]: ...


class ExcelReader(BaseModel):
    """Read one record a row of a sheet whose first row names the columns.

    The sheet is the part of the address (``book.xlsx!train``), else ``sheet``, else the first one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Literal["excel"]
    row: RowShape
    sheet: str = ""

    def read(self, file: DataFile) -> Iterator[Record]:
        """Yield one record a row; blank rows are passed over.

        Raises:
            DataError: the workbook is damaged, or a sheet, column or value is missing.
        """
        sheet = _sheet(file, file.part or self.sheet)
        header = next(sheet.iter_rows(max_row=1, values_only=True), ())
        columns = {str(name): index for index, name in enumerate(header) if name is not None}
        for name in self.row.names():
            if name not in columns:
                raise file.error(no_value(name, columns), 1)
        # Some workbooks claim 16,384 columns: read no further than the last one needed.
        width = max(columns[name] for name in self.row.names()) + 1
        rows = sheet.iter_rows(max_col=width, values_only=True)
        for number, cells in enumerate(rows, start=1):
            if number > 1 and any(cell is not None for cell in cells):
                values = {name: cells[columns[name]] for name in self.row.names()}
                try:
                    yield self.row.record(values, f"{file.stem}:{number}")
                except DataError as error:
                    raise file.error(str(error), number) from error


def _sheet(file: DataFile, name: str) -> _Sheet:
    try:
        book = load_workbook(io.BytesIO(file.content()), read_only=True, data_only=True)
    except (BadZipFile, InvalidFileException, KeyError, ValueError) as error:
        raise file.error("not a readable Excel workbook; save it again as .xlsx") from error
    if name and name not in book.sheetnames:
        raise file.error(f"no sheet named {name!r}; {did_you_mean(name, book.sheetnames)}")
    found: _Sheet = book[name or book.sheetnames[0]]
    return found
