"""Write one task's prompt as an adapter that PEFT loads. Knows PEFT's file format, not PEFT."""

import json
from pathlib import Path

from jaxtyping import Float
from safetensors.torch import save
from torch import Tensor

from clinprompt.errors import ArtifactError
from clinprompt.files import new_folder, write_bytes, write_text
from clinprompt.prompts.artifact import Manifest


def export_peft(
    folder: Path, manifest: Manifest, vectors: Float[Tensor, "P W"], *, base: str
) -> None:
    """Save an adapter for PEFT; ``base`` names the model to load.

    A prompt in front of the input becomes a ``PROMPT_TUNING`` adapter, one in all layers (see
    ``backbone.layers``; PEFT has the same layout) a ``PREFIX_TUNING`` one.

    Raises:
        ArtifactError: the folder holds something else, or the prompt goes behind the input, where
            PEFT puts none.
        RunError: the disk is full or the place cannot be written.
    """
    config = {
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "inference_mode": True,
        "num_virtual_tokens": manifest.length,
        "num_transformer_submodules": 1,
        **_kind(manifest),
    }
    tensors = {"prompt_embeddings": vectors.detach().float().cpu().contiguous()}
    if folder.exists() and not (folder / "adapter_config.json").is_file():
        raise ArtifactError(f"{folder}: exists and is no adapter; choose a new folder")
    with new_folder(folder.resolve()) as draft:
        write_bytes(draft / "adapter_model.safetensors", save(tensors))
        write_text(draft / "adapter_config.json", json.dumps(config, indent=2) + "\n")


def _kind(manifest: Manifest) -> dict[str, object]:
    """Return what tells PEFT the kind of adapter and its shape."""
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
                f"{manifest.name}: its placement is 'suffix', but PEFT puts prompts in front; "
                "train it with prompt.placement = 'prefix' or 'layers' to export it"
            )
