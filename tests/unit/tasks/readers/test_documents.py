"""Candidate pairs of a document: which pairs, in which direction, with which label."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clinprompt.errors import DataError
from clinprompt.tasks.readers.generic.documents import Document, Link, View
from clinprompt.tasks.records import Span

TEXT = "aa bb cc dd ee ff"
PLACES = [(at, at + 2) for at in range(0, len(TEXT), 3)]
PAIRS = (("x", "y"), ("y", "x"), ("x", "x"))


def document(types, links):
    entities = {
        f"T{n}": (Span(*place, kind),)
        for n, (place, kind) in enumerate(zip(PLACES, types, strict=True))
    }
    return Document("d", TEXT, entities, tuple(links))


links = st.builds(
    Link,
    st.sampled_from(["p", "q"]),
    *(st.integers(0, 5).map(lambda n: f"T{n}") for _ in range(2)),
).filter(lambda link: link.head != link.tail)


@given(
    st.lists(st.sampled_from("xy"), min_size=6, max_size=6),
    st.lists(links, max_size=6),
    st.booleans(),
    st.sets(st.sampled_from(PAIRS), min_size=1),
)
def test_candidate_pairs_do_not_reveal_which_are_linked(types, linked, directed, pairs):
    view = View(answer="pairs", pairs=tuple(pairs), directed=directed)
    asked = [record.text for record in view.records(document(types, linked))]
    assert asked == [record.text for record in view.records(document(types, ()))]


def test_two_ends_of_one_type_have_the_label_of_their_link_in_either_direction():
    view = View(answer="pairs", pairs=(("x", "x"),))
    [record] = [
        record
        for record in view.records(document("xxyyyy", [Link("p", "T1", "T0")]))
        if record.answer.label == "p"
    ]
    assert record.text == "<< aa >> [[ bb ]] cc dd ee ff"


def test_of_two_links_on_one_pair_the_first_counts():
    twice = document("xyyyyy", [Link("q", "T0", "T1"), Link("p", "T0", "T1")])
    for wanted, label in (((), "q"), (("p", "q"), "p")):
        view = View(answer="pairs", pairs=(("x", "y"),), link_types=wanted)
        assert next(iter(view.records(twice))).answer.label == label


def test_given_mentions_are_listed_by_type_in_order_and_each_once():
    view = View(answer="relations", given=True, types=("y",))
    made = Document(
        "d",
        "no, not\nnow, no",
        {
            "T1": (Span(13, 15, "y"),),
            "T2": (Span(4, 11, "y"),),
            "T3": (Span(0, 2, "y"),),
            "T4": (Span(0, 2, "x"),),
        },
        (Link("p", "T4", "T2"),),
    )
    [record] = view.records(made)
    assert record.fields["mentions"] == "y: no\ny: not now"
    assert len(record.answer.relations) == 1


def test_a_link_to_nothing_is_refused():
    with pytest.raises(DataError, match="'T9', which is not annotated"):
        list(View(answer="relations").records(document("xxxxxx", [Link("p", "T0", "T9")])))


@pytest.mark.parametrize(
    "values", [{"answer": "pairs", "pairs": [("x", "y")]}, {"answer": "relations"}]
)
def test_types_without_an_effect_are_refused(values):
    with pytest.raises(ValueError, match="types has no effect"):
        View(types=("x",), **values)
