"""The sizes of rows and the decoding steps of a plan are those of the data, as worked by hand."""

import pytest
from tiny import byte_tokenizer

from clinprompt.backbone.model_sizes import inspect_backbone
from clinprompt.batches.encode import Encoder
from clinprompt.jobs.planning.plan import dry_run
from clinprompt.jobs.planning.row_sizes import decoding_steps, row_sizes
from clinprompt.jobs.planning.work import Phase, RowSizes, phases
from clinprompt.methods.resolve import on_backbone, resolve_all
from clinprompt.settings.run import check_config
from clinprompt.tasks.card import find_card
from clinprompt.tasks.kinds import make_example
from clinprompt.tasks.records import LabelAnswer, Record, TextAnswer


def test_a_batch_takes_as_many_steps_as_its_longest_answer():
    """Rows of 3000 and 1000 + 1000 positions fit into 8192, a second row of 3000 does not.

    Longest inputs first: 4000 + 4000 (answers of 5 and 7), then 2000 (2): 7 + 2 steps.
    """
    assert decoding_steps([(3000, 5), (1000, 2), (3000, 7)], 1000) == 7 + 2
    assert decoding_steps([], 1000) == 0


def test_lengths_and_test_rows_are_those_of_the_records():
    """One token a byte: an input has the bytes of its text, an answer a blank and an end more."""
    card = find_card("practice-sum-plan")
    records = [
        Record("1", {"text": "Stop iron."}, TextAnswer("Stop.")),
        Record("2", {"text": "Stop iron. Now."}, TextAnswer("Stop now.")),
    ]
    encoder = Encoder(byte_tokenizer(), 10_000, 50)
    shortest = len(make_example(card, records[0]).input)
    found = row_sizes(card, records, encoder, test_rows=10, length=4)
    assert found == RowSizes(
        inputs=shortest + 5 / 2, answers=(5 + 9) / 2 + 2, test_rows=2, decoding_steps=9 + 2
    )
    assert row_sizes(card, records, encoder, test_rows=1, length=4).test_rows == 1


def test_labels_are_scored_without_decoding_steps():
    card = find_card("practice-nli-social")
    fields = {"text": "Smokes.", "statement": "Smokes."}
    record = Record("1", fields, LabelAnswer("entailment"))
    encoder = Encoder(byte_tokenizer(), 10_000, 50)
    assert row_sizes(card, [record], encoder, test_rows=5, length=4).decoding_steps == 0


def test_a_decoding_step_takes_its_own_time():
    phase = Phase("x", 0, 0, operations=300.0, decoding_steps=40)
    assert phase.seconds(100.0, 0.5) == 3 + 20


def test_measured_targets_count_with_their_sizes(tiny_llama):
    """Rows of 6 + 1 tokens instead of 8 + 2, three test rows instead of seven; P = 4."""
    tiny = inspect_backbone(tiny_llama.name).sizes
    overrides = [
        "prompt.length=4",
        "data.max_input_tokens=8",
        "data.max_target_tokens=2",
        "data.test_rows=7",
        "adapt.steps=2",
        "adapt.rows=4",
        'compare.methods=["prompt-tuning"]',
        "compare.shots=[4]",
        "compare.seeds=[0, 1]",
    ]
    config = check_config({"name": "x"}, source="x", overrides=overrides)
    configs = on_backbone(resolve_all(config), config.backbone)
    known = {"c": RowSizes(6, 1, 3, 5)}
    [phase] = phases(configs, tiny, {}, ["c"], known)
    linear = 2 * (7 * tiny.layer_weights + 264 * 32)
    attention = 4 * 2 * 32 * 7 * (4 + 7 / 2)
    read = 2 * 3 * (linear + attention)
    trained = 2 * 2 * (4 * (2 * linear + 3 * attention) + 4 * 4 * tiny.layer_weights)
    assert phase.operations == read + trained
    assert phase.decoding_steps == 2 * 5
    [longest] = phases(configs, tiny, {}, ["c"])
    assert longest.operations > phase.operations


def test_a_plan_measures_the_targets_whose_data_is_here(tiny_llama_folder):
    values = {"name": "x", "backbone": str(tiny_llama_folder)}
    overrides = [
        'compare.methods=["prompt-tuning"]',
        'compare.targets=["practice-ner-drugs"]',
        "data.test_rows=100000",
    ]
    plan = dry_run(check_config(values, source="x", overrides=overrides), None, rate=1e12)
    assert plan.measured == ("practice-ner-drugs",)
    [phase] = plan.backbones[0].costs.phases
    assert phase.decoding_steps > 0
    assert plan.memory_rate == pytest.approx(1e12 / 200)
