"""The metaprompt in the package: a better start than tokens of the vocabulary."""

import sys
from pathlib import Path

import pytest
from command_line import call
from opened_run import open_run

import clinprompt
from clinprompt.batches.encode import make_encoder
from clinprompt.errors import SettingError
from clinprompt.evaluation.predict import predict
from clinprompt.jobs.fit_method import MethodFit, fit_method
from clinprompt.methods.metaprompts import find_metaprompt
from clinprompt.methods.method import Start
from clinprompt.methods.resolve import with_shape
from clinprompt.methods.table import METHODS
from clinprompt.prompts.artifact import load_artifact
from clinprompt.runs.examples import encode_all, examples_of
from clinprompt.settings.defaults import DEFAULT_BACKBONE, SHIPPED
from clinprompt.settings.run import check_config
from clinprompt.tasks.card import find_card
from clinprompt.tasks.kinds import make_example
from clinprompt.tasks.load import load_task
from clinprompt.tasks.records import Record
from clinprompt.tasks.suite import find_suite
from clinprompt.training.fit import mean_loss

ROOT = Path(__file__).parents[2]
FORM_2 = {"data.input_form": 2}
SETTINGS = {
    "name": "shipped",
    "dtype": "float32",
    "device": "cpu",
    "data": {"max_input_tokens": 80, "max_target_tokens": 24},
    "adapt": {"steps": 4, "rows": 4, "warmup_steps": 1},
}


@pytest.fixture(scope="module")
def shipped():
    return find_metaprompt(SHIPPED)


def test_it_belongs_to_the_default_backbone(shipped, smollm2):
    assert shipped.manifest.fingerprint == smollm2.fingerprint
    assert shipped.num_bytes < 1_000_000


def test_its_sources_are_those_of_the_shippable_suite(shipped):
    suite = find_suite("shippable")
    assert tuple(task["name"] for task in shipped.manifest.tasks) == suite.sources
    assert {task["source"]["license_allows"] for task in shipped.manifest.tasks} == {"any"}


def test_its_card_is_made_from_its_manifest(shipped):
    sys.path.insert(0, str(ROOT / "docs"))
    try:
        from ship_metaprompt import SHIPPED as FOLDER  # noqa: PLC0415
        from ship_metaprompt import card_text  # noqa: PLC0415
    finally:
        sys.path.pop(0)
    card = (FOLDER / DEFAULT_BACKBONE / "README.md").read_text(encoding="utf-8")
    assert card == card_text(shipped.manifest)


@pytest.mark.slow
@pytest.mark.usefixtures("smollm2")
def test_adapted_it_is_ahead_of_a_vocabulary_start_at_equal_steps(shipped, tmp_path):
    """Four steps of four rows of made-up notes; well under a minute."""
    own = {
        name: shipped.manifest.settings["adapt"][name] for name in ("shared_rate", "factor_rate")
    }
    values = {**SETTINGS, "adapt": {**SETTINGS["adapt"], **own}}
    config = with_shape(check_config(values, source="test"), shipped)
    run = open_run(tmp_path / "run", config)
    data = load_task(find_card("practice-ner-drugs"), None)
    rows = run.task_rows.shots(data, 16, seed=0)
    examples = examples_of(data, "validation", limit=16, seed=0)
    held = encode_all(run.task_rows.encoder(), data.card, examples)
    losses = {}
    for method in ("prompt-tuning", "adapted-metaprompt"):
        start = Start(config, run.backbone, data.card, rows, metaprompt=shipped)
        with fit_method(MethodFit(METHODS[method], start, method), run.workspace) as fitted:
            losses[method] = mean_loss(run.backbone, fitted.tuner, held)
    assert losses["adapted-metaprompt"] < 0.8 * losses["prompt-tuning"]


@pytest.mark.usefixtures("smollm2")
def test_adapt_starts_from_it_by_default(tmp_path):
    words = ["adapt", "practice-nli-social", "--shots", "4", "--out", "run"]
    small = ("adapt.steps=1", "adapt.rows=2", "data.max_input_tokens=80", "device=cpu")
    settings = [word for setting in small for word in ("--set", setting)]
    result = call(*words, *settings, folder=tmp_path)
    assert result.exit_code == 0, result.stderr
    saved = load_artifact(tmp_path / "run" / "store" / "practice-nli-social")
    assert saved.manifest.method == "adapted-metaprompt"
    assert saved.manifest.settings["data"]["max_target_tokens"] == 128


# What version 0.1.0 read and answered: a note, the ids of its input, the answer.
NOTES = (
    (
        "practice-ner-drugs",
        "She takes metformin and lisinopril for diabetes and high blood pressure. No aspirin.",
        "8113 2933 1278 584 254 284 303 33778 371 21933 327 4348 284 904 1670 2456 30 2838 24462 "
        "30 198 33297 99 42",
        "metformin\nlisinopril",
    ),
    (
        "practice-sum-plan",
        "Patient with cough and fever. Chest film shows pneumonia. Start amoxicillin for seven "
        "days.",
        "37654 351 10449 284 7971 30 28259 4771 2744 15648 30 7734 744 13410 21958 327 4962 2009 "
        "30 198 23530 42",
        "Chest film shows pneumonia.",
    ),
)


@pytest.mark.parametrize(("task", "text", "ids", "answer"), NOTES)
def test_it_reads_and_answers_as_before_input_form_2_existed(
    shipped, smollm2, task, text, ids, answer
):
    assert shipped.manifest.input_form == 1
    config = with_shape(check_config({"name": "x", "device": "cpu"}, source="test"), shipped)
    card = find_card(task)
    start = Start(config, smollm2, card, metaprompt=shipped)
    bank, _ = METHODS["metaprompt"].untrained(start, None, ())
    encoder = make_encoder(smollm2.tokenizer, config.data)
    example = make_example(card, Record("1", {"text": text}))
    assert " ".join(map(str, encoder.encode(example).input_ids)) == ids
    [found] = predict(smollm2, encoder, [example], cards={task: card}, bank=bank)
    assert found.text == answer


@pytest.mark.usefixtures("smollm2")
def test_a_prompt_adapted_from_it_has_its_input_form_and_no_other_may_be_set(tmp_path):
    data = load_task(find_card("practice-nli-social"), None)
    small = {"adapt.steps": 0, "adapt.rows": 2, "data.max_input_tokens": 80, "device": "cpu"}
    with pytest.raises(SettingError, match=r"data.input_form = 2, but the metaprompt .* has 1"):
        clinprompt.adapt(data, shots=4, folder=tmp_path / "a", settings=small | FORM_2)
    made = clinprompt.adapt(data, shots=4, folder=tmp_path / "run", settings=small)
    assert made.loaded.data.input_form == 1
    assert not made.loaded.encoder().chat
