"""What can be divided over processes, and what is said where it cannot."""

import pytest
import torch
from tiny import save_tiny
from transformers import GptOssConfig, LlamaConfig

from clinprompt.backbone import tensor_parallel
from clinprompt.backbone.load import load_backbone
from clinprompt.backbone.tensor_parallel import check_divisible
from clinprompt.backbone.tuners import full, lora
from clinprompt.errors import BackboneError, SettingError
from clinprompt.jobs.comparison.compare import compare
from clinprompt.jobs.comparison.search import search
from clinprompt.serving.teaching.opening import recipe_of
from clinprompt.settings.run import check_config
from clinprompt.training.progress import Silent


def llama(query_heads, key_value_heads):
    return LlamaConfig(
        hidden_size=64 * query_heads,
        num_attention_heads=query_heads,
        num_key_value_heads=key_value_heads,
    )


@pytest.mark.parametrize(("heads", "parts"), [((4, 2), 2), ((8, 8), 4), ((32, 8), 8)])
def test_heads_of_both_kinds_are_divided_evenly(heads, parts):
    check_divisible("mine", llama(*heads), parts=parts)


@pytest.mark.parametrize(
    ("heads", "parts", "message"),
    [
        (
            (32, 8),
            16,
            r"num_key_value_heads = 8 cannot be divided over 16 processes; start 2 or 4 or 8 pro",
        ),
        ((9, 3), 2, r"num_attention_heads = 9 cannot be divided over 2 .* start 3 processes, or"),
        ((4, 1), 2, r"num_key_value_heads = 1 cannot be divided over 2 processes; set tensor_par"),
    ],
)
def test_heads_that_cannot_be_divided_are_named_with_the_numbers_that_fit(heads, parts, message):
    with pytest.raises(BackboneError, match=message):
        check_divisible("mine", llama(*heads), parts=parts)


def test_an_architecture_without_a_plan_for_its_heads_is_refused():
    with pytest.raises(BackboneError, match="no plan that divides the attention heads"):
        check_divisible("mine", GptOssConfig(), parts=2)


def test_a_process_that_was_started_alone_is_told_to_use_torchrun(tiny_llama_folder):
    with pytest.raises(SettingError, match="one process only; start the command with torchrun"):
        load_backbone(str(tiny_llama_folder), device="cpu", tensor_parallel=True)


def test_heads_are_checked_before_weights_are_read(tmp_path, monkeypatch):
    folder = save_tiny(tmp_path / "model", "llama")
    (folder / "model.safetensors").write_bytes(b"no weights")
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(BackboneError, match="num_attention_heads = 4 cannot be divided over 3"):
        load_backbone(str(folder), device="cpu", tensor_parallel=True)


def test_a_device_for_all_processes_is_refused(tiny_llama_folder, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(BackboneError, match=r"each process has a .* device of its own"):
        load_backbone(str(tiny_llama_folder), device="cuda:1", tensor_parallel=True)


def test_methods_that_change_weights_are_refused(tiny_llama, monkeypatch):
    monkeypatch.setattr(tiny_llama.model, "_tp_size", 2)
    with pytest.raises(SettingError, match="method full changes"), full(tiny_llama):
        pass
    adapters = lora(tiny_llama, rank=1, modules=["q_proj"], seed=0)
    with pytest.raises(SettingError, match="method lora changes"), adapters:
        pass


@pytest.mark.parametrize("run", [compare, search])
def test_a_comparison_refuses_it_before_anything_is_loaded(run, tmp_path):
    plan = {"tasks": ["practice-ner-drugs"], "trials": {"prompt-tuning": [{}]}}
    config = check_config({"name": "x", "tensor_parallel": True, "search": plan}, source="x")
    own = {"command": None} if run is compare else {}
    with pytest.raises(SettingError, match="cannot be used in a comparison or search"):
        run(tmp_path / "run", config, mirror=None, reporter=Silent(), **own)
    assert not (tmp_path / "run").exists()


def test_a_server_refuses_it():
    with pytest.raises(SettingError, match="has no effect on a server"):
        recipe_of("shipped", ["tensor_parallel=true"])


def test_a_model_that_is_whole_keeps_all_heads(tiny_llama):
    keys = torch.randn(1, 4, 2, 8)
    assert tensor_parallel.own_heads(tiny_llama.model, keys, dim=2) is keys
    assert tensor_parallel.all_heads(tiny_llama.model, keys, dim=2) is keys
    assert tensor_parallel.with_equal_gradients(tiny_llama.model, keys) is keys
