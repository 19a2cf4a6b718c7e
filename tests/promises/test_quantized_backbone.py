"""Prompts train through weights of 8 and 4 bits, and belong to the backbone with them."""

import shutil

import pytest
import torch
from command_line import call
from made_metaprompt import save_metaprompt
from made_store import TASKS, save_prompt
from test_prompts_are_joined_exactly import LENGTHS, plain_loss, plain_score, step_loss
from test_prompts_are_joined_exactly import TASKS as NUMBERS
from tiny import change_json, random_prompts, random_rows, save_tiny
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

from clinprompt.backbone import quantized
from clinprompt.backbone.bank import make_bank
from clinprompt.backbone.decode import generate, score_choices
from clinprompt.backbone.load import check_fits, load_backbone, load_backbone_of
from clinprompt.backbone.tuners import full, lora
from clinprompt.errors import ArtifactError, BackboneError, SettingError
from clinprompt.jobs.annotate import load_prompt
from clinprompt.methods.check_methods import check_methods
from clinprompt.prompts.artifact import load_artifact
from clinprompt.runs.workspace import load_run_backbone
from clinprompt.settings.run import check_config

KINDS = pytest.mark.parametrize("quantize", ["8-bit", "4-bit"])
ROWS = random_rows(LENGTHS, tasks=NUMBERS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A Llama whose widths are multiples of 64, the size of a block of 4-bit weights."""
    made = tmp_path_factory.mktemp("wide") / "wide"
    return save_tiny(
        made, "llama", hidden_size=64, head_dim=16, intermediate_size=128, initializer_range=0.2
    )


@pytest.fixture(scope="module")
def loaded(folder):
    kinds = ("none", "8-bit", "4-bit")
    return {one: load_backbone(str(folder), device="cpu", quantize=one) for one in kinds}


def prompts():
    return random_prompts(2, 4, width=64)


@KINDS
@pytest.mark.parametrize("placement", ["prefix", "suffix"])
def test_a_step_equals_the_plain_model_with_these_weights(loaded, quantize, placement):
    plain, shared = prompts().requires_grad_(), prompts().requires_grad_()
    expected = plain_loss(loaded[quantize], plain, ROWS, placement)
    expected.backward()
    found = step_loss(loaded[quantize], shared, ROWS, max_tokens=40, placement=placement)
    assert found == pytest.approx(expected.item(), rel=1e-5)
    assert (shared.grad - plain.grad).norm() < 1e-4 * plain.grad.norm()
    unquantized = step_loss(loaded["none"], prompts().requires_grad_(), ROWS, max_tokens=40)
    assert found != pytest.approx(unquantized, rel=2e-5)


@KINDS
def test_the_gradient_is_the_slope_of_the_loss(loaded, quantize):
    """Also where bitsandbytes' own layer would round its inputs."""
    start, way = prompts().requires_grad_(), prompts().sign()
    step_loss(loaded[quantize], start, ROWS, max_tokens=1000)
    values = [
        step_loss(
            loaded[quantize],
            (start + sign * 1e-3 * way).detach().requires_grad_(),
            ROWS,
            max_tokens=1000,
        )
        for sign in (1, -1)
    ]
    slope = (values[0] - values[1]) / 2e-3
    assert (start.grad * way).sum().item() == pytest.approx(slope, rel=0.02)


@KINDS
def test_a_row_scores_the_same_alone_and_in_a_batch(loaded, quantize):
    backbone, rows = loaded[quantize], random_rows([(9, 0), (2, 0), (30, 0)], tasks=(0, 1))
    with torch.no_grad():
        bank = make_bank(backbone.model, prompts())
    choices = [((10, 11), (40,))] * 3
    together = score_choices(backbone, rows, choices, bank)
    for row, found in zip(rows, together, strict=True):
        [alone] = score_choices(backbone, [row], choices[:1], bank)
        expected = [
            plain_score(backbone, prompts()[row.task], row, ids, "prefix") for ids in choices[0]
        ]
        assert found == pytest.approx(alone, rel=1e-5, abs=1e-4)
        assert found == pytest.approx(expected, rel=1e-4, abs=1e-3)
    assert all(generate(backbone, rows, bank, limits=[3] * 3, end_ids=()))


@KINDS
def test_training_goes_on_after_answers_were_written(loaded, quantize):
    losses = []
    for _ in range(2):
        losses.append(step_loss(loaded[quantize], prompts().requires_grad_(), ROWS, max_tokens=40))
        with torch.no_grad():
            bank = make_bank(loaded[quantize].model, prompts())
        generate(loaded[quantize], random_rows([(9, 0)]), bank, limits=[3], end_ids=())
    assert losses[0] == losses[1]


def test_weights_take_the_bits_that_the_name_says(loaded):
    """An up projection has 64·128 weights; the head keeps its type."""
    bytes_of = {
        kind: one.model.model.layers[0].mlp.up_proj.weight.untyped_storage().nbytes()
        for kind, one in loaded.items()
    }
    assert bytes_of == {"none": 4 * 64 * 128, "8-bit": 64 * 128, "4-bit": 64 * 128 // 2}
    assert len({one.num_parameters for one in loaded.values()}) == 1
    assert all(one.model.lm_head.weight.dtype == torch.float32 for one in loaded.values())


def test_8_bits_are_within_half_a_step_of_the_weights(loaded):
    """bitsandbytes rounds to float16 first, so a little more."""
    plain, coarse = (loaded[kind].model.model.layers[0].mlp.up_proj for kind in ("none", "8-bit"))
    steps = plain.weight.abs().amax(dim=1, keepdim=True) / 127
    weights = coarse(torch.eye(64)).T
    assert ((weights - plain.weight).abs() <= 0.55 * steps).all()


def test_each_quantization_is_a_backbone_of_its_own(loaded, folder):
    plain = loaded["none"].fingerprint
    assert loaded["4-bit"].fingerprint == f"{plain}:4-bit"
    config = check_config(
        {"name": "x", "backbone": str(folder), "device": "cpu", "quantize": "8-bit"}, source="test"
    )
    assert load_run_backbone(folder / "new", config).fingerprint == f"{plain}:8-bit"


@pytest.fixture(scope="module")
def saved(tmp_path_factory, folder):
    store = tmp_path_factory.mktemp("one") / "store"
    return save_prompt(store, folder, TASKS[0], quantize="4-bit")


def test_a_saved_prompt_loads_its_backbone_with_the_same_quantization(saved, folder):
    manifest = load_artifact(saved).manifest
    assert load_backbone_of(manifest, str(folder), device="cpu").fingerprint.endswith(":4-bit")
    assert load_prompt(saved, backbone=str(folder), device="cpu").backbone.model.is_quantized


@pytest.mark.parametrize("kind", ["none", "8-bit"])
def test_a_prompt_is_refused_on_another_quantization(saved, loaded, kind):
    words = rf"with quantize = '4-bit', not on .* with quantize = '{kind}'; load the backbone with"
    with pytest.raises(ArtifactError, match=words):
        check_fits(loaded[kind], load_artifact(saved).manifest)


def test_a_metaprompt_of_the_unquantized_backbone_is_refused(tmp_path, tiny_llama_folder):
    metaprompt = save_metaprompt(tmp_path / "metaprompt", tiny_llama_folder)
    ended = call(
        *("adapt", "practice-nli-social", "--metaprompt", metaprompt, "--out", tmp_path / "run"),
        *("--shots", 4, "--set", f"backbone={tiny_llama_folder}", "--set", "device=cpu"),
        *("--set", "quantize=4-bit"),
    )
    assert ended.exit_code == 2
    assert "was trained on tiny-llama with quantize = 'none', not on" in ended.stderr


@pytest.fixture(params=["8-bit", "4-bit"])
def stored(request, folder, tmp_path):
    """The model as bitsandbytes stores it, and its kind."""
    kinds = {
        "8-bit": BitsAndBytesConfig(load_in_8bit=True),
        "4-bit": BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True
        ),
    }
    model = AutoModelForCausalLM.from_pretrained(folder, quantization_config=kinds[request.param])
    shutil.copytree(folder, tmp_path / "stored")
    model.save_pretrained(tmp_path / "stored")
    return tmp_path / "stored", request.param


def test_a_checkpoint_that_is_stored_quantized_loads_as_it_is(stored, loaded):
    place, kind = stored
    backbone = load_backbone(str(place), device="cpu")
    losses = [
        step_loss(one, prompts().requires_grad_(), ROWS, max_tokens=40)
        for one in (backbone, loaded[kind])
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)
    assert backbone.fingerprint == load_backbone(str(place), quantize=kind).fingerprint
    other = {"8-bit": "4-bit", "4-bit": "8-bit"}[kind]
    with pytest.raises(BackboneError, match="stored quantized, and cannot be quantized again"):
        load_backbone(str(place), device="cpu", quantize=other)


def test_an_unknown_way_of_storing_is_refused(folder, tmp_path):
    place = shutil.copytree(folder, tmp_path / "copy")
    change_json(place / "config.json", quantization_config={"quant_method": "bitsandbytes"})
    with pytest.raises(BackboneError, match="neither load_in_8bit nor load_in_4bit"):
        load_backbone(str(place), device="cpu")


def test_a_missing_package_is_named_before_weights_are_read(folder, monkeypatch):
    monkeypatch.setattr(quantized, "find_spec", lambda _: None)
    with pytest.raises(BackboneError, match=r"run: pip install '\.\[quantize\]'"):
        load_backbone(str(folder), device="cpu", quantize="4-bit")
    load_backbone(str(folder), device="cpu")


@pytest.mark.parametrize("tune", ["full", "lora"])
@KINDS
def test_what_changes_weights_is_refused(loaded, quantize, tune):
    tuner = (
        full(loaded[quantize])
        if tune == "full"
        else lora(loaded[quantize], rank=2, modules=("q_proj",), seed=0)
    )
    with pytest.raises(SettingError, match=f"method {tune} changes .*, or set quantize = 'none'"):
        tuner.__enter__()
    values = {"name": "x", "quantize": quantize, "compare": {"methods": [tune]}}
    with pytest.raises(SettingError, match=rf"method {tune} changes .* leave {tune} out"):
        check_methods(check_config(values, source="test"))


def test_dividing_it_is_refused(folder, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(SettingError, match="quantized weights cannot be divided"):
        load_backbone(str(folder), quantize="4-bit", tensor_parallel=True)


def test_exporting_its_prompt_is_refused(saved, folder, tmp_path):
    ended = call(
        *("prompts", "export", saved, tmp_path / "out", "--backbone", folder, "--base", "a/b")
    )
    assert ended.exit_code == 2
    assert "was trained with quantize = '4-bit', and what is exported runs on" in ended.stderr
