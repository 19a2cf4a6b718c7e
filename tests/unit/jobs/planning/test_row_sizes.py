"""The sizes of rows and the decoding steps of a plan are those of the data, as worked by hand."""

import pytest
from made_cards import data_of
from tiny import byte_tokenizer

from clinprompt.backbone.model_sizes import inspect_backbone
from clinprompt.batches.encode import Encoder
from clinprompt.jobs.planning.phases import phases
from clinprompt.jobs.planning.plan import dry_run
from clinprompt.jobs.planning.row_sizes import decoding_work, encoded_share, row_sizes
from clinprompt.jobs.planning.speed import Speed
from clinprompt.jobs.planning.work import Amount, AnswerWork, Phase, RowSizes
from clinprompt.methods.resolve import on_backbone, resolve_all
from clinprompt.settings.run import check_config
from clinprompt.tasks.card import find_card
from clinprompt.tasks.kinds import make_example
from clinprompt.tasks.records import LabelAnswer, Record, TextAnswer

ENCODER = Encoder(byte_tokenizer(), 10_000, 50)


def config_of(*overrides):
    return check_config({"name": "x"}, source="x", overrides=overrides)


def test_a_pass_has_the_rows_that_are_being_written():
    """Rows may reach 4000, 4000 and 2000 positions; the third joins when the second has left.

    A step reads one input of over 1,024 tokens. The answer of 7 takes passes 1 to 6, that of 5
    passes 2 to 5, that of 2 pass 7.
    """
    assert decoding_work([(3000, 5), (1000, 2), (3000, 7)], 1000) == (7, 6 + 4 + 1)
    assert decoding_work([], 1000) == (0, 0)


def test_finished_rows_leave_at_once():
    assert decoding_work([(1, answer) for answer in (1, 2, 3, 3, 3, 3, 3, 4)], 1) == (3, 7 + 6 + 1)


def test_lengths_and_rows_are_those_of_the_records():
    """One token a byte: an input has the bytes of its text, an answer a blank and an end more."""
    card = find_card("practice-sum-plan")
    records = [
        Record("1", {"text": "Stop iron."}, TextAnswer("Stop.")),
        Record("2", {"text": "Stop iron. Now."}, TextAnswer("Stop now.")),
    ]
    shortest = len(make_example(card, records[0]).input)
    data = data_of(card, train=records, test=records[:1])
    found = row_sizes(data, ENCODER, config_of("prompt.length=4"))
    answer = len("Stop.") + 2
    assert found == RowSizes(
        inputs=shortest + 5 / 2,
        answers=(5 + 9) / 2 + 2,
        train_rows=2,
        validation_rows=0,
        calibrated="nothing",
        test=AnswerWork(1, shortest, 0, answer - 1, answer - 1),
    )
    both = row_sizes(data_of(card, train=records, test=records), ENCODER, config_of())
    one = row_sizes(
        data_of(card, train=records, test=records), ENCODER, config_of("data.test_rows=1")
    )
    assert (both.test.rows, one.test.rows) == (2, 1)
    assert row_sizes(data_of(card, test=records), ENCODER, config_of()) is None


def test_labels_of_several_tokens_are_read_once_for_each_row():
    """Three words, the longest of 13 letters and a blank: each is read with as many positions."""
    card = find_card("practice-nli-social")
    longest = max(len(word) for word in card.labels.values()) + 1
    fields = {"text": "Smokes.", "statement": "Smokes."}
    record = Record("1", fields, LabelAnswer("entailment"))
    found = row_sizes(data_of(card, train=[record], test=[record]), ENCODER, config_of())
    assert found.calibrated == "labels"
    assert (found.test.decoding_steps, found.test.decoded) == (0, 0)
    assert found.test.further == len(card.labels) * longest


def test_all_training_records_are_encoded_if_shots_are_drawn_from_them():
    """300 + 5 records were measured as 200 + 5: two cells answer 3 of 5 test records each."""
    card = find_card("practice-sum-plan")
    records = [Record(str(n), {"text": "Stop."}, TextAnswer("Stop.")) for n in range(300)]
    data = data_of(card, train=records, test=records[:5])
    drawn = config_of("compare.shots=[2]", "data.test_rows=3", "data.train_rows=100")
    assert encoded_share(data, drawn, 2) == (300 + 2 * 3) / 205
    assert encoded_share(data, drawn, 0) == 100 / 205


