"""Make short synthetic clinical notes with known answers for ten tasks. Knows no cards.

No line is real: vocabularies and sentence patterns are invented. The split of a note depends only
on its text, so no note is in two splits, whatever the seed.
"""

import random
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from string import Formatter
from typing import Literal, TypeVar, get_args

from clinprompt.tasks.practice.words import (
    SOURCE_PATTERNS,
    SOURCE_WORDS,
    TARGET_PATTERNS,
    TARGET_WORDS,
)
from clinprompt.tasks.records import (
    Answer,
    LabelAnswer,
    Record,
    Relation,
    RelationsAnswer,
    Span,
    SpansAnswer,
    TextAnswer,
)

SourceTask = Literal[
    "ner-problems",
    "ner-labs",
    "re-dose",
    "qa-choice",
    "nli-history",
    "nli-medication",
    "sum-plan",
]
TargetTask = Literal["ner-drugs", "re-frequency", "nli-social"]
PracticeTask = Literal[SourceTask, TargetTask]

_SPLITS = ("train", "validation", "test")
_Item = TypeVar("_Item")
_Draft = tuple[dict[str, str], Answer, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Fact:
    """The statement of one sentence: its group of patterns and the word in each slot."""

    group: str
    words: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Note:
    """An invented note with its annotation.

    ``links`` go from each drug to its dose and frequency. Offsets count characters of ``text``.
    """

    text: str
    spans: tuple[Span, ...]
    links: tuple[Relation, ...]
    facts: tuple[Fact, ...]


@dataclass(frozen=True, slots=True)
class Language:
    """The words and sentence patterns of notes."""

    words: Mapping[str, tuple[str, ...]]
    patterns: Mapping[str, tuple[str, ...]]


SOURCE_LANGUAGE = Language(SOURCE_WORDS, SOURCE_PATTERNS)
TARGET_LANGUAGE = Language(TARGET_WORDS, TARGET_PATTERNS)


def make_note(rng: random.Random, groups: Sequence[str], language: Language) -> Note:
    """Write one sentence for each group of patterns, without using a word twice."""
    unused = {kind: iter(rng.sample(words, len(words))) for kind, words in language.words.items()}
    text, spans, links, facts = "", list[Span](), list[Relation](), list[Fact]()
    for group in groups:
        slots: dict[str, Span] = {}
        text += " " if text else ""
        start = len(text)
        for literal, slot, _, _ in Formatter().parse(rng.choice(language.patterns[group])):
            text += literal
            if slot:
                kind = slot.rstrip("2")
                word = next(unused[kind])
                word = word[0].upper() + word[1:] if len(text) == start else word
                slots[slot] = Span(len(text), len(text) + len(word), kind)
                text += word
        spans += slots.values()
        links += _links(slots)
        facts.append(Fact(group, {slot: text[at.start : at.end] for slot, at in slots.items()}))
    return Note(text, tuple(spans), tuple(sorted(links, key=_appearance)), tuple(facts))


def make_records(task: PracticeTask, split: str, *, count: int, seed: int) -> Iterator[Record]:
    """Make ``count`` records of one split, all with different notes."""
    rng = random.Random(f"{seed}/{task}/{split}")
    draft, outcomes = _TASKS[task]
    language = TARGET_LANGUAGE if task in get_args(TargetTask) else SOURCE_LANGUAGE
    seen: set[str] = set()
    for number, outcome in enumerate(_balanced(rng, outcomes, count)):
        while True:
            fields, answer, options = draft(rng, language, outcome)
            text = fields["text"]
            own_split = _SPLITS[zlib.crc32(text.encode()) % len(_SPLITS)]
            if own_split == split and text not in seen:
                break
        seen.add(text)
        yield Record(f"{split}-{number}", fields, answer, options, group=text)


def _links(slots: Mapping[str, Span]) -> Iterator[Relation]:
    for slot, tail in slots.items():
        head = slots.get("drug2" if slot.endswith("2") else "drug")
        if head is not None and tail.type in {"dose", "frequency"}:
            yield Relation(
                tail.type, Span(head.start, head.end, ""), Span(tail.start, tail.end, "")
            )


def _appearance(link: Relation) -> tuple[int, int]:
    return link.head.start, link.tail.start


def _balanced(rng: random.Random, values: Sequence[_Item], count: int) -> list[_Item]:
    repeated = [values[at % len(values)] for at in range(count)]
    rng.shuffle(repeated)
    return repeated


def _groups(
    rng: random.Random, needed: Sequence[str], others: Sequence[str], num: int
) -> list[str]:
    """Return ``num`` groups in random order: those needed and others, without contradiction."""
    while True:
        groups = [*needed, *rng.sample(others, num - len(needed))]
        if not any(f"{group} not" in groups for group in groups):
            rng.shuffle(groups)
            return groups


_SOCIAL = ("smokes", "smokes not", "drinks", "housed", "works", "works not")
_WITH: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "problem": (("present",), ("past", "negated"), ("present", "negated"), ("two present",)),
    "test": (("lab",), ("two labs",), ("two labs", "lab")),
    "drug": (("dosed",), ("treated",), ("two dosed",), ("dosed", "undosed")),
    "dose": (("dosed",), ("treated",), ("two dosed",), ("dosed", "undosed")),
    "frequency": (("timed",), ("two timed",), ("timed", "undosed")),
}
_WITHOUT: Mapping[str, tuple[str, ...]] = {
    "problem": ("dosed", "lab", "plan", *_SOCIAL),
    "test": ("present", "negated", "dosed", "plan", *_SOCIAL),
    "drug": ("present", "past", "lab", "negated", *_SOCIAL),
    "dose": ("present", "undosed", "lab", "negated", *_SOCIAL),
    "frequency": ("present", "undosed", "lab", "past", *_SOCIAL),
}


