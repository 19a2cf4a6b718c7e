"""A prompt is refused by name on any backbone but its own, and changed files of it are named."""

import json
import shutil

import pytest
import torch
from command_line import call
from made_metaprompt import save_metaprompt
from made_store import TASKS, save_prompt
from safetensors.torch import load_file, save_file
from tiny import VOCABULARY, byte_tokenizer, change_json, save_tiny
from transformers import AutoModelForCausalLM

from clinprompt.backbone.load import check_fits, load_backbone
from clinprompt.errors import ArtifactError
from clinprompt.jobs.annotate import load_prompt
from clinprompt.jobs.task_table import load_tasks
from clinprompt.prompts.artifact import (
    Manifest,
    load_artifact,
    make_artifact,
    save_scores,
    seal_of,
    sealed,
)
from clinprompt.prompts.belongs import check_backbone
from clinprompt.prompts.store import Store, open_prompt
from clinprompt.runs.manifest import manifest_of
from clinprompt.settings.run import check_config
from clinprompt.tasks.card import find_card

TASK = TASKS[0]


@pytest.fixture(scope="module")
def prompt(tmp_path_factory, tiny_llama_folder):
    return save_prompt(tmp_path_factory.mktemp("one") / "store", tiny_llama_folder, TASK)


def another_model(folder, own):
    return save_tiny(folder, "llama", seed=1)


def resized(folder, own):
    model = AutoModelForCausalLM.from_pretrained(own)
    model.resize_token_embeddings(VOCABULARY + 8)
    model.save_pretrained(folder)
    byte_tokenizer().save_pretrained(folder)
    return folder