def test_a_decoding_step_takes_its_own_time_and_more_for_each_row():
    work = Amount(read=300.0, trained=100.0, decoding_steps=40, decoded=80, seconds=7)
    speed = Speed(reading=100.0, training=50.0, step_seconds=0.5, row_seconds=0.25)
    assert Phase("x", 0, 0, 400.0, work).seconds(speed) == 3 + 2 + 20 + 20 + 7


def test_measured_targets_count_with_their_sizes(tiny_llama):
    """Rows of 6 + 1 tokens instead of 8 + 2, three test rows of 7 instead of seven; P = 4."""
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
    test = AnswerWork(rows=3, inputs=7, decoding_steps=5, decoded=9)
    known = {"c": RowSizes(6, 1, 9, 0, calibrated="nothing", test=test)}
    [phase] = phases(configs, tiny, {}, ["c"], known)
    linear = 2 * (7 * tiny.layer_weights + 264 * 32)
    attention = 4 * 2 * 32 * 7 * (4 + 7 / 2)
    read = 2 * (3 * (linear + attention) + 4 * 2 * tiny.layer_weights)
    trained = 2 * 2 * (4 * (2 * linear + 3 * attention) + 4 * 4 * tiny.layer_weights)
    assert (phase.work.read, phase.work.trained) == (read, trained)
    assert (phase.work.decoding_steps, phase.work.decoded) == (2 * 5, 2 * 9)
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
    costs = plan.backbones[0].costs
    data, cells = costs.phases
    assert data.name == "start and data"
    later = dry_run(
        check_config(values, source="x", overrides=overrides), None, rate=1e12, start_seconds=1e3
    )
    assert later.backbones[0].costs.phases[0].work.seconds > 1e3 > data.work.seconds
    assert cells.work.decoding_steps > 0
    assert costs.speed.step_seconds == pytest.approx(costs.weight_bytes * 200 / 1e12)
    assert costs.seconds == sum(phase.seconds(costs.speed) for phase in costs.phases)


@pytest.mark.parametrize(
    ("calibrated", "settings", "inputs", "answers"),
    [
        ("labels", ["data.calibration=on"], 0, 9),  # as many as there are training rows
        ("labels", [], 0, 9 + 2),  # "auto": and the validation rows
        ("lists", [], 9, 2 * 2),  # validation rows are answered with and without
        ("lists", ["data.calibration=on"], 9, 0),
        ("lists", ["data.nothing_share=0.5"], 9, 0),
        ("lists", ["data.calibration=off", "data.nothing_share=0.5"], 0, 0),
        ("lists", ["compare.shots=[4]"], 0, 0),
        ("nothing", ["data.calibration=on"], 0, 0),
    ],
)
def test_rows_that_a_calibration_reads_and_answers_count(
    tiny_llama, calibrated, settings, inputs, answers
):
    """P = 4; a validation or test row has 7 tokens and takes 3 decoded rows."""
    tiny = inspect_backbone(tiny_llama.name).sizes
    test = AnswerWork(rows=3, inputs=7, decoding_steps=6, decoded=9)
    known = {"c": RowSizes(6, 1, 9, 2, calibrated=calibrated, test=test)}
    found = []
    for overrides in (["data.calibration=off"], settings):
        whole = [
            "prompt.length=4",
            "adapt.steps=2",
            'compare.methods=["prompt-tuning"]',
            'compare.shots=["all"]',
            *overrides,
        ]
        config = check_config({"name": "x"}, source="x", overrides=whole)
        configs = on_backbone(resolve_all(config), config.backbone)
        [phase] = phases(configs, tiny, {}, ["c"], known)
        found.append(phase.work)
    without, having = found
    assert having.decoded - without.decoded == pytest.approx(3 * answers)
    assert having.decoding_steps - without.decoding_steps == pytest.approx(2 * answers)
    head = 2 * 264 * 32
    margin = 2 * 8 * tiny.layer_weights + head + 4 * 2 * 32 * 8 * (4 + 8 / 2)
    answer = 2 * 7 * tiny.layer_weights + head + 4 * 2 * 32 * 7 * (4 + 7 / 2)
    shared = 4 * 2 * tiny.layer_weights / 3
    expected = inputs * margin + answers * (answer + shared)
    assert having.read - without.read == pytest.approx(expected)
