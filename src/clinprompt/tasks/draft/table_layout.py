"""Detect how to read a table: its delimiter, its quotes, and whether it has a header.

Does not know what the columns mean.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

from clinprompt.errors import DataError, number_of
from clinprompt.tasks.draft.column_search import Values, are_names, is_usual
from clinprompt.tasks.draft.columns import NamedColumns
from clinprompt.tasks.readers.generic.data_files import DataFile
from clinprompt.tasks.readers.generic.delimited import DELIMITERS, CellError, check_names, read_rows

_Cells = Sequence[Sequence[str]]


@dataclass(frozen=True, slots=True)
class TableLayout:
    """A reader's settings, the rows of each file, the columns that the user named, and guesses."""

    settings: Mapping[str, Any]
    rows: tuple[tuple[Values, ...], ...]
    named: NamedColumns
    notes: tuple[str, ...] = ()


def detect_table(files: Sequence[DataFile], named: NamedColumns) -> TableLayout:
    """Detect how to read the files, and read them.

    If the user names columns by number, the table may have no header. If it has one, the numbers
    are replaced by its names.

    Raises:
        DataError: the files are no tables, have different columns, or have two columns with the
            same name.
    """
    settings, tables = _parted(files)
    header = tables[0][0]
    for file, table in zip(files, tables, strict=True):
        if len(table[0]) != len(header):
            raise file.error(
                f"has {len(table[0])} columns, but {files[0].place} has {len(header)}; give "
                "files with the same columns"
            )
    if not _is_by_number(named):
        for file, table in zip(files, tables, strict=True):
            if list(table[0]) != list(header):
                raise file.error(
                    f"its first row is not that of {files[0].place}; give every file the same "
                    "column names in the same order"
                )
        check_names(files[0], header)
        return TableLayout(settings, _rows(tables, header), named)
    if not _has_header(tables, named):
        numbers = [str(index) for index in range(len(header))]
        bare = [[numbers, *table] for table in tables]
        return TableLayout({**settings, "header": False}, _rows(bare, numbers), named)
    check_names(files[0], header)
    note = f"header: the first row is read as column names ({', '.join(header)}), not as a record"
    return TableLayout(settings, _rows(tables, header), _by_name(named, header), (note,))


def _parted(files: Sequence[DataFile]) -> tuple[dict[str, Any], list[_Cells]]:
    """Return delimiter and quotes that give all rows the same number of columns, and the cells."""
    is_tsv = files[0].place.lower().endswith(".tsv")
    for name in sorted(DELIMITERS, key=lambda name: is_tsv and name != "tab"):
        ways = [(quotes, _even(files, DELIMITERS[name], quotes=quotes)) for quotes in (True, False)]
        # Quotes are ordinary characters if reading them as quotes joins rows that fit without.
        quotes, tables = max(ways, key=lambda way: sum(map(len, way[1])))
        if tables:
            return {"delimiter": name} | ({} if quotes else {"quotes": False}), tables
    if empty := next((file for file in files if not file.text().strip()), None):
        raise empty.error("the file is empty; add records, or remove it")
    for file in files:
        _check_rows(file)
    raise files[0].error(
        "no table: rows differ in their number of columns, or have only one; separate columns by "
        "comma, tab, semicolon or bar in every row"
    )


def _even(files: Sequence[DataFile], delimiter: str, *, quotes: bool) -> list[_Cells]:
    """Return the cells of all files if the rows of each file have the same number, at least two."""
    tables = [_cells(file, delimiter, quotes=quotes) for file in files]
    are_even = all(rows and len({len(row) for row in rows}) == 1 < len(rows[0]) for rows in tables)
    return tables if are_even else []


def _cells(file: DataFile, delimiter: str, *, quotes: bool) -> _Cells:
    file.text()  # raise an error for an unreadable file, but not for wrong quotes
    try:
        return [cells for _, cells in read_rows(file, delimiter, quotes=quotes)]
    except DataError:
        return []


def _check_rows(file: DataFile) -> None:
    """Check whether single cells or rows are the reason why a file is no table.

    Raises:
        DataError: a cell is too long, or most rows have the same number of columns, but not all.
    """
    readings = []
    for delimiter in DELIMITERS.values():
        try:
            readings.append(list(read_rows(file, delimiter, quotes=True)))
        except CellError:
            raise
        except DataError:
            continue
    for rows in filter(None, readings):
        [(usual, count)] = Counter(len(cells) for _, cells in rows).most_common(1)
        if usual > 1 and len(rows) / 2 < count < len(rows):
            number, cells = next(row for row in rows if len(row[1]) != usual)
            raise file.error(
                f"{number_of(len(cells), 'column')}, but most rows have {usual}; correct the row",
                number,
            )


def _rows(tables: Sequence[_Cells], names: Sequence[str]) -> tuple[tuple[Values, ...], ...]:
    return tuple(
        tuple(dict(zip(names, cells, strict=True)) for cells in table[1:]) for table in tables
    )


def _is_by_number(named: NamedColumns) -> bool:
    given = [*named.text, named.label, named.question, *named.options]
    return any(given) and all(name.isdecimal() for name in given if name)


def _has_header(tables: Sequence[_Cells], named: NamedColumns) -> bool:
    """Return whether first rows are column names: not repeated below, and usual or no labels."""
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


def _by_name(named: NamedColumns, header: Sequence[str]) -> NamedColumns:
    def name(number: str) -> str:
        is_there = number and int(number) < len(header)
        return header[int(number)] if is_there else number

    return replace(
        named,
        text=tuple(map(name, named.text)),
        label=name(named.label),
        question=name(named.question),
        options=tuple(map(name, named.options)),
    )
