"""Export a task's prompt as a PEFT adapter. Knows PEFT's file format, but not PEFT."""

import json
from pathlib import Path

from jaxtyping import Float
from safetensors.torch import save
from torch import Tensor

from clinprompt.errors import ArtifactError
from clinprompt.files import new_folder, write_bytes, write_text
from clinprompt.prompts.artifact import Manifest

_FILES = {"adapter_model.safetensors", "adapter_config.json", "README.md"}


def export_peft(
    folder: Path, manifest: Manifest, vectors: Float[Tensor, "P W"], *, base: str, readme: str
) -> None:
    """Save an adapter for PEFT; ``base`` is the name of the model to load, ``readme`` Markdown.

    A prompt with the placement ``prefix`` becomes a ``PROMPT_TUNING`` adapter, one with ``layers``
    (see ``backbone.layers``; PEFT has the same layout) a ``PREFIX_TUNING`` adapter.

    Raises:
        ArtifactError: the folder exists and is not an adapter or has other files, or the prompt
            has the placement ``suffix``, which PEFT does not support.
        RunError: the disk is full or the folder cannot be written.
    """
    config = {
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "inference_mode": True,
        "num_virtual_tokens": manifest.length,
        "num_transformer_submodules": 1,
        **_adapter_settings(manifest),
    }
    tensors = {"prompt_embeddings": vectors.detach().float().cpu().contiguous()}
    if folder.exists() and not (folder / "adapter_config.json").is_file():
        raise ArtifactError(f"{folder}: exists and is not a PEFT adapter; choose a new folder")
    if folder.exists() and (others := {one.name for one in folder.iterdir()} - _FILES):
        raise ArtifactError(
            f"{folder}: holds other files, such as {min(others)}; choose a new folder"
        )
    with new_folder(folder.resolve()) as draft:
        write_bytes(draft / "adapter_model.safetensors", save(tensors))
        write_text(draft / "adapter_config.json", json.dumps(config, indent=2) + "\n")
        write_text(draft / "README.md", readme)


def _adapter_settings(manifest: Manifest) -> dict[str, object]:
    """Return the entries of PEFT's config for the type and shape of the adapter."""
    match manifest.placement:
        case "prefix":
            return {
                "peft_type": "PROMPT_TUNING",
                "token_dim": manifest.hidden_size,
                "prompt_tuning_init": "RANDOM",
            }
        case "layers":
            width = manifest.hidden_size // (2 * manifest.num_layers)  # G·D
            return {
                "peft_type": "PREFIX_TUNING",
                "token_dim": width,
                "num_layers": manifest.num_layers,
                "num_attention_heads": manifest.num_heads,
                "encoder_hidden_size": width,
                "prefix_projection": False,
            }
        case "suffix":
            raise ArtifactError(
                f"{manifest.title}: its placement is 'suffix', which PEFT does not support; train "
                "it with prompt.placement = 'prefix' or 'layers' to export it"
            )
