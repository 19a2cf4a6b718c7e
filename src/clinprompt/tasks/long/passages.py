"""Choose the part of a long context that most likely answers a question. Knows no records.

A passage is a run of whole sentences. It is worth the question's words that it has, each once and
the rarer in the context the more, and those of its best sentence once again: words near each other
tell more. Knows nothing of meaning: a question in other words than its answer finds the wrong
passage, and no model is asked.
"""

import re
from collections import Counter
from collections.abc import Sequence
from itertools import compress, pairwise
from math import log

from clinprompt.tasks.long.pieces import LengthOf, Piece, cut, fit

_WORD = re.compile(r"\w+")
_PIECES_A_PASSAGE = 4
_GAP = " ... "


def best_passage(
    context: str, question: str, length_of: LengthOf, limit: int, *, answer: str = ""
) -> tuple[int, int]:
    """Return where the passage of at most ``limit`` tokens that suits the question best lies.

    Where neighboring passages are worth the same, the middle one is taken, so that what matches
    stands in the midst of it. A context that fits is its own passage. To train, give the
    ``answer``: where passages have its words as they are, one of these is taken.
    """
    if length_of(context) <= limit:
        return 0, len(context)
    pieces = cut(context, length_of, max(1, limit // _PIECES_A_PASSAGE))
    asked = set(_WORD.findall(question.casefold()))
    held = [asked & set(_WORD.findall(context[p.start : p.end].casefold())) for p in pieces]
    spans = _spans(pieces, limit)
    if answer:
        bounds = [(pieces[first].start, pieces[last - 1].end) for first, last in spans]
        having = (answer in context[start:end] for start, end in bounds)
        spans = list(compress(spans, having)) or spans
    first = spans[_middle_of_best(_worth(spans, held))][0]
    last = fit(context, pieces, first, length_of, limit)
    return pieces[first].start, pieces[last - 1].end


def excerpt(text: str, places: Sequence[tuple[int, int]], length_of: LengthOf, limit: int) -> str:
    """Return the sentences that hold the given places, and their neighbors as far as they fit.

    What is left out between two of them shows as ``...``. The places stay, even above the limit.
    """
    if length_of(text) <= limit:
        return text
    pieces = cut(text, length_of, max(1, limit // _PIECES_A_PASSAGE))
    kept = {n for n, p in enumerate(pieces) for at, end in places if at < p.end and p.start < end}
    room = limit - length_of(_GAP) * len(kept) - sum(pieces[n].length for n in kept)
    others = set(range(len(pieces))) - kept
    nearest_first = sorted(others, key=lambda n: (min(abs(n - k) for k in kept), n))
    for number in nearest_first:
        room -= pieces[number].length
        if room < 0:
            break
        kept.add(number)
    parts = ((n, text[pieces[n].start : pieces[n].end]) for n in sorted(kept))
    shown = (part if n == 0 or n - 1 in kept else f"{_GAP}{part.lstrip()}" for n, part in parts)
    return "".join(shown).removeprefix(_GAP).strip()


def _spans(pieces: Sequence[Piece], limit: int) -> list[tuple[int, int]]:
    """Return the pieces of each passage that could not be longer, first and behind the last."""
    spans = list[tuple[int, int]]()
    last = length = 0
    for first, piece in enumerate(pieces):
        reached = last
        while last < len(pieces) and (last <= first or length + pieces[last].length <= limit):
            length += pieces[last].length
            last += 1
        if last > reached:
            spans.append((first, last))
        length -= piece.length
    return spans


def _worth(spans: Sequence[tuple[int, int]], held: Sequence[set[str]]) -> list[float]:
    frequency = Counter(word for words in held for word in words)
    weight = {word: log((1 + len(held)) / count) for word, count in frequency.items()}
    words_in_order = sorted(weight)  # sums of the same words are then the same number
    alone = [sum(weight[word] for word in words_in_order if word in words) for words in held]
    inside: Counter[str] = Counter()
    worth = []
    for (before, reached), (first, last) in pairwise([(0, 0), *spans]):
        for words in held[reached:last]:
            inside.update(words)
        for words in held[before:first]:
            inside.subtract(words)
        together = sum(weight[word] for word in words_in_order if inside[word])
        worth.append(together + max(alone[first:last]))
    return worth


def _middle_of_best(worth: Sequence[float]) -> int:
    first = worth.index(max(worth))
    last = first
    while last + 1 < len(worth) and worth[last + 1] == worth[first]:
        last += 1
    return (first + last) // 2
