"""Read sentences with one token and its tag per line. Knows no labels by name."""

import re
from collections.abc import Iterable, Iterator
from typing import Literal

from pydantic import Field

from clinprompt.errors import DataError
from clinprompt.settings.groups import Settings
from clinprompt.tasks.readers.generic.data_files import DataFile
from clinprompt.tasks.records import Record, Span, SpansAnswer

TAG = re.compile(r"O|[BIESLU](-\S+)?")
_SCHEMES = {
    "BIOES": ("ES", "E- ends a mention, S- is a mention of one token"),
    "BILOU": ("LU", "L- ends a mention, U- is a mention of one token"),
}
_DOCUMENT = "-DOCSTART-"


class ConllReader(Settings):
    """Read columns of tokens and tags; a blank line ends a sentence.

    Tags may be IOB2 (``B-x``, ``I-x``), IO (``I-x``), BIOES or BILOU (``E-x`` and ``L-x`` are the
    last token of a mention, ``S-x`` and ``U-x`` the only one) or bare (``B``, ``I`` ...). A tag
    that should continue a span of its type but does not starts one. The text is the tokens joined
    by single blanks. Sentences after one ``-DOCSTART-`` line form one group. An id consists of the
    file, with its folder, and the first line of the sentence.
    """

    name: Literal["conll"]
    token: int = Field(default=0, description="column of the token, counted from 0")
    tag: int = Field(default=-1, description="column of the tag; -1 is the last one")
    separator: Literal["tab", "blank"] = Field(default="tab", description="what is between columns")
    bare_type: str = Field(default="", description="type of mentions whose tags are bare")

    def read(self, file: DataFile) -> Iterator[Record]:
        """Yield one record per sentence.

        Raises:
            DataError: a line has too few columns or a tag of another scheme.
        """
        sentence: list[tuple[str, str]] = []
        name = _name(file)
        first, document = 1, ""
        for number, line in file.lines():
            if line.startswith(_DOCUMENT):
                if sentence:
                    yield _record(f"{name}:{first}", sentence, document)
                    sentence = []
                document = f"{name}:document{number}"
            elif line.strip(" \t"):
                first = first if sentence else number
                sentence.append(self._token(line, file, number))
            elif sentence:
                yield _record(f"{name}:{first}", sentence, document)
                sentence = []
        if sentence:
            yield _record(f"{name}:{first}", sentence, document)

    def notes(self, file: DataFile) -> Iterator[str]:
        """Yield what is read differently from how it is written, one line each."""
        lines = (line for _, line in file.filled_lines() if not line.startswith(_DOCUMENT))
        first = {self._columns(line)[self.tag][:1] for line in lines}
        for scheme, (letters, meaning) in _SCHEMES.items():
            if first & set(letters):
                yield f"tags: {scheme} ({meaning}), read as the mentions that they mean"

    def _columns(self, line: str) -> list[str]:
        return line.split("\t") if self.separator == "tab" else re.split(r"[ \t]+", line.strip())

    def _token(self, line: str, file: DataFile, number: int) -> tuple[str, str]:
        columns = self._columns(line)
        try:
            token, tag = columns[self.token], columns[self.tag]
        except IndexError as error:
            raise self._too_few(file, number, len(columns)) from error
        if len(columns) < 2 or not token:
            raise self._too_few(file, number, len(columns))
        if not TAG.fullmatch(tag):
            raise file.error(
                "the tag must be one of O, B-TYPE, I-TYPE, B, I, or of the schemes BIOES and BILOU",
                number,
            )
        is_bare = len(tag) == 1 and tag != "O"
        if is_bare and not self.bare_type:
            raise file.error("the tag names no type; set reader.bare_type", number)
        return token, f"{tag}-{self.bare_type}" if is_bare else tag

    def _too_few(self, file: DataFile, number: int, num_columns: int) -> DataError:
        message = f"no token and tag in {num_columns} column(s) separated by a {self.separator}"
        return file.error(f"{message}; correct the line or reader.separator, token and tag", number)


def _name(file: DataFile) -> str:
    """Return the file's name with its folder, which no other file has."""
    if file.has_namesake:
        return file.label
    folder = file.place.rpartition("/")[0]
    return f"{folder}/{file.stem}" if folder else file.stem


def _record(name: str, sentence: list[tuple[str, str]], document: str) -> Record:
    text = " ".join(token for token, _ in sentence)
    return Record(name, {"text": text}, SpansAnswer(tuple(_spans(sentence))), group=document)


def _spans(sentence: Iterable[tuple[str, str]]) -> Iterator[Span]:
    open_span: Span | None = None
    start = 0
    for token, tag in sentence:
        end = start + len(token)
        kind = tag[2:]
        if open_span and tag[0] in "IEL" and kind == open_span.type:
            open_span = Span(open_span.start, end, kind)
        else:
            if open_span:
                yield open_span
            open_span = Span(start, end, kind) if kind else None
        if open_span and tag[0] in "ESLU":
            yield open_span
            open_span = None
        start = end + 1
    if open_span:
        yield open_span