def _note_about(rng: random.Random, language: Language, kind: str, present: bool) -> Note:
    needed = rng.choice(_WITH[kind]) if present else ()
    return make_note(rng, _groups(rng, needed, _WITHOUT[kind], 3), language)


def _draft_spans(kind: str) -> Callable[[random.Random, Language, str], _Draft]:
    def draft(rng: random.Random, language: Language, outcome: str) -> _Draft:
        note = _note_about(rng, language, kind, outcome == "some")
        spans = tuple(span for span in note.spans if span.type == kind)
        return {"text": note.text}, SpansAnswer(spans), ()

    return draft


def _draft_links(kind: str) -> Callable[[random.Random, Language, str], _Draft]:
    def draft(rng: random.Random, language: Language, outcome: str) -> _Draft:
        while True:
            note = _note_about(rng, language, kind, outcome == "some")
            links = tuple(link for link in note.links if link.type == kind)
            if bool(links) == (outcome == "some"):
                return {"text": note.text}, RelationsAnswer(links), ()

    return draft


def _draft_choice(rng: random.Random, language: Language, outcome: str) -> _Draft:
    """Ask for a drug or its dose; one wrong option is the other drug or dose in the note."""
    note = make_note(
        rng, _groups(rng, ("treated", "dosed"), ("present", "lab", "smokes"), 3), language
    )
    treated = _words_of(note, "treated")
    kind = rng.choice(("drug", "dose"))
    of = {"drug": f"Which drug is for {treated['problem']}?", "dose": f"Dose of {treated['drug']}?"}
    other = _words_of(note, "dosed")[kind]
    used = {treated[kind].casefold(), other.casefold()}
    wrong = [other, *rng.sample([w for w in language.words[kind] if w.casefold() not in used], 2)]
    rng.shuffle(wrong)
    wrong.insert("ABCD".index(outcome), treated[kind])
    fields = {"text": note.text, "question": of[kind]}
    return fields, LabelAnswer(outcome), tuple(word.lower() for word in wrong)