def rounded(folder, own):
    """Return the model with weights rounded to 8 bits, as a quantization leaves them."""
    shutil.copytree(own, folder)
    tensors = load_file(folder / "model.safetensors")
    scales = {name: tensor.abs().max() / 127 for name, tensor in tensors.items()}
    changed = {name: (one / scales[name]).round() * scales[name] for name, one in tensors.items()}
    save_file(changed, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def other_end_of_tokenizer(folder, own):
    shutil.copytree(own, folder)
    change_json(folder / "tokenizer_config.json", eos_token="<|im_start|>")
    return folder


def other_end_of_generation(folder, own):
    """Only generation_config.json names the token; the fingerprint does not have this file."""
    shutil.copytree(own, folder)
    change_json(folder / "generation_config.json", eos_token_id=[257, 256])
    return folder


OTHERS = {
    "another model of the same shape": (another_model, "trained on tiny-llama"),
    "resized embeddings": (resized, "trained on tiny-llama"),
    "another quantization": (rounded, "its weights, vocabulary, config or tokenizer are others"),
    "another end token of the tokenizer": (other_end_of_tokenizer, "the name is the same, but its"),
    "another end of generation": (other_end_of_generation, "end with the tokens 257, but"),
}


@pytest.mark.parametrize("other", OTHERS)
def test_a_prompt_is_refused_by_name_with_a_remedy(other, prompt, tmp_path, tiny_llama_folder):
    make, says = OTHERS[other]
    folder = make(tmp_path / "tiny-llama", tiny_llama_folder)
    with pytest.raises(ArtifactError, match=says) as refused:
        load_prompt(prompt, backbone=str(folder), device="cpu")
    message = str(refused.value)
    assert message.startswith(f"prompt {TASK} was trained on tiny-llama ")
    assert str(folder) in message
    assert "use --allow-backbone" in message
    with pytest.raises(ArtifactError, match=says):
        load_tasks(load_backbone(str(folder), device="cpu"), prompt.parent)
    notes = tmp_path / "note.txt"
    notes.write_text("Takes aspirin.")
    words = ("predict", prompt, notes, tmp_path / "out.jsonl", "--backbone", folder)
    ended = call(*words, "--device", "cpu")
    assert (ended.exit_code, ended.stderr) == (2, f"error: {message}\n")
    assert not (tmp_path / "out.jsonl").exists()


@pytest.mark.parametrize("other", OTHERS)
def test_a_metaprompt_is_refused_in_the_same_way(other, tmp_path, tiny_llama_folder):
    make, says = OTHERS[other]
    folder = make(tmp_path / "tiny-llama", tiny_llama_folder)
    metaprompt = save_metaprompt(tmp_path / "metaprompt", tiny_llama_folder)
    ended = call(
        *("adapt", "practice-nli-social", "--metaprompt", metaprompt, "--out", tmp_path / "run"),
        *("--shots", 4, "--set", f"backbone={folder}", "--set", "device=cpu"),
    )
    assert ended.exit_code == 2
    assert says in ended.stderr
    assert ended.stderr.startswith("error: prompt m was trained on tiny-llama ")


FINGERPRINTS = {
    ("tensors:1", "tensors:2", "model"): "its weights, vocabulary, config or tokenizer are others",
    ("gguf:1", "gguf:2", "model"): "another quantization, version or tokenizer of the model",
    ("gguf:1", "tensors:1", "model"): "one is a GGUF file, whose weights are rounded",
    (
        "tensors:1",
        "tensors:2",
        "other",
    ): r"not on other \(tensors:2…\); load the prompt",
}


@pytest.mark.parametrize(("given", "says"), FINGERPRINTS.items())
def test_the_message_says_what_may_differ_if_only_the_name_is_the_same(given, says):
    own, found, name = given
    manifest = Manifest(
        **{"kind": "prompt", "name": "mine", "method": "tuned", "backbone": "model"},
        **{"fingerprint": own, "length": 4, "hidden_size": 8},
    )
    with pytest.raises(ArtifactError, match=says):
        check_backbone(manifest, name=name, fingerprint=found, hidden_size=8)


def test_a_prompt_that_did_not_record_its_end_tokens_is_used(prompt, tmp_path, tiny_llama):
    """Prompts of earlier versions have no ``end_ids``."""
    folder = shutil.copytree(prompt, tmp_path / "earlier")
    change_json(folder / "manifest.json", end_ids=[], seal="")
    check_fits(tiny_llama, load_artifact(folder).manifest)


@pytest.fixture
def factors(tmp_path, tiny_llama, tiny_llama_folder):
    """Factors in the store of their metaprompt, and the folder of that."""
    meta = load_artifact(save_metaprompt(tmp_path / "meta", tiny_llama_folder))
    store = Store(tmp_path / "store")
    folder = store.save(meta)
    values = {"name": "made", "backbone": str(tiny_llama_folder), "device": "cpu"}
    manifest = manifest_of(
        check_config({**values, "prompt": {"length": 4}}, source="test"),
        tiny_llama,
        kind="factors",
        name="mine",
        method="adapted",
        cards=[find_card("practice-ner-drugs")],
    ).model_copy(update={"metaprompt": meta.manifest.content_hash})
    tensors = {"u": torch.ones(4, 1), "v": torch.ones(1, 32)}
    return store.save(make_artifact(manifest, tensors)), folder


def verified(path, *words):
    ended = call("prompts", "verify", path, *words, columns=160)
    return ended.exit_code, ended.stdout, ended.stderr


def test_verify_shows_where_prompt_and_metaprompt_come_from(factors, tiny_llama_folder):
    path, folder = factors
    own, above = load_artifact(path).manifest, load_artifact(folder).manifest
    code, said, complaints = verified(path, "--backbone", tiny_llama_folder)
    assert (code, complaints) == (0, "")
    for manifest in (own, above):
        for word in (manifest.content_hash, manifest.fingerprint, manifest.code_version):
            assert word in said
    for name in ("practice-ner-drugs", "practice-ner-labs", "practice-nli-history"):
        source = find_card(name).source
        [line] = [one for one in said.splitlines() if one.split()[:1] == [name]]
        assert source.license in line
        assert source.repository in line
    assert "prompt.length = 4" in said
    assert f"{path}: undamaged, and made for tiny-llama" in said


def test_verify_as_json_has_all_of_it(factors, tiny_llama_folder):
    path, folder = factors
    code, said, _ = verified(path, "--backbone", tiny_llama_folder, "--json")
    found = json.loads(said)
    assert (code, found["problems"], found["remarks"]) == (0, [], [])
    assert found["metaprompt"]["hash"] == load_artifact(folder).manifest.content_hash
    [data] = found["prompt"]["data"]
    source = find_card("practice-ner-drugs").source
    assert (data["license"], data["license_allows"]) == (source.license, source.license_allows)
    assert found["prompt"]["changed_settings"]["prompt.length"] == 4


def flipped(path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def relicensed(path):
    values = json.loads(path.read_text())
    values["tasks"][0]["source"]["license"] = "free for all"
    path.write_text(json.dumps(values))


CHANGES = {
    "tensors of the prompt": (0, "prompt.safetensors", flipped, "does not match its manifest"),
    "tensors of the metaprompt": (1, "prompt.safetensors", flipped, "does not match its manifest"),
    "licence in the prompt": (0, "manifest.json", relicensed, "was changed after saving"),
    "licence in the metaprompt": (1, "manifest.json", relicensed, "was changed after saving"),
    "no manifest": (0, "manifest.json", lambda path: path.unlink(), "is not a saved prompt"),
    "no tensors": (1, "prompt.safetensors", lambda path: path.unlink(), "missing, truncated"),
    "cut manifest": (1, "manifest.json", lambda path: path.write_text("{"), "damaged"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_verify_names_the_changed_file_and_exits_with_1(change, factors, tiny_llama_folder):
    number, name, damage, says = CHANGES[change]
    path = factors[number] / name
    damage(path)
    code, _, complaints = verified(factors[0], "--backbone", tiny_llama_folder)
    assert code == 1
    [line] = complaints.splitlines()
    assert line.startswith(f"error: {path}") or line.startswith(f"error: {path.parent}")
    assert says in line


def test_verify_names_all_that_is_wrong(factors, tmp_path):
    relicensed(factors[0] / "manifest.json")
    flipped(factors[1] / "prompt.safetensors")
    other = save_tiny(tmp_path / "other", "llama", seed=1)
    code, _, complaints = verified(factors[0], "--backbone", other)
    assert code == 1
    changed, damaged, foreign = complaints.splitlines()
    assert "manifest.json: was changed after saving" in changed
    assert "does not match its manifest" in damaged
    assert "was trained on tiny-llama" in foreign


def test_verify_says_that_an_earlier_version_recorded_no_hash(prompt, tmp_path, tiny_llama_folder):
    folder = shutil.copytree(prompt, tmp_path / "earlier")
    change_json(folder / "manifest.json", seal="")
    code, said, _ = verified(folder, "--backbone", tiny_llama_folder)
    assert code == 0
    assert "saved by a version that did not record its hash" in said


def test_a_prompt_of_a_version_with_fewer_fields_is_not_taken_for_a_changed_one(
    prompt, tmp_path, tiny_llama_folder
):
    folder = shutil.copytree(prompt, tmp_path / "earlier")
    values = json.loads((folder / "manifest.json").read_text())
    del values["nothing_offset"]
    values["seal"] = seal_of(values)
    (folder / "manifest.json").write_text(json.dumps(values))
    save_scores(folder, {"f1": 0.5})
    assert load_artifact(folder).manifest.scores == {"f1": 0.5}
    code, said, _ = verified(folder, "--backbone", tiny_llama_folder)
    assert code == 0
    assert "undamaged" in said


def test_another_metaprompt_in_the_folder_of_the_right_one_is_refused(factors, tiny_llama_folder):
    """It is whole in itself, so only the hash that the factors name tells that it is another."""
    path, folder = factors
    shutil.rmtree(folder)
    save_metaprompt(folder, tiny_llama_folder, seed=6)
    load_artifact(folder)
    with pytest.raises(ArtifactError, match=r"holds another metaprompt than [0-9a-f]{16}; copy"):
        open_prompt(path)


def test_scores_that_are_added_later_leave_the_seal_as_it_is(prompt):
    manifest = load_artifact(prompt).manifest
    assert manifest.seal
    scored = manifest.model_copy(update={"scores": {"f1": 0.5}})
    assert sealed(scored).seal == manifest.seal
    renamed = manifest.model_copy(update={"name": "x"})
    assert sealed(renamed).seal != manifest.seal
