"""Which rows are used for training: none whose answer would be cut."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from made_cards import card_of, data_of, records_of
from tiny import byte_tokenizer

from clinprompt.batches.encode import Encoder
from clinprompt.errors import DataError, SettingError
from clinprompt.runs.candidates import candidates
from clinprompt.runs.examples import training_example, training_rows
from clinprompt.runs.suite_data import SuiteData, cards_of, check_suite, load_suite
from clinprompt.runs.task_rows import TaskRows
from clinprompt.settings.groups import DataSettings
from clinprompt.settings.run import check_config
from clinprompt.tasks.card import find_card
from clinprompt.tasks.load import load_task
from clinprompt.tasks.records import LabelAnswer, Record, Span, SpansAnswer, TextAnswer

LENGTHS = (3, 9, 30, 4, 31)


@pytest.fixture(scope="module")
def tokenizer():
    """A tokenizer with one token a byte."""
    return byte_tokenizer()


def summaries(lengths=LENGTHS):
    records = records_of(TextAnswer("s" * length) for length in lengths)
    return data_of(find_card("practice-sum-plan"), train=records)


def statements(labels):
    """Return training records of a task with two labels."""
    records = records_of(map(LabelAnswer, labels), statement="so")
    return data_of(find_card("practice-nli-social"), train=records)


def test_rows_with_too_long_answers_are_left_out_of_training(tokenizer):
    """A limit of 12 holds a blank, up to ten letters and end-of-text: lengths 3, 9 and 4."""
    rows = training_rows(Encoder(tokenizer, 100, 12), summaries(), limit=10, seed=0)
    assert sorted(len(row.target_ids) for row in rows) == [5, 6, 11]
    assert not any(row.target_was_cut for row in rows)


def test_a_task_without_rows_is_named(tokenizer):
    with pytest.raises(DataError, match="practice-sum-plan: no training row is left"):
        training_rows(Encoder(tokenizer, 100, 12), summaries((30, 40)), limit=10, seed=0)


def test_shots_come_from_rows_whose_answer_fits(tokenizer):
    encoder = Encoder(tokenizer, 100, 12)
    rows = candidates(encoder, summaries(), seed=0).draw(3, seed=0)
    assert sorted(len(row.target_ids) for row in rows) == [5, 6, 11]
    with pytest.raises(DataError, match="4 examples wanted, but only 3"):
        candidates(encoder, summaries(), seed=0).draw(4, seed=0)


def test_shown_examples_are_the_drawn_rows_in_random_order(tokenizer):
    data = statements(["entailment"] * 20 + ["not_entailment"] * 20)
    found = candidates(Encoder(tokenizer, 200, 30), data, seed=0).records(20, seed=0)
    labels = [record.answer.label for record in found]
    assert labels.count("entailment") == 10
    assert 0 < labels[:10].count("entailment") < 10  # sorted, there would be ten


def test_shots_of_closed_labels_are_balanced(tokenizer):
    data = statements(["entailment"] * 30 + ["not_entailment"] * 3)
    chosen = candidates(Encoder(tokenizer, 200, 12), data, seed=0).draw(6, seed=1)
    yes = sum(row.target_ids == Encoder(tokenizer, 200, 12).encode_target("yes") for row in chosen)
    assert yes == 3


def test_windows_of_one_note_have_its_number(tokenizer):
    texts = ["Aspirin was given. Pain was less. Fever was not seen. " * 3, "No pain."]
    records = [Record(str(number), {"text": text}) for number, text in enumerate(texts)]
    answered = tuple(replace(record, answer=SpansAnswer(())) for record in records)
    data = data_of(card_of("ner", "spans", labels={"drug": "drug"}), train=answered)
    found = candidates(Encoder(tokenizer, 60, 40), data, seed=0)
    assert [row.note for row in found.rows] == [0] * (len(found.rows) - 1) + [1]
    assert len(found.rows) > 2


def test_shots_of_mentions_are_annotated_and_show_every_type(tokenizer):
    text = "aspirin 5 mg"
    drug, dose = Span(0, 7, "drug"), Span(8, 12, "dose")
    answers = [SpansAnswer(())] * 40 + [SpansAnswer((drug,))] * 6 + [SpansAnswer((drug, dose))]
    card = card_of("ner", "spans", labels={"drug": "drug", "dose": "dose"})
    encoder = Encoder(tokenizer, 200, 40)
    data = data_of(card, train=records_of(answers, text=text))
    for seed in range(5):
        shown = [one.answer for one in candidates(encoder, data, seed=0).records(8, seed=seed)]
        assert sum(bool(answer.spans) for answer in shown) >= 6
        assert answers[-1] in shown
        drawn = candidates(encoder, data, seed=0).draw(8, seed=seed)
        empty = encoder.encode_target("none")
        assert sum(row.target_ids != empty for row in drawn) >= 6


def suite_of(sources, targets):
    load = [
        tuple(load_task(find_card(name), None) for name in names) for names in (sources, targets)
    ]
    return SuiteData("mine", *load, dropped={}, copies={})


def config(**values):
    return check_config({"name": "x", **values}, source="x")


def test_a_complete_suite_passes_the_check():
    check_suite(suite_of(["practice-ner-labs"], ["practice-ner-drugs"]), config())


def test_a_target_without_a_source_of_its_type_is_named_before_training():
    suite = suite_of(["practice-ner-labs"], ["practice-nli-social"])
    with pytest.raises(SettingError, match="practice-nli-social"):
        check_suite(suite, config())
    check_suite(suite, config(adapt={"routing": "all"}))


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_target_without_rows_or_answers_is_named_before_training(split):
    suite = suite_of(["practice-ner-labs"], ["practice-ner-drugs"])
    [target] = suite.targets
    for rows in ((), (replace(target.splits[split][0], answer=None),)):
        broken = replace(target, splits={**target.splits, split: rows})
        with pytest.raises(DataError, match=f"practice-ner-drugs: split {split} has"):
            check_suite(replace(suite, targets=(broken,)), config())


def test_a_task_that_is_named_by_its_folder_goes_by_the_name_on_its_card(tmp_path):
    folder = Path(find_card("practice-nli-social").path).parent
    card = (folder / "practice-nli-social.toml").read_text()
    own = tmp_path / "own"
    own.mkdir()
    (own / "card.toml").write_text(card.replace("practice-nli-social", "ours"))
    assert list(cards_of([str(own), "practice-ner-labs"])) == ["ours", "practice-ner-labs"]


SUITE = """
name = "half"
title = "One target is here, one is not"
sources = ["practice-nli-history"]
targets = ["practice-nli-social", "qa-medbullets"]
"""


def test_targets_that_are_not_compared_are_needed_only_to_clean_sources(tmp_path):
    path = tmp_path / "half.toml"
    path.write_text(SUITE)
    chosen, data = ("practice-nli-social",), config().data
    suite = load_suite(str(path), data, tmp_path, with_sources=False, targets=chosen)
    assert [one.card.name for one in suite.targets] == list(chosen)
    with pytest.raises(DataError, match="qa-medbullets"):
        load_suite(str(path), data, tmp_path, targets=chosen)


def test_sources_are_cleaned_of_targets_that_are_not_compared():
    data = config().data
    whole = load_suite("practice", data, None)
    narrow = load_suite("practice", data, None, targets=("practice-ner-drugs",))
    assert [one.card.name for one in narrow.targets] == ["practice-ner-drugs"]
    assert narrow.dropped == whole.dropped
    assert narrow.sources == whole.sources


class TestParaphrases:
    def test_the_paraphrase_depends_on_seed_and_record_alone(self):
        data = said_in_three_ways()
        every = data.splits["train"]
        drawn = [training_example(data.card, record, seed=1).instruction for record in every]
        again = [training_example(data.card, record, seed=1) for record in reversed(every)]
        assert [example.instruction for example in again] == drawn[::-1]
        assert drawn != [training_example(data.card, one, seed=2).instruction for one in every]
        # Of 60 draws from three, each is expected 20 times.
        assert min(drawn.count(said) for said in ("First.", "Second.", "Third.")) > 8

    def test_training_and_shots_read_the_same_instruction_and_tests_the_first(self, tokenizer):
        data = said_in_three_ways()
        rows = make_rows(tokenizer)
        trained = {row.input_ids for row in rows.training(data)}
        assert {row.input_ids for row in rows.shots(data, 60, seed=3)} == trained
        shown = Counter(tokenizer.decode(ids).split("\n\n")[1].split(".")[0] for ids in trained)
        assert set(shown) == {"First", "Second", "Third"}
        assert {one.instruction for one in rows.test_examples(data)} == {"First."}
        [*validation] = rows.validation(data)
        assert all("First." in tokenizer.decode(row.input_ids) for row in validation)


def said_in_three_ways():
    """Return a task with three ways to say its instruction, and 60 records in each split."""
    card = find_card("practice-sum-plan")
    said = {"instruction": "First.", "paraphrases": ("Second.", "Third.")}
    card = card.model_copy(update={"wording": card.wording.model_copy(update=said)})
    records = tuple(
        Record(str(number), {"text": f"note {number}"}, TextAnswer("s")) for number in range(60)
    )
    return data_of(card, train=records, validation=records, test=records)


def make_rows(tokenizer):
    return TaskRows(tokenizer, 4096, DataSettings(), seed=0)
