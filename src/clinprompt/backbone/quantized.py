"""Load backbones whose weights have 8 or 4 bits, and train prompts through them.

bitsandbytes quantizes the weights of linear layers. Embeddings, norms and the head keep the type of
the backbone. Weights are turned back into numbers for each product, and again for its gradient, so
a row's result does not depend on other rows, and gradients are those of the quantized model.

Axes: I inputs, O outputs of a linear layer.
"""

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import BackwardCFunction, FunctionCtx
from torch.nn.functional import linear
from transformers import BitsAndBytesConfig, PretrainedConfig, PreTrainedModel
from transformers.utils.quantization_config import QuantizationConfigMixin

from clinprompt.backbone.supported import dequantization
from clinprompt.errors import BackboneError, SettingError, how_to_install
from clinprompt.settings.groups import Quantize

_LARGEST = 127  # the largest number of a weight with 8 bits


def own_quantization(name: str, config: PretrainedConfig) -> Quantize:
    """Return how bitsandbytes quantized the weights of a stored model.

    Raises:
        BackboneError: it quantized them in another way than to 8 or 4 bits.
    """
    stored = getattr(config, "quantization_config", None)
    values = stored if isinstance(stored, dict) else stored.to_dict() if stored else {}
    if values.get("quant_method") != "bitsandbytes":
        return "none"
    kinds: Mapping[str, Quantize] = {"load_in_8bit": "8-bit", "load_in_4bit": "4-bit"}
    found = [kind for key, kind in kinds.items() if values.get(key)]
    if not found:
        raise BackboneError(
            f"backbone {name}: its quantization_config has neither load_in_8bit nor load_in_4bit; "
            "give the checkpoint before quantization"
        )
    return found[0]


def quantization(
    name: str, config: PretrainedConfig, quantize: Quantize, dtype: torch.dtype
) -> QuantizationConfigMixin | None:
    """Return the config with which transformers loads weights; None to load them as stored.

    Raises:
        BackboneError: the weights are stored in another quantization, or bitsandbytes is missing.
    """
    stored = own_quantization(name, config)
    if quantize == "none" and stored == "none":
        return dequantization(name, config)
    is_stored = getattr(config, "quantization_config", None) is not None
    if is_stored and quantize not in ("none", stored):
        raise BackboneError(
            f"backbone {name}: its weights are stored quantized, and cannot be quantized again; "
            "set quantize = 'none', or give the checkpoint before quantization"
        )
    if find_spec("bitsandbytes") is None:
        raise BackboneError(
            f"backbone {name}: weights with {stored if quantize == 'none' else quantize} need "
            f"bitsandbytes, which is not installed; {how_to_install('quantize')}"
        )
    if stored != "none":
        return None
    if quantize == "8-bit":
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )


def check_not_divided(name: str) -> None:
    """Refuse to divide a quantized backbone over processes.

    Raises:
        SettingError: always.
    """
    raise SettingError(
        f"backbone {name}: quantized weights cannot be divided over processes; set tensor_parallel "
        "= false or quantize = 'none'"
    )


def check_unquantized(model: PreTrainedModel, *, method: str) -> None:
    """Check that a method may change the weights of a model.

    Raises:
        SettingError: they are quantized.
    """
    if getattr(model, "is_quantized", False):
        raise SettingError(
            f"method {method} changes the weights of the backbone, which are quantized; use "
            "another method, or set quantize = 'none'"
        )


def prepare(model: PreTrainedModel, dtype: torch.dtype) -> None:
    """Change the quantized layers of a loaded model so that prompts can be trained through them."""
    if not getattr(model, "is_quantized", False):
        return
    from bitsandbytes.nn import Linear4bit, Linear8bitLt  # noqa: PLC0415 - an extra

    for name, module in list(model.named_modules()):
        if isinstance(module, Linear8bitLt):
            model.set_submodule(name, EightBitLinear(module))
        elif isinstance(module, Linear4bit):
            module.compute_dtype = dtype
            # Otherwise a pass without gradients rearranges weights that a backward pass will read.
            module.support_avx512bf16_for_cpu = False


def quantized_options(
    config: QuantizationConfigMixin | None, device: torch.device | None
) -> Mapping[str, Any]:
    """Return the arguments with which transformers loads weights by a config, onto a device."""
    how = {} if config is None else {"quantization_config": config}
    return how if device is None else how | {"device_map": {"": device}}


def num_weights(parameter: nn.Parameter) -> int:
    """Return the number of weights in a parameter; a byte holds two weights of 4 bits."""
    return parameter.numel() * (2 if parameter.dtype == torch.uint8 else 1)


class EightBitLinear(nn.Module):
    """A linear layer with weights of 8 bits and a scale for each output.

    The layer of bitsandbytes also rounds its inputs to 8 bits, so its gradients are not those of
    its outputs, and outputs are far less exact.
    """

    def __init__(self, loaded: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = loaded.in_features, loaded.out_features
        weight: Any = loaded.weight
        self.weight = nn.Parameter(weight.data, requires_grad=False)
        self.register_buffer("scales", weight.SCB.float() / _LARGEST)
        self.bias = loaded.bias

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the outputs [..., O] of inputs [..., I]."""
        outputs: Tensor = _Product.apply(  # type: ignore[no-untyped-call]
            inputs, self.weight, self.scales
        )
        return outputs if self.bias is None else outputs + self.bias


class _Product(torch.autograd.Function):
    """The product with weights [O, I] of 8 bits, which are never kept as larger numbers."""

    @staticmethod
    def forward(ctx: FunctionCtx, inputs: Tensor, weight: Tensor, scales: Tensor) -> Tensor:
        ctx.save_for_backward(weight, scales)
        return linear(inputs, _numbers(weight, scales, inputs.dtype))

    @staticmethod
    def backward(ctx: BackwardCFunction, *gradients: Tensor) -> tuple[Tensor, None, None]:
        weight, scales = iter(ctx.saved_tensors)
        return gradients[0] @ _numbers(weight, scales, gradients[0].dtype), None, None


def _numbers(weight: Tensor, scales: Tensor, dtype: torch.dtype) -> Tensor:
    return weight.to(dtype) * scales.to(dtype)[:, None]
