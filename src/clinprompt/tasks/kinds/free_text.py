"""Write, read and score free text: summaries and freely worded answers. Knows no topics.

Shared by all kinds that are answered with a text.
"""

import re
import string
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.random import Generator

from clinprompt.errors import DataError
from clinprompt.tasks.kinds.baselines import gold_answers, most_frequent
from clinprompt.tasks.kinds.kind import Card, Kind
from clinprompt.tasks.kinds.scores import LabelSet, Metric, Numbers, mean, of_class
from clinprompt.tasks.records import Answer, Record, TextAnswer, Unparseable, one_line

ROUGE_SCORER = "ROUGE-L F (rouge-score, rougeL, stemmer on, whitespace-joined single line)"
TOKEN_SCORER = "SQuAD token F1 (case, punctuation and a/an/the dropped; two empty answers agree)"
EXACT_SCORER = "exact match (case, punctuation and a/an/the dropped)"
_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)
_NUM_CHANCE_DRAWS = 5


def render_text(_card: Card, _record: Record, answer: Answer) -> str:
    """Return the text with whitespace runs as single blanks."""
    assert isinstance(answer, TextAnswer)
    return one_line(answer.text)


def parse_text(_card: Card, _record: Record, text: str) -> Answer:
    """Read any text that is not blank."""
    said = one_line(text)
    return TextAnswer(said) if said else Unparseable(text)


def normalize_answer(text: str) -> str:
    """Return text as SQuAD compares it: lower case, no punctuation, no articles, single blanks."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def token_f1(text: str, gold: str) -> float:
    """Return the F1 of the multisets of normalized tokens; two empty answers agree, as in SQuAD."""
    predicted, true = normalize_answer(text).split(), normalize_answer(gold).split()
    if not predicted or not true:
        return float(predicted == true)
    overlap = (Counter(predicted) & Counter(true)).total()
    return 2 * overlap / (len(predicted) + len(true))


def exact_match(text: str, gold: str) -> float:
    """Return 1 if both texts are the same once normalized, else 0."""
    return float(normalize_answer(text) == normalize_answer(gold))


def rouge_l(text: str, gold: str) -> float:
    """Return ROUGE-L F of two texts, each read as one line.

    If most letters of ``gold`` are not a to z, all letters count (rouge-score drops others), and a
    character of a script without blanks is a word.
    """
    compare = _rouge(is_latin=_is_latin(gold))
    return float(compare(" ".join(gold.split()), " ".join(text.split()))["rougeL"].fmeasure)


def _is_latin(text: str) -> bool:
    letters = [character for character in text.lower() if character.isalpha()]
    return 2 * sum("a" <= character <= "z" for character in letters) >= len(letters)


class _Words:
    """Split a text of any script into words, as a tokenizer of rouge-score."""

    # Ideographs, kana and Thai have no blanks between words.
    _WORD = re.compile(
        r"[\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff]|[^\W\u0e00-\u0e7f\u3040-\u9fff]+"
    )

    def tokenize(self, text: str) -> list[str]:
        return self._WORD.findall(text.lower())


@cache
def _rouge(*, is_latin: bool) -> Callable[[str, str], Mapping[str, Any]]:
    from rouge_score.rouge_scorer import RougeScorer  # noqa: PLC0415 - takes a second to import

    compare: Callable[[str, str], Mapping[str, Any]]
    compare = RougeScorer(
        ["rougeL"], use_stemmer=True, tokenizer=None if is_latin else _Words()
    ).score
    return compare


def _text_metric(
    name: str, scorer: str, compare: Callable[[str, str], float], meaning: str = ""
) -> Metric:
    """Return the mean over rows of a comparison of two texts."""

    def count(
        answers: Sequence[Answer], gold: Sequence[Answer], _labels: LabelSet
    ) -> tuple[str, Numbers]:
        pairs = zip(of_class(answers, TextAnswer), of_class(gold, TextAnswer), strict=True)
        rows = [
            (compare(answer.text, true.text) if answer and true else 0.0, 1)
            for answer, true in pairs
        ]
        return scorer, np.array(rows, dtype=np.float64)

    return Metric(name, mean, count, meaning=meaning)


ROUGE_L = _text_metric(
    "rouge_l",
    ROUGE_SCORER,
    rouge_l,
    "the mean of ROUGE-L: the F1 of the longest common subsequence of words, which may have gaps; "
    "English words are stemmed",
)
TOKEN_F1 = _text_metric(
    "token_f1",
    TOKEN_SCORER,
    token_f1,
    "the mean F1 of the words that two texts share, as in SQuAD: case, punctuation and articles do "
    "not count",
)
EXACT_MATCH = _text_metric("exact_match", EXACT_SCORER, exact_match)
_ALL_METRICS = {metric.name: metric for metric in (EXACT_MATCH, ROUGE_L, TOKEN_F1)}


def _other_scores(
    card: Card, answers: Sequence[Answer], gold: Sequence[Answer]
) -> dict[str, float]:
    return {
        name: metric.score(answers, gold).value
        for name, metric in _ALL_METRICS.items()
        if name != card.metric
    }


def _chance(
    card: Card, records: Sequence[Record], training: Sequence[Answer], generator: Generator
) -> float:
    """Return the mean score of training answers drawn at random, over 5 draws."""
    if not training:
        raise DataError("chance on free text draws training answers, but none were given")
    gold, metric = gold_answers(records), _ALL_METRICS[card.metric]
    size = (_NUM_CHANCE_DRAWS, len(gold))
    draws = [[training[i] for i in row] for row in generator.integers(len(training), size=size)]
    return float(np.mean([metric.score(drawn, gold).value for drawn in draws]))


def _to_json(_record: Record, answer: Answer) -> dict[str, Any]:
    assert isinstance(answer, TextAnswer)
    return {"text": answer.text}


FREE_TEXT = Kind(
    answer=TextAnswer,
    empty=TextAnswer(""),
    render=render_text,
    parse=parse_text,
    to_json=_to_json,
    labels_in=lambda _: (),
    metrics=(ROUGE_L, TOKEN_F1),
    extra_scores=_other_scores,
    chance=_chance,
    constant=lambda _, training: most_frequent(training),
    has_labels=False,
)
