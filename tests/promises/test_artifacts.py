"""A saved artifact loads exactly; it is refused if damaged or made for another backbone."""

import re

import pytest
import torch
from safetensors.torch import save_file
from tiny import HIDDEN, change_json, random_prompts

from clinprompt.errors import ArtifactError, RunError
from clinprompt.prompts.artifact import (
    Manifest,
    load_artifact,
    make_artifact,
    save_artifact,
)
from clinprompt.prompts.belongs import check_backbone
from clinprompt.prompts.decomposed import compose
from clinprompt.prompts.store import Store, open_prompt

LENGTH, RANK = 4, 2
TASKS = ({"name": "a", "type": "ner"}, {"name": "b", "type": "nli"})


def manifest(kind, **values):
    sizes = {"length": LENGTH, "hidden_size": HIDDEN, "rank": 0 if kind == "prompt" else RANK}
    names = {"name": "mine", "method": "teacher", "backbone": "tiny", "fingerprint": "tensors:1"}
    tasks = TASKS if kind == "metaprompt" else TASKS[:1]
    return Manifest(**{"kind": kind, **sizes, **names, "tasks": tasks, **values})


def draw(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


def artifact_of(kind, **values):
    tensors = {
        "prompt": {"vectors": draw(LENGTH, HIDDEN)},
        "metaprompt": {
            "shared": draw(LENGTH, HIDDEN),
            "u": draw(2, LENGTH, RANK),
            "v": draw(2, RANK, HIDDEN),
        },
        "factors": {"u": draw(LENGTH, RANK), "v": draw(RANK, HIDDEN)},
    }
    return make_artifact(manifest(kind, **values), tensors[kind])


@pytest.mark.parametrize("kind", ["prompt", "metaprompt", "factors"])
def test_a_saved_artifact_loads_exactly(kind, tmp_path):
    saved = artifact_of(kind, settings={"seed": 3}, scores={"f1": 0.1}, seed=3)
    save_artifact(tmp_path / "mine", saved)
    found = load_artifact(tmp_path / "mine")
    assert found.manifest == saved.manifest
    assert found.tensors.keys() == saved.tensors.keys()
    assert all(torch.equal(found.tensors[name], saved.tensors[name]) for name in saved.tensors)


def test_the_folder_of_a_run_or_a_store_names_the_prompts_that_it_has(tmp_path):
    run = tmp_path / "run"
    save_artifact(run / "store" / "my-task", artifact_of("prompt"))
    saved = re.escape(str(run / "store" / "my-task"))
    for folder in (run, run / "store"):
        with pytest.raises(ArtifactError, match=f"not a saved prompt .*; it has {saved}; give"):
            load_artifact(folder)
    with pytest.raises(ArtifactError, match=r"missing.; give its folder"):
        load_artifact(tmp_path)
    with pytest.raises(ArtifactError, match="none: no such folder, so it is not a saved prompt"):
        load_artifact(tmp_path / "none")


def test_saving_twice_gives_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        save_artifact(tmp_path / name, artifact_of("metaprompt"))
    files = [(tmp_path / name / "prompt.safetensors").read_bytes() for name in ("a", "b")]
    assert files[0] == files[1]


@pytest.mark.parametrize("kept", [0, 4, 100, -1])
def test_a_cut_off_file_is_refused(kept, tmp_path):
    save_artifact(tmp_path / "mine", artifact_of("prompt"))
    path = tmp_path / "mine" / "prompt.safetensors"
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ArtifactError, match=re.escape(str(path))):
        load_artifact(tmp_path / "mine")


def test_changed_bytes_are_refused(tmp_path):
    save_artifact(tmp_path / "mine", artifact_of("prompt"))
    path = tmp_path / "mine" / "prompt.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(ArtifactError, match="does not match its manifest"):
        load_artifact(tmp_path / "mine")


def test_tensors_of_another_number_format_are_refused(tmp_path):
    save_artifact(tmp_path / "mine", artifact_of("prompt"))
    vectors = draw(LENGTH, HIDDEN).bfloat16()
    save_file({"vectors": vectors}, tmp_path / "mine" / "prompt.safetensors")
    with pytest.raises(ArtifactError, match=r"prompt\.safetensors"):
        load_artifact(tmp_path / "mine")


def test_tensors_of_another_shape_are_refused(tmp_path):
    save_artifact(tmp_path / "mine", artifact_of("prompt"))
    change_json(tmp_path / "mine" / "manifest.json", length=LENGTH + 1)
    with pytest.raises(ArtifactError, match="its manifest says"):
        load_artifact(tmp_path / "mine")


