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
    folder: Path, manifest: Manifest, vectors: Float[Tensor, "P H"], *, base: str
) -> None:
    """Save a PEFT prompt-tuning adapter (``PROMPT_TUNING``); ``base`` names the model to load.

    PEFT puts the vectors in front of the embedded input, which is what clinprompt computes.

    Raises:
        ArtifactError: the folder holds something else, or the prompt goes behind the input, where
            PEFT puts none.
        RunError: the disk is full or the place cannot be written.
    """
    if manifest.placement != "prefix":
        raise ArtifactError(
            f"{manifest.name}: its placement is {manifest.placement!r}, but PEFT puts prompts in "
            "front; train it with prompt.placement = 'prefix' to export it"
        )
    config = {
        "peft_type": "PROMPT_TUNING",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "inference_mode": True,
        "num_virtual_tokens": manifest.length,
        "token_dim": manifest.hidden_size,
        "num_transformer_submodules": 1,
        "prompt_tuning_init": "RANDOM",
    }
    tensors = {"prompt_embeddings": vectors.detach().float().cpu().contiguous()}
    if folder.exists() and not (folder / "adapter_config.json").is_file():
        raise ArtifactError(f"{folder}: exists and is no adapter; choose a new folder")
    with new_folder(folder.resolve()) as draft:
        write_bytes(draft / "adapter_model.safetensors", save(tensors))
        write_text(draft / "adapter_config.json", json.dumps(config, indent=2) + "\n")
