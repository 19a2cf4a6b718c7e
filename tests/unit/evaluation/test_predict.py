"""Answers of a random model: those that list words of a note are read and found, in every mode."""

from dataclasses import replace
from math import exp

import pytest
import torch
from made_cards import card_of, record_of

from clinprompt.backbone.answer_tokens import answer_tokens
from clinprompt.backbone.bank import Bank
from clinprompt.backbone.grammar import LineConstraint
from clinprompt.batches.encode import make_encoder
from clinprompt.evaluation.calibration import Calibration
from clinprompt.evaluation.confidence import option_probabilities
from clinprompt.evaluation.predict import answered as questions_answered
from clinprompt.evaluation.predict import predict
from clinprompt.evaluation.questions import PromptUse
from clinprompt.settings.groups import DataSettings
from clinprompt.tasks.kinds import kind_of, make_example
from clinprompt.tasks.records import LabelAnswer, Unparseable

pytestmark = pytest.mark.usefixtures("random_models_list_mentions")
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


@torch.inference_mode()
def next_token(backbone, ids):
    """Return the log-probabilities of the token after some ids, by a plain forward pass."""
    logits = backbone.model(torch.tensor([ids], device=backbone.device)).logits[0, -1]
    return torch.log_softmax(logits.float(), dim=-1)


def lines_by_plain_passes(backbone, encoder, example):
    """Decode greedily without a cache; return the probability of each line."""
    ends = backbone.end_ids | {encoder.end_id}
    card = BY_NAME[example.task]
    rule = LineConstraint(
        answer_tokens(backbone, ends),
        kind_of(card).allowed(card, example.record),
        start=encoder.answer_start,
    )
    ids, lines = list(encoder.encode(example).input_ids), [1.0]
    for _ in range(encoder.target_limit(example.task)):
        allowed, likely = rule.allowed().tolist(), next_token(backbone, ids)
        chosen = max(allowed, key=lambda n: likely[n])
        lines[-1] *= float(likely[chosen].exp() / likely[allowed].exp().sum())
        if chosen in ends:
            break
        rule.accept(chosen)
        ids.append(chosen)
        if encoder.tokenizer.decode([chosen]) == "\n":
            lines.append(1.0)
    return lines


def test_mentions_and_links_have_the_probability_of_their_lines(backbone):
    encoder = make_encoder(backbone.tokenizer, DataSettings(max_target_tokens=40))
    num_items = num_lines = 0
    for one in listing(answered(backbone, encoder)):
        card = BY_NAME[one.example.task]
        lines = lines_by_plain_passes(backbone, encoder, one.example)
        items = kind_of(card).items_by_line(card, one.example.record, one.text)
        by_item = {item: line for item, line in zip(items, lines, strict=False) if item}
        expected = [by_item[item] for item in kind_of(card).listing.items(one.answer)]
        assert one.probabilities == pytest.approx(expected, rel=1e-3)
        num_items += len(expected)
        num_lines = max(num_lines, len(expected))
    assert num_items > 3
    assert num_lines > 1


def test_a_label_has_its_share_of_the_likelihood_of_all_labels(backbone):
    encoder = make_encoder(backbone.tokenizer, DataSettings(max_target_tokens=24))
    labels = [one for one in answered(backbone, encoder) if one.example.task == "label"]
    assert len(labels) == len(NOTES)
    for one in labels:
        likelihood = {}
        for choice in one.example.choices:
            ids, total = list(encoder.encode(one.example).input_ids), 0.0
            for token in encoder.encode_target(choice)[:-1]:
                total += float(next_token(backbone, ids)[token])
                ids.append(token)
            likelihood[choice] = exp(total)
        share = likelihood[one.text] / sum(likelihood.values())
        assert share >= 0.5
        assert one.probabilities == pytest.approx((share,), rel=1e-3)


def test_free_text_has_no_probabilities(backbone):
    encoder = make_encoder(backbone.tokenizer, DataSettings(max_target_tokens=8))
    texts = [one for one in answered(backbone, encoder) if one.example.task == "summary"]
    assert [one.probabilities for one in texts] == [()] * len(NOTES)


@pytest.mark.parametrize("is_constrained", [False, True])
def test_every_annotation_of_a_text_in_windows_has_a_probability(tiny_llama, is_constrained):
    settings = DataSettings(max_input_tokens=60, max_target_tokens=40, constrained=is_constrained)
    encoder = make_encoder(tiny_llama.tokenizer, settings)
    note = " ".join(f"Dose {n} of aspirin. Pain." for n in range(20))
    examples = [make_example(card, record_of("1", note)) for card in CARDS[:3]]
    num_items = 0
    for one in predict(tiny_llama, encoder, examples, cards=BY_NAME, bank=Bank()):
        items = kind_of(BY_NAME[one.example.task]).listing.items(one.answer)
        num_items += len(items)
        assert len(one.probabilities) == len(items)
        assert all(0 < probability <= 1 for probability in one.probabilities)
    assert num_items > 1 or not is_constrained


def test_a_calibration_changes_labels_only_and_only_those_of_its_prompt(tiny_llama):
    """A mean of 0 for one label and 50 nats less for the other leaves only the other."""
    encoder = make_encoder(tiny_llama.tokenizer, DataSettings(max_target_tokens=8))
    examples = [make_example(card, record_of("1", note)) for note in NOTES for card in CARDS]
    means = {"yes": -50.0, "no": 0.0}
    uses = [
        PromptUse(0, Calibration(means) if one.record.text == NOTES[0] else None)
        for one in examples
    ]
    plain = answered(tiny_llama, encoder)
    changed = predict(tiny_llama, encoder, examples, cards=BY_NAME, bank=Bank(), prompts=uses)
    first = examples.index(next(one for one in examples if one.choices))
    assert plain[first].answer == LabelAnswer("0")
    assert changed[first].answer == LabelAnswer("1")
    assert changed[first].probabilities[0] > 0.999
    for number, (one, other) in enumerate(zip(plain, changed, strict=True)):
        assert number == first or (one.text, one.answer) == (other.text, other.answer)
    one = [examples[first]]
    [question] = questions_answered(tiny_llama, encoder, one, cards=BY_NAME, bank=Bank())
    [ask] = question.asks
    assert max(option_probabilities(ask.scores)) == pytest.approx(plain[first].probabilities[0])
