"""Work with answers that list annotations of the text: cut, join, score. Knows no cards or models.

Mentions and links are such annotations. Each kind describes its annotations by a few functions,
which are used to make windows of a long text, to score and to count.
"""

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Generic, TypeVar

import numpy as np

from clinprompt.tasks.kinds.baselines import readable
from clinprompt.tasks.kinds.scores import Metric, Numbers, f1, of_class
from clinprompt.tasks.long.windows import Owners, Window
from clinprompt.tasks.records import (
    Answer,
    Record,
    Relation,
    RelationsAnswer,
    Span,
    SpansAnswer,
    Unparseable,
    one_line,
)

Item = TypeVar("Item", Span, Relation)
STRICT = "ungrounded, repeated and unparseable lines count as wrong"


@dataclass(frozen=True, slots=True)
class Listing(Generic[Item]):
    """How annotations of one sort are listed in an answer.

    ``answer`` is the class of the answer, ``items_in`` returns the annotations of such an answer,
    ``name`` is their name in JSON output.
    ``identity`` returns what must agree for an annotation to be right, ``order`` the key that
    sorts annotations of a whole text. ``extent`` returns the first character and the one after the
    last, ``shifted`` the annotation with its offsets moved. ``may_be_lost`` says that an
    annotation may be in no window of a long text, because its parts may be far from each other.
    """

    answer: type[SpansAnswer] | type[RelationsAnswer]
    name: str
    items_in: Callable[[Any], tuple[Item, ...]]
    identity: Callable[[Item], Hashable]
    order: Callable[[Item], Any]
    extent: Callable[[Item], tuple[int, int]]
    shifted: Callable[[Item, int], Item]
    may_be_lost: bool = False

    def items(self, answer: Answer | None) -> tuple[Item, ...]:
        """Return the annotations in an answer; none if it is of another class."""
        return self.items_in(answer) if isinstance(answer, self.answer) else ()

    def num_ungrounded(self, answer: Answer) -> int:
        """Return how many annotations were not found in the text."""
        return answer.ungrounded if isinstance(answer, SpansAnswer | RelationsAnswer) else 0

    def num_invented(self, answer: Answer) -> int:
        """Return how many predicted lines are no annotations of the text, and so are wrong.

        These are the lines that were not found in it (a mention that is repeated more often than it
        occurs is one of them), and all lines of an unparseable answer, at least one.
        """
        if isinstance(answer, Unparseable):
            return max(1, sum(bool(line.strip()) for line in answer.text.split("\n")))
        return self.num_ungrounded(answer)

    def identities(self, answer: Answer | None) -> Counter[Hashable]:
        """Count the annotations of an answer by what must agree for them to be right."""
        return Counter(map(self.identity, self.items(answer)))

    def types(self, answer: Answer | None) -> set[str]:
        """Return the types of the annotations in an answer."""
        return {item.type for item in self.items(answer)}

    def constant(self, _card: object, training: Sequence[Answer]) -> Answer:
        """Return the answer that lists nothing, if there are training answers.

        Raises:
            DataError: there are none.
        """
        readable(training)
        return self.answer(())

    def within(self, answer: Answer | None, start: int, end: int) -> Answer | None:
        """Return the annotations completely between two offsets, counted from the first offset."""
        if not isinstance(answer, self.answer):
            return answer
        inside = (
            self.shifted(item, -start)
            for item in self.items(answer)
            if start <= self.extent(item)[0] and self.extent(item)[1] <= end
        )
        return self._make(tuple(inside), ())

    def select(self, answer: Answer, chosen: Sequence[bool]) -> Answer:
        """Return an answer with those of its annotations that are chosen."""
        if not isinstance(answer, self.answer):
            return answer
        pairs = zip(self.items(answer), chosen, strict=True)
        return self._make(
            tuple(item for item, is_chosen in pairs if is_chosen), answer.ungrounded_lines
        )

    def join(self, windows: Sequence[Window], answers: Sequence[Answer]) -> Answer:
        """Return the answer for the whole text, from one answer for each window.

        The lines of a window whose answer could not be read count as annotations that were not
        found. If no window's answer could be read, the whole answer is unparseable.
        """
        if all(isinstance(answer, Unparseable) for answer in answers):
            return Unparseable("\n".join(a.text for a in answers if isinstance(a, Unparseable)))
        found = [whole for whole, _ in self._owned(windows, list(map(self.items, answers)))]
        lost = tuple(chain.from_iterable(map(_ungrounded_lines, answers)))
        return self._make(tuple(sorted(found, key=self.order)), lost)

    def join_values(
        self, windows: Sequence[Window], values: Sequence[Mapping[Item, float]]
    ) -> dict[Item, float]:
        """Return the value of each annotation in the joined answer, from the values by window."""
        owned = self._owned(windows, values)
        return {whole: values[number][item] for whole, (number, item) in owned}

    def _owned(
        self, windows: Sequence[Window], items: Sequence[Iterable[Item]]
    ) -> Iterator[tuple[Item, tuple[int, Item]]]:
        """Yield annotations of the whole text, each with the window that it belongs to.

        ``items`` are the annotations in each window. With the number of the window, the
        annotation is given as it is in the window.
        """
        owners = Owners(windows)
        for number, (window, own) in enumerate(zip(windows, items, strict=True)):
            for item in own:
                whole = self.shifted(item, window.offset)
                if owners.of(*self.extent(whole)) == number:
                    yield whole, (number, item)

    def num_lost(self, record: Record, windows: Sequence[Window]) -> int:
        """Return how many annotations of a record are not complete in any window."""
        owners = Owners(windows)
        return sum(owners.of(*self.extent(item)) is None for item in self.items(record.answer))

    def f1(self, name: str, scorer: str, meaning: str) -> Metric:
        """Return the F1 over all annotations, exact and as multisets.

        Every predicted line that is not in the gold answer is wrong, see ``num_invented``.
        """
        scorer = f"{scorer}; {STRICT}"
        return Metric(
            name,
            f1,
            lambda answers, gold, _: (scorer, self._counts(answers, gold)),
            meaning=meaning,
        )

    def _counts(self, answers: Sequence[Answer], gold: Sequence[Answer]) -> Numbers:
        """Return (correct, predicted, gold) for each row, [N, 3]."""
        pairs = zip(
            map(self.identities, self._readable(answers)),
            map(self.identities, self._readable(gold)),
            strict=True,
        )
        rows = [
            ((items & true).total(), items.total() + self.num_invented(answer), true.total())
            for answer, (items, true) in zip(answers, pairs, strict=True)
        ]
        return np.array(rows, dtype=np.float64)

    def _readable(self, answers: Sequence[Answer]) -> Sequence[Answer | None]:
        return of_class(answers, self.answer)

    def _make(self, items: tuple[Any, ...], ungrounded_lines: tuple[str, ...]) -> Answer:
        return self.answer(items, ungrounded_lines)


def _ungrounded_lines(answer: Answer) -> tuple[str, ...]:
    match answer:
        case SpansAnswer() | RelationsAnswer():
            return answer.ungrounded_lines
        case Unparseable(text):
            lines = tuple(line for line in map(one_line, text.split("\n")) if line)
            return lines or (one_line(text),)
    raise AssertionError(f"{answer} lists nothing")


def chance_of_nothing(*_: object) -> float:
    """Return the score of an answer that lists nothing: 0."""
    return 0.0
