"""Choose the part of a long context that most likely answers a question. Knows no records.

A passage consists of consecutive whole sentences. Its score is the sum over the question's words in
it, each weighted by how rare it is in the context, plus the same sum for its best sentence, because
words that are close together say more. No model is used, so a question whose words are not those of
its answer gets the wrong passage.
"""

import re
from collections import Counter
from collections.abc import Sequence
from itertools import compress, pairwise
from math import log

from clinprompt.tasks.long.chunks import Chunk, LengthOf, cut, fit

_WORD = re.compile(r"\w+")
_CHUNKS_PER_PASSAGE = 4
_GAP = " ... "


def best_passage(
    context: str, question: str, length_of: LengthOf, limit: int, *, answer: str = ""
) -> tuple[int, int]:
    """Return start and end of the best passage of at most ``limit`` tokens.

    Of neighboring passages with the same score, the middle one is chosen, so that the matching
    words are in its middle. A context that fits is returned whole. For training, give the
    ``answer``: if passages contain it literally, one of them is chosen.
    """
    if length_of(context) <= limit:
        return 0, len(context)
    chunks = cut(context, length_of, max(1, limit // _CHUNKS_PER_PASSAGE))
    question_words = set(_WORD.findall(question.casefold()))
    matches = [
        question_words & set(_WORD.findall(context[p.start : p.end].casefold())) for p in chunks
    ]
    spans = _spans(chunks, limit)
    if answer:
        bounds = [(chunks[first].start, chunks[last - 1].end) for first, last in spans]
        having = (answer in context[start:end] for start, end in bounds)
        spans = list(compress(spans, having)) or spans
    first = spans[_middle_of_best(_worth(spans, matches))][0]
    last = fit(context, chunks, first, length_of, limit)
    return chunks[first].start, chunks[last - 1].end


def excerpt(text: str, places: Sequence[tuple[int, int]], length_of: LengthOf, limit: int) -> str:
    """Return the sentences with the given places, and as many of their neighbors as fit.

    Text left out between sentences is shown as ``...``. The places stay even above the limit.
    """
    if length_of(text) <= limit:
        return text
    chunks = cut(text, length_of, max(1, limit // _CHUNKS_PER_PASSAGE))
    kept = {n for n, p in enumerate(chunks) for at, end in places if at < p.end and p.start < end}
    room = limit - length_of(_GAP) * len(kept) - sum(chunks[n].length for n in kept)
    others = set(range(len(chunks))) - kept
    nearest_first = sorted(others, key=lambda n: (min(abs(n - k) for k in kept), n))
    for number in nearest_first:
        room -= chunks[number].length
        if room < 0:
            break
        kept.add(number)
    parts = ((n, text[chunks[n].start : chunks[n].end]) for n in sorted(kept))
    shown = (part if n == 0 or n - 1 in kept else f"{_GAP}{part.lstrip()}" for n, part in parts)
    return "".join(shown).removeprefix(_GAP).strip()


def _spans(chunks: Sequence[Chunk], limit: int) -> list[tuple[int, int]]:
    """Return the chunks of every longest passage as (first, last + 1)."""
    spans = list[tuple[int, int]]()
    last = length = 0
    for first, chunk in enumerate(chunks):
        reached = last
        while last < len(chunks) and (last <= first or length + chunks[last].length <= limit):
            length += chunks[last].length
            last += 1
        if last > reached:
            spans.append((first, last))
        length -= chunk.length
    return spans


def _worth(spans: Sequence[tuple[int, int]], matches: Sequence[set[str]]) -> list[float]:
    frequency = Counter(word for words in matches for word in words)
    weight = {word: log((1 + len(matches)) / count) for word, count in frequency.items()}
    words_in_order = sorted(weight)  # so that sums over the same words are exactly equal
    alone = [sum(weight[word] for word in words_in_order if word in words) for words in matches]
    inside: Counter[str] = Counter()
    worth = []
    for (before, reached), (first, last) in pairwise([(0, 0), *spans]):
        for words in matches[reached:last]:
            inside.update(words)
        for words in matches[before:first]:
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
