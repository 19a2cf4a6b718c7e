"""Read tables of comma-, tab-, semicolon- or bar-separated values. Knows no columns by name."""

import csv
import io
from collections.abc import Collection, Iterator, Sequence
from typing import Literal

from pydantic import Field

from clinprompt.errors import DataError
from clinprompt.settings.groups import Settings
from clinprompt.tasks.readers.generic.data_files import DataFile
from clinprompt.tasks.readers.generic.rows import RowShape
from clinprompt.tasks.records import Record

DELIMITERS = {"comma": ",", "tab": "\t", "semicolon": ";", "bar": "|"}


class TableReader(Settings):
    """Read one record per row of a table."""

    name: Literal["table"]
    row: RowShape = Field(
        description='what the columns become; without a header their names are `"0"`, `"1"` ...'
    )
    delimiter: Literal["comma", "tab", "semicolon", "bar"] = Field(
        default="comma", description="what is between columns"
    )
    header: bool = Field(default=True, description="whether the first row names the columns")
    quotes: bool = Field(
        default=True, description="false: a quotation mark is an ordinary character"
    )

    def read(self, file: DataFile) -> Iterator[Record]:
        """Yield one record per row and skip rows without any value.

        Raises:
            DataError: quoting is broken, rows differ in their number of columns, or a column is
                missing or appears twice.
        """
        names: list[str] = []
        for number, cells in read_rows(file, DELIMITERS[self.delimiter], quotes=self.quotes):
            if not names:
                names = cells if self.header else [str(index) for index in range(len(cells))]
                check_names(file, names, needed=self.row.names())
                if self.header:
                    continue
            if len(cells) != len(names):
                message = f"{len(cells)} columns, but the first row has {len(names)}"
                raise file.error(f"{message}; correct the row or reader.delimiter", number)
            with file.errors_at(number):
                yield self.row.record(
                    dict(zip(names, cells, strict=True)), f"{file.label}:{number}"
                )


def check_names(
    file: DataFile, names: Sequence[str], *, needed: Collection[str] | None = None
) -> None:
    """Check that no two columns have the same name, of those that are ``needed`` if given.

    Raises:
        DataError: two have. The error says which columns, but not their name: without a header,
            it is text of a record.
    """
    for number, name in enumerate(names, start=1):
        before = names.index(name) + 1
        if before < number and name and (needed is None or name in needed):
            raise file.error(f"columns {before} and {number} have the same name; rename one")


class CellError(DataError):
    """Signal a cell that is too long, probably because its closing quotation mark is missing."""


def read_rows(file: DataFile, delimiter: str, *, quotes: bool) -> Iterator[tuple[int, list[str]]]:
    """Yield each row that is not blank, after the number of its first line.

    Raises:
        CellError: a cell is too long for a table.
        DataError: quoting is broken.
    """
    rows = csv.reader(
        io.StringIO(file.text(), newline=""),
        delimiter=delimiter,
        quoting=csv.QUOTE_MINIMAL if quotes else csv.QUOTE_NONE,
        strict=True,
    )
    number = 1
    try:
        for cells in rows:
            if any(cells):
                yield number, cells
            number = rows.line_num + 1
    except csv.Error as error:
        if "field limit" in str(error):
            raise CellError(
                f"{file.name}:{number}: a cell of more than {csv.field_size_limit():,} characters; "
                "close an open quotation mark, or give JSON Lines, where texts may be longer"
            ) from error
        remedy = "correct the quotation marks or set reader.quotes = false"
        raise file.error(f"not a readable row: {error}; {remedy}", number) from error
