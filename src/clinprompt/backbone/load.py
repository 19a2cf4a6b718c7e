"""Load a frozen language model with its tokenizer, and check that a prompt belongs to it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
import transformers
from torch import nn
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from clinprompt.backbone.layers import prompt_width
from clinprompt.backbone.packed import use_packed_attention
from clinprompt.backbone.quantized import (
    check_not_divided,
    num_weights,
    own_quantization,
    prepare,
    quantization,
    quantized_options,
)
from clinprompt.backbone.ranks import local_rank
from clinprompt.backbone.stored import WHEELS, locate, naming_backbone, read_config
from clinprompt.backbone.supported import check_supported, longest_context
from clinprompt.backbone.tensor_parallel import (
    check_divisible,
    loading_options,
    num_processes,
    whole,
)
from clinprompt.backbone.tokenizer_faults import naming_tokenizer
from clinprompt.errors import BackboneError, SettingError, option
from clinprompt.prompts.artifact import Manifest
from clinprompt.prompts.belongs import check_backbone, check_end, marked, quantize_of
from clinprompt.settings.groups import Quantize

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


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
        """Return V, the number of logits of the model."""
        return int(self.model.get_output_embeddings().weight.shape[0])

    @property
    def context(self) -> int:
        """Return the longest sequence that the model supports with a prompt, in positions."""
        return longest_context(self.model.config)

    @property
    def embeddings(self) -> torch.Tensor:
        """Return the token embeddings [V, H], as the first layer reads them.

        If the model is divided over processes, all of them must ask at a time.
        """
        embed = self.model.get_input_embeddings()
        weight = whole(embed.weight).detach()
        if type(embed) is nn.Embedding:
            return weight
        # Gemma's embeddings are scaled: the prompt must be as large as what the layers read.
        with torch.no_grad():
            scaled: torch.Tensor = embed(torch.arange(len(weight), device=self.device))
        return scaled

    @property
    def num_parameters(self) -> int:
        """Return the number of parameters of the model, without LoRA adapters."""
        return sum(num_weights(p) for n, p in self.model.named_parameters() if "lora_" not in n)

    @property
    def end_ids(self) -> frozenset[int]:
        """Return all ids that end an answer, from the model's config; some models have several."""
        return _end_ids(self.model.config, self.model.generation_config)

    @property
    def answer_ends(self) -> frozenset[int]:
        """Return ``end_ids`` and the end token of the tokenizer, which training ends answers with.

        A prompt is refused if they change.
        """
        own = self.tokenizer.eos_token_id
        return self.end_ids | (frozenset({own}) if isinstance(own, int) else frozenset())

    @property
    def pad_id(self) -> int:
        """Return the id for padding; padding is always masked, so any id works."""
        pad_id = self.tokenizer.pad_token_id
        return pad_id if isinstance(pad_id, int) else 0


def load_backbone(
    name: str,
    *,
    device: str = "auto",
    dtype: torch.dtype = torch.float32,
    quantize: Quantize = "none",
    tensor_parallel: bool = False,
) -> Backbone:
    """Load ``smollm2-135m``, a checkpoint folder, a GGUF file, or a hub model that is on the disk.

    ``quantize`` stores the weights of linear layers with 8 or 4 bits. With ``tensor_parallel``, the
    weights are divided over all processes that torchrun started: each must call this function, and
    later use the backbone in the same way at the same time.

    Raises:
        BackboneError: the model is missing or damaged, does not support prompts, or cannot be
            divided over the processes, or bitsandbytes is missing.
        SettingError: it is to be divided, but is quantized, or there is one process only.
    """
    parts = num_processes() if tensor_parallel else 1
    folder, fingerprint = locate(name)
    chosen_device = _device(device) if parts == 1 else _device_of_part(device)
    config = read_config(name, folder)
    check_supported(name, config)
    how = quantization(name, config, quantize, dtype)
    stored = own_quantization(name, config)
    is_quantized = quantize != "none" or stored != "none"
    if parts > 1 and is_quantized:
        check_not_divided(name)
    if parts > 1:
        check_divisible(name, config, parts=parts)
    transformers.logging.disable_progress_bar()
    tokenizer = _tokenizer_in(name, folder)
    with naming_backbone(name), _quiet(parts):
        model, report = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=dtype,
            local_files_only=True,
            output_loading_info=True,
            **loading_options(parts),
            **quantized_options(how, chosen_device if is_quantized else None),
        )
    if missing := sorted(report["missing_keys"]):
        raise BackboneError(
            f"backbone {name}: cannot be loaded: {len(missing)} weights are missing, the first is "
            f"{missing[0]}; copy the checkpoint again"
        )
    model.requires_grad_(False).eval()
    if parts == 1 and not is_quantized:
        model.to(chosen_device)
    prepare(model, dtype)
    use_packed_attention(model)
    mark = quantize if stored == "none" else "none"  # a stored one is in the checkpoint's hash
    return Backbone(name, model, tokenizer, marked(fingerprint, mark), model.device)


