"""The one table of task kinds, and look-ups in it. Knows no files and no models.

A card has two words for its kind. ``type`` names the task (ner, re, qa, nli, summarization): types
are balanced in training, routed by, and grouped in reports. ``answer`` names the form of the
answer (spans, relations, label, choice, text). Neither is enough alone: a relation task is answered
with links or with the label of a marked pair, and a question and a summary are both free text but
are shortened in different ways. So the key is the pair of both words.

To add a kind, write one file with a ``Kind`` and add one line here.
"""

from clinprompt.errors import SettingError, did_you_mean
from clinprompt.tasks.kinds.free_text import EXACT_MATCH
from clinprompt.tasks.kinds.kind import Card, Kind
from clinprompt.tasks.kinds.ner import NER
from clinprompt.tasks.kinds.nli import NLI
from clinprompt.tasks.kinds.qa import LABELED_QUESTION, MULTIPLE_CHOICE, OPEN_QUESTION
from clinprompt.tasks.kinds.relations import MARKED_PAIR, RELATIONS
from clinprompt.tasks.kinds.scores import Metric
from clinprompt.tasks.kinds.summarization import SUMMARIZATION

KINDS: dict[tuple[str, str], Kind] = {
    ("ner", "spans"): NER,
    ("re", "relations"): RELATIONS,
    ("re", "label"): MARKED_PAIR,
    ("qa", "label"): LABELED_QUESTION,
    ("qa", "choice"): MULTIPLE_CHOICE,
    ("qa", "text"): OPEN_QUESTION,
    ("nli", "label"): NLI,
    ("summarization", "text"): SUMMARIZATION,
}
TASK_TYPES = tuple(dict.fromkeys(type_ for type_, _ in KINDS))
_UNNAMED_METRICS = (EXACT_MATCH,)  # no card may name them


def kind_of(card: Card) -> Kind:
    """Return the kind of a card."""
    return KINDS[card.type, card.answer]


def answers_of(type_: str) -> tuple[str, ...]:
    """Return the forms of answer that a task type may have; none for an unknown type."""
    return tuple(answer for known, answer in KINDS if known == type_)


def metric_named(name: str) -> Metric:
    """Return the metric of that name, of any kind.

    Raises:
        SettingError: there is none.
    """
    metrics = [metric for kind in KINDS.values() for metric in kind.metrics]
    known = {metric.name: metric for metric in (*metrics, *_UNNAMED_METRICS)}
    if name not in known:
        raise SettingError(f"unknown metric {name!r}: {did_you_mean(name, known)}")
    return known[name]