def _draft_history(rng: random.Random, language: Language, outcome: str) -> _Draft:
    """State a present or past problem, or smoking, which the note states or contradicts."""
    about = rng.choice(("present", "past", "smokes"))
    holds = outcome == "entailment"
    contrary = {"present": "negated", "past": "negated", "smokes": "smokes not"}
    noted = about if holds else contrary[about]
    others = ("dosed", "lab", "plan", "drinks", "works")
    note = make_note(rng, _groups(rng, (noted,), others, 3), language)
    problem = _words_of(note, noted).get("problem", "").lower()
    statements = {
        "present": f"The patient has {problem}.",
        "past": f"The patient had {problem} in the past.",
        "smokes": "The patient smokes.",
    }
    return {"text": note.text, "statement": statements[about]}, LabelAnswer(outcome), ()


def _draft_medication(rng: random.Random, language: Language, outcome: str) -> _Draft:
    """State a drug with its dose: as in the note, another dose, or a drug not in the note."""
    groups = _groups(rng, ("dosed",), ("present", "negated", "lab", "plan", "treated"), 3)
    note = make_note(rng, groups, language)
    noted = _words_of(note, "dosed")
    drug, dose = noted["drug"].lower(), noted["dose"]
    if outcome == "contradiction":
        dose = _word_not_in(rng, language, note, "dose")
    if outcome == "neutral":
        drug = _word_not_in(rng, language, note, "drug")
    statement = f"The dose of {drug} is {dose}."
    return {"text": note.text, "statement": statement}, LabelAnswer(outcome), ()


def _draft_social(rng: random.Random, language: Language, outcome: str) -> _Draft:
    """State drinking, housing or work, which the note states or contradicts."""
    statements = {
        "drinks": "The patient drinks alcohol.",
        "housed": "The patient has a home.",
        "works": "The patient has a job.",
    }
    about = rng.choice(sorted(statements))
    noted = about if outcome == "entailment" else f"{about} not"
    others = ("present", "lab", "past", "smokes", "smokes not", "dosed")
    note = make_note(rng, _groups(rng, (noted,), others, 3), language)
    return {"text": note.text, "statement": statements[about]}, LabelAnswer(outcome), ()


def _draft_summary(rng: random.Random, language: Language, _outcome: str) -> _Draft:
    """Summarize the note by the present problem and the plan."""
    others = ("negated", "past", "lab", "dosed", *_SOCIAL)
    note = make_note(rng, ["present", *rng.sample(others, 1), "plan"], language)
    problem, plan = _words_of(note, "present")["problem"], _words_of(note, "plan")["plan"]
    summary = f"{problem[0].upper()}{problem[1:]}: {plan}."
    return {"text": note.text}, TextAnswer(summary), ()


def _words_of(note: Note, group: str) -> Mapping[str, str]:
    return next(fact.words for fact in note.facts if fact.group == group)


def _word_not_in(rng: random.Random, language: Language, note: Note, kind: str) -> str:
    used = {note.text[span.start : span.end].casefold() for span in note.spans}
    return rng.choice([word for word in language.words[kind] if word.casefold() not in used])


_SOME = ("some", "some", "some", "none")
_TWO = ("entailment", "not_entailment")
_TASKS: Mapping[
    PracticeTask, tuple[Callable[[random.Random, Language, str], _Draft], Sequence[str]]
] = {
    "ner-problems": (_draft_spans("problem"), _SOME),
    "ner-labs": (_draft_spans("test"), _SOME),
    "re-dose": (_draft_links("dose"), _SOME),
    "qa-choice": (_draft_choice, "ABCD"),
    "nli-history": (_draft_history, _TWO),
    "nli-medication": (_draft_medication, ("entailment", "contradiction", "neutral")),
    "sum-plan": (_draft_summary, ("",)),
    "ner-drugs": (_draft_spans("drug"), _SOME),
    "re-frequency": (_draft_links("frequency"), _SOME),
    "nli-social": (_draft_social, _TWO),
}
