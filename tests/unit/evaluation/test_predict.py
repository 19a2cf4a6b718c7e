"""Answers of a random model: those that list words of a note are read and found, in every mode."""

from dataclasses import replace

import pytest
from made_cards import card_of, record_of

from clinprompt.backbone.bank import Bank
from clinprompt.batches.encode import make_encoder
from clinprompt.evaluation.predict import predict
from clinprompt.settings.groups import DataSettings
from clinprompt.tasks.kinds import kind_of, make_example
from clinprompt.tasks.records import Unparseable

NOTES = (
    "Aspirin 81 mg daily,\r\n\r\n then  aspirin [as needed].",
    'He said "pain\\ache | none" {x}: no <b>fever</b>.',
    "Naïve 漢字 🙂 fièvre\u00a0à 39°",
    "",
)
CARDS = (
    card_of("ner", "spans", labels={"drug": "drug"}, name="one"),
    card_of("ner", "spans", labels={"drug": "drug", "problem": "problem"}, name="two"),
    card_of("re", "relations", labels={"dose": "dose"}, setting="end-to-end", name="links"),
    card_of("summarization", "text", name="summary"),
    card_of("nli", "label", labels={"1": "yes", "0": "no"}, name="label"),
)
BY_NAME = {card.name: card for card in CARDS}


def answered(backbone, encoder):
    """Answer every note under every task, in one mixed batch."""
    examples = [make_example(card, record_of("1", note)) for note in NOTES for card in CARDS]
    return predict(backbone, encoder, examples, cards=BY_NAME, bank=Bank())


def listing(predictions):
    return [one for one in predictions if kind_of(BY_NAME[one.example.task]).listing]


@pytest.mark.parametrize("form", [1, 2])
def test_answers_that_list_words_of_a_note_are_found_in_it(backbone, form):
    data = DataSettings(max_target_tokens=24, input_form=form)
    encoder = make_encoder(backbone.tokenizer, data)
    assert encoder.chat == (form == 2)
    predictions = answered(backbone, encoder)
    listed = listing(predictions)
    assert len(listed) == 12
    for one in listed:
        assert not isinstance(one.answer, Unparseable), one.text
        assert one.answer.ungrounded == 0, one.text
        items = kind_of(BY_NAME[one.example.task]).listing.items(one.answer)
        assert len(items) == (0 if one.text == "none" else one.text.count("\n") + 1)
    free = answered(backbone, replace(encoder, constrained=False))
    assert any(
        isinstance(one.answer, Unparseable) or one.answer.ungrounded for one in listing(free)
    )
    for one, other in zip(predictions, free, strict=True):
        if kind_of(BY_NAME[one.example.task]).listing is None:
            assert one == other