def test_a_missing_file_is_refused(tmp_path):
    save_artifact(tmp_path / "mine", artifact_of("prompt"))
    (tmp_path / "mine" / "prompt.safetensors").unlink()
    with pytest.raises(ArtifactError, match="missing"):
        load_artifact(tmp_path / "mine")


def test_a_missing_manifest_is_refused(tmp_path):
    save_artifact(tmp_path / "mine", artifact_of("prompt"))
    (tmp_path / "mine" / "manifest.json").unlink()
    with pytest.raises(ArtifactError, match=r"manifest\.json is missing"):
        load_artifact(tmp_path / "mine")


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b"\xff"])
def test_a_damaged_manifest_is_refused(content, tmp_path):
    save_artifact(tmp_path / "mine", artifact_of("prompt"))
    (tmp_path / "mine" / "manifest.json").write_bytes(content)
    with pytest.raises(ArtifactError, match="damaged"):
        load_artifact(tmp_path / "mine")


def test_a_prompt_of_another_fingerprint_is_refused():
    own = manifest("prompt")
    check_backbone(own, name="tiny", fingerprint="tensors:1", hidden_size=HIDDEN)
    with pytest.raises(ArtifactError, match="--allow-backbone"):
        check_backbone(own, name="other", fingerprint="tensors:2", hidden_size=HIDDEN)
    with pytest.raises(ArtifactError, match="hidden size 32"):
        check_backbone(own, name="other", fingerprint="tensors:2", hidden_size=64)


def test_factors_find_their_metaprompt_in_the_store_around_them(tmp_path):
    store, meta = Store(tmp_path / "store"), artifact_of("metaprompt")
    store.save(meta)
    factors = artifact_of("factors", metaprompt=meta.manifest.content_hash, name="task/factors-k4")
    folder = store.save(factors)
    found, vectors = open_prompt(folder)
    u, v = factors.tensors["u"], factors.tensors["v"]
    expected = compose(meta.tensors["shared"], u[None], v[None])[0]
    assert found.manifest == factors.manifest
    assert torch.equal(vectors, expected)


def test_factors_away_from_their_metaprompt_say_what_is_missing(tmp_path):
    save_artifact(tmp_path / "alone", artifact_of("factors", metaprompt="0123456789abcdef99"))
    with pytest.raises(
        ArtifactError, match="metaprompt 0123456789abcdef is in none of the folders above"
    ):
        open_prompt(tmp_path / "alone")


def test_a_metaprompt_cannot_be_used_as_the_prompt_of_one_task(tmp_path):
    folder = Store(tmp_path).save(artifact_of("metaprompt"))
    with pytest.raises(ArtifactError, match="adapt it"):
        open_prompt(folder)


def test_factors_of_a_hundred_positions_stay_below_five_kilobytes():
    tensors = {"u": draw(100, 1), "v": draw(1, 576)}
    factors = make_artifact(manifest("factors", length=100, hidden_size=576, rank=1), tensors)
    assert 4 * (100 + 576) < factors.num_bytes < 5_000


def test_num_bytes_is_the_size_of_the_file(tmp_path):
    artifact = artifact_of("prompt")
    save_artifact(tmp_path / "mine", artifact)
    assert (tmp_path / "mine" / "prompt.safetensors").stat().st_size == artifact.num_bytes


def test_the_hash_differs_between_backbones_and_between_contents():
    vectors = random_prompts(1, LENGTH)[0]
    one = make_artifact(manifest("prompt"), {"vectors": vectors})
    other = make_artifact(manifest("prompt", fingerprint="tensors:2"), {"vectors": vectors})
    changed = make_artifact(manifest("prompt"), {"vectors": vectors + 1})
    assert len({a.manifest.content_hash for a in (one, other, changed)}) == 3


def test_a_store_lists_its_prompts_and_suggests_similar_names(tmp_path):
    store = Store(tmp_path)
    store.save(artifact_of("prompt", name="teachers/one"))
    meta = store.save(artifact_of("metaprompt"))
    assert store.names() == [f"metaprompts/{meta.name}", "teachers/one"]
    assert store.load("teachers/one").manifest.name == "teachers/one"
    with pytest.raises(ArtifactError, match="did you mean teachers/one"):
        store.load("teachers/oen")


def test_a_half_written_folder_is_not_listed_as_a_prompt(tmp_path):
    store = Store(tmp_path)
    save_artifact(tmp_path / ".mine.x1y2z3.draft" / "content", artifact_of("prompt"))
    assert store.names() == []


def test_an_unwritable_store_is_a_run_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="could not be written"):
        Store(tmp_path / "file").save(artifact_of("prompt"))