def load_tokenizer(name: str) -> PreTrainedTokenizerBase:
    """Load only the tokenizer of a backbone.

    Raises:
        BackboneError: the backbone does not exist, or its files are damaged.
    """
    folder, _ = locate(name)
    return _tokenizer_in(name, folder)


def _tokenizer_in(name: str, folder: Path) -> PreTrainedTokenizerBase:
    with naming_backbone(name), naming_tokenizer(name):
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            folder, local_files_only=True
        )
    return tokenizer


def load_end_ids(name: str) -> frozenset[int]:
    """Return all ids that end an answer of a backbone, without loading its weights.

    Raises:
        BackboneError: the backbone does not exist, or its files are damaged.
    """
    folder, _ = locate(name)
    settings: list[object] = [read_config(name, folder)]
    if (folder / "generation_config.json").is_file():
        with naming_backbone(name):
            settings.append(GenerationConfig.from_pretrained(folder, local_files_only=True))
    return _end_ids(*settings)


def _end_ids(*settings: object) -> frozenset[int]:
    found = (getattr(one, "eos_token_id", None) for one in settings)
    lists = (ids if isinstance(ids, list) else [ids] for ids in found)
    return frozenset(id_ for ids in lists for id_ in ids if id_ is not None)


def load_backbone_of(
    manifest: Manifest,
    name: str = "",
    *,
    device: str = "auto",
    dtype: str = "auto",
    tensor_parallel: bool = False,
) -> Backbone:
    """Load the backbone that a prompt was trained on, or the one given by ``name``.

    It is quantized as it was in training. ``dtype`` is float32, bfloat16 or auto: float32 on a CPU,
    elsewhere as in training. ``tensor_parallel`` is as in ``load_backbone``.

    Raises:
        BackboneError: it cannot be loaded.
        SettingError: ``dtype`` is another word, or the backbone is to be divided over processes,
            but there is one process only.
    """
    load = partial(
        load_backbone,
        device=device,
        # Otherwise the error below would hide a wrong device.
        dtype=_dtype(dtype, manifest, _device(device)),
        quantize=quantize_of(manifest.fingerprint),
        tensor_parallel=tensor_parallel,
    )
    if not name and manifest.backbone not in WHEELS and not Path(manifest.backbone).exists():
        try:
            return load(manifest.backbone)
        except BackboneError as error:
            raise BackboneError(
                f"prompt {manifest.title}: its backbone {manifest.backbone} is not found; give its "
                f"folder or GGUF file with {option('backbone')}"
            ) from error
    return load(name or manifest.backbone)


def _dtype(word: str, manifest: Manifest, device: torch.device) -> torch.dtype:
    """Return the type of weights by its name; ``auto`` depends on the prompt and the device."""
    if word == "auto":
        trained = manifest.settings.get("dtype", "float32")
        word = "float32" if device.type == "cpu" else trained
    if word not in DTYPES:
        raise SettingError(f"dtype {word!r}; use auto, {' or '.join(DTYPES)}")
    return DTYPES[word]


def check_fits(backbone: Backbone, manifest: Manifest) -> None:
    """Check that a prompt was trained on the given backbone, which ends answers as it did then.

    Raises:
        ArtifactError: it was trained on another one, or answers would end with other tokens.
    """
    check_backbone(
        manifest,
        name=backbone.name,
        fingerprint=backbone.fingerprint,
        hidden_size=prompt_width(backbone.model, manifest.placement),
    )
    check_end(manifest, name=backbone.name, end_ids=backbone.answer_ends)


def _device(name: str) -> torch.device:
    """Return a device by name. Each process that torchrun started on a machine has its own GPU."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    own, remedy = local_rank(), "use auto, cpu or cuda"
    if name == "cuda" and own is not None:
        name, remedy = f"cuda:{own}", "start at most one process for each GPU, or use cpu"
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise BackboneError(f"device {name!r} is not available; {remedy}") from error
    return device


def _device_of_part(name: str) -> torch.device:
    """Return the device on which transformers puts the part of a divided model."""
    found = torch.accelerator.current_accelerator(check_available=True)
    kind = "cpu" if found is None else found.type
    if name not in ("auto", kind):
        hint = "; to use the CPU, set CUDA_VISIBLE_DEVICES= (empty)" if name == "cpu" else ""
        raise BackboneError(
            f"device {name!r}: with tensor_parallel, each process has a {kind} device of its own; "
            f"use device = 'auto'{hint}"
        )
    return _device(kind)


@contextmanager
def _quiet(parts: int) -> Iterator[None]:
    """Silence the list of weights that a divided model has whole in each process."""
    level = transformers.logging.get_verbosity()
    if parts > 1:
        transformers.logging.set_verbosity_error()
    try:
        yield
    finally:
        transformers.logging.set_verbosity(level)
