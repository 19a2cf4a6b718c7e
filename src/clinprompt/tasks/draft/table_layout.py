"""Tell how a table is to be read: its delimiter, its quotes, and whether it has a header.

Knows nothing of what the columns mean.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from clinprompt.errors import DataError
from clinprompt.tasks.draft.columns import Named, Row, are_names, is_usual
from clinprompt.tasks.readers.generic.data_files import DataFile
from clinprompt.tasks.readers.generic.delimited import DELIMITERS, CellError, check_names, read_rows

_Cells = Sequence[Sequence[str]]


@dataclass(frozen=True, slots=True)
class Table:
    """The settings of a reader, the rows of each file, the user's columns, what was guessed."""

    settings: Mapping[str, Any]
    rows: tuple[tuple[Row, ...], ...]
    named: Named
    notes: tuple[str, ...] = ()


def tell_table(files: Sequence[DataFile], named: Named) -> Table:
    """Tell how the files are to be read, and read them.

    Columns that are named by number are those of a table without a header; where it has one all
    the same, they are named by it.

    Raises:
        DataError: the files hold no table, or not the same columns, or two columns of one name.
    """
    settings, tables = _parted(files)
    header = tables[0][0]
    for file, table in zip(files, tables, strict=True):
        if len(table[0]) != len(header):
            raise file.error(
                f"has {len(table[0])} columns, but {files[0].place} has {len(header)}; give "
                "files of the same columns"
            )
    if not _is_by_number(named):
        for file, table in zip(files, tables, strict=True):
            if list(table[0]) != list(header):
                raise file.error(
                    f"its first row is not that of {files[0].place}; give every file the same "
                    "columns in the same order, below the same names"
                )
        check_names(files[0], list(filter(None, header)))
        return Table(settings, _rows(tables, header), named)
    if not _has_header(tables, named):
        numbers = [str(index) for index in range(len(header))]
        bare = [[numbers, *table] for table in tables]
        return Table({**settings, "header": False}, _rows(bare, numbers), named)
    check_names(files[0], list(filter(None, header)))
    note = f"header: the first row names the columns ({', '.join(header)}), so it is no record"
    return Table(settings, _rows(tables, header), _by_name(named, header), (note,))


def _parted(files: Sequence[DataFile]) -> tuple[dict[str, Any], list[_Cells]]:
    """Return the delimiter and quotes by which every row has as many columns, and the cells."""
    is_tsv = files[0].place.lower().endswith(".tsv")
    for name in sorted(DELIMITERS, key=lambda name: is_tsv and name != "tab"):
        ways = [(quotes, _even(files, DELIMITERS[name], quotes=quotes)) for quotes in (True, False)]
        # Quotes are marks like any other where they would join rows that are even without.
        quotes, tables = max(ways, key=lambda way: sum(map(len, way[1])))
        if tables:
            return {"delimiter": name} | ({} if quotes else {"quotes": False}), tables
    if empty := next((file for file in files if not file.text().strip()), None):
        raise empty.error("the file is empty; give one with records, or take it away")
    for file in files:
        _check_cells(file)
    raise files[0].error(
        "no table: rows differ in their number of columns, or have one; part columns by comma, "
        "tab, semicolon or bar in every row"
    )


def _even(files: Sequence[DataFile], delimiter: str, *, quotes: bool) -> list[_Cells]:
    """Return the cells of all files if all rows of a file have as many, two or more; else none."""
    tables = [_cells(file, delimiter, quotes=quotes) for file in files]
    are_even = all(rows and len({len(row) for row in rows}) == 1 < len(rows[0]) for rows in tables)
    return tables if are_even else []


def _cells(file: DataFile, delimiter: str, *, quotes: bool) -> _Cells:
    file.text()  # what cannot be read at all is an error, unlike quotes that do not fit
    try:
        return [cells for _, cells in read_rows(file, delimiter, quotes=quotes)]
    except DataError:
        return []


def _check_cells(file: DataFile) -> None:
    """Check that it is no cell's length by which a file is no table.

    Raises:
        DataError: a cell is too long.
    """
    for delimiter in DELIMITERS.values():
        try:
            for _ in read_rows(file, delimiter, quotes=True):
                pass
        except CellError:
            raise
        except DataError:
            continue


def _rows(tables: Sequence[_Cells], names: Sequence[str]) -> tuple[tuple[Row, ...], ...]:
    return tuple(
        tuple(dict(zip(names, cells, strict=True)) for cells in table[1:]) for table in tables
    )


def _is_by_number(named: Named) -> bool:
    given = [*named.text, named.label, named.question, *named.options]
    return any(given) and all(name.isdecimal() for name in given if name)


def _has_header(tables: Sequence[_Cells], named: Named) -> bool:
    """Tell whether first rows are names: none recurs below, and they are usual or no labels."""
    header = tables[0][0]
    if any(table[0] != header for table in tables):
        return False
    columns = dict(enumerate(zip(*chain.from_iterable(table[1:] for table in tables), strict=True)))
    recurs = any(name in columns.get(place, ()) for place, name in enumerate(header))
    if not columns or recurs or not are_names(filter(None, header)):
        return False
    labels = Counter(columns.get(int(named.label), ())) if named.label else Counter[str]()
    are_closed = bool(labels) and min(labels.values()) > 1
    return are_closed or any(map(is_usual, header))


def _by_name(named: Named, header: Sequence[str]) -> Named:
    def name(number: str) -> str:
        is_there = number and int(number) < len(header)
        return header[int(number)] if is_there else number

    return Named(
        tuple(map(name, named.text)),
        name(named.label),
        name(named.question),
        tuple(map(name, named.options)),
    )
