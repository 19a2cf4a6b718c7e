"""Read tables of comma- or tab-separated values. Knows nothing of what the columns mean."""

import csv
import io
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Literal

from clinprompt.errors import DataError
from clinprompt.settings.groups import Settings
from clinprompt.tasks.readers.generic.data_files import DataFile
from clinprompt.tasks.readers.generic.rows import RowShape
from clinprompt.tasks.records import Record

DELIMITERS = {"comma": ",", "tab": "\t", "semicolon": ";", "bar": "|"}


class TableReader(Settings):
    """Read one record a row; ``row`` names columns by header, or else by number (first is "0").

    With ``quotes = false`` a quotation mark is a letter like any other.
    """

    name: Literal["table"]
    row: RowShape
    delimiter: Literal["comma", "tab", "semicolon", "bar"] = "comma"
    header: bool = True
    quotes: bool = True

    def read(self, file: DataFile) -> Iterator[Record]:
        """Yield one record a row; blank rows, and those with empty cells only, are passed over.

        Raises:
            DataError: quoting is broken, a row has another number of columns than the first, or a
                column is missing or there twice.
        """
        names: list[str] = []
        for number, cells in read_rows(file, DELIMITERS[self.delimiter], quotes=self.quotes):
            if not names:
                names = cells if self.header else [str(index) for index in range(len(cells))]
                check_names(file, [name for name in names if name in self.row.names()])
                if self.header:
                    continue
            if len(cells) != len(names):
                message = f"{len(cells)} columns where the first row has {len(names)}"
                raise file.error(f"{message}; mend the row or reader.delimiter", number)
            with file.errors_at(number):
                yield self.row.record(dict(zip(names, cells, strict=True)), f"{file.stem}:{number}")


def check_names(file: DataFile, names: Sequence[str]) -> None:
    """Check that no two columns have one name.

    Raises:
        DataError: two have.
    """
    if twice := next((name for name, count in Counter(names).items() if count > 1), ""):
        raise file.error(f"two columns are named {twice!r}; give each a name of its own")


class CellError(DataError):
    """Signal a cell that is too long, or that no quotation mark ends."""


def read_rows(file: DataFile, delimiter: str, *, quotes: bool) -> Iterator[tuple[int, list[str]]]:
    """Yield each row that is not blank with the number of its first line.

    Raises:
        CellError: a cell is longer than a table can have.
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
                "close the quotation mark that is left open, or else give JSON Lines, whose texts "
                "may be longer"
            ) from error
        remedy = "mend the quotation marks or set reader.quotes = false"
        raise file.error(f"not a readable row: {error}; {remedy}", number) from error
