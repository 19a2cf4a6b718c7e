"""Read MEDIQA-AnS: answers from the web with a summary each. Knows no other summary sets."""

from collections.abc import Iterator, Mapping
from typing import Literal

from clinprompt.settings.groups import Settings
from clinprompt.tasks.readers.generic.data_files import DataFile
from clinprompt.tasks.readers.generic.json_tables import items, load_object, strings, table, text
from clinprompt.tasks.records import Record, TextAnswer


class MediqaAnsReader(Settings):
    """Read the fields ``question`` and ``text`` (all articles) and the summary as answer.

    All answers to a question form one group; their ids start with its number.
    """

    name: Literal["mediqa_ans"]

    def read(self, file: DataFile) -> Iterator[Record]:
        """Yield one record an entry.

        Raises:
            DataError: the file is damaged or an entry has a value missing.
        """
        for name, value in load_object(file).items():
            with file.errors_at():
                yield _record(name, table(value, name))


def _record(name: str, entry: Mapping[str, object]) -> Record:
    return Record(
        id=name,
        fields={"question": text(entry, "question", name), "text": _articles(entry, name)},
        answer=TextAnswer(text(entry, "summary", name)),
        group=name.partition("_")[0],
    )


def _articles(entry: Mapping[str, object], name: str) -> str:
    articles = entry.get("articles")
    if not isinstance(articles, dict):
        return text(entry, "articles", name)
    firsts = [items(articles, key, name)[:1] for key in articles]
    return " ".join(strings([first for found in firsts for first in found], name))
