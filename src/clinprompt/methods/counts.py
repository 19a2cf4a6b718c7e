"""Count the numbers of prompts and factors on a backbone, from sizes and settings alone.

Axes: K source tasks, P prompt positions, R rank, S positions of the shared prompt, W width of a
position: the hidden size, or the keys and values of all layers.
"""

from clinprompt.backbone.model_sizes import ModelSizes
from clinprompt.prompts.segments import Segments
from clinprompt.settings.run import RunConfig


def position_width(config: RunConfig, sizes: ModelSizes) -> int:
    """Return W, the numbers of one prompt position."""
    is_deep = config.prompt.placement == "layers"
    return 2 * sizes.num_layers * sizes.key_width if is_deep else sizes.hidden_size


def prompt_numbers(config: RunConfig, sizes: ModelSizes) -> int:
    """Return P·W: the numbers of one prompt."""
    return config.prompt.length * position_width(config, sizes)


def factor_numbers(config: RunConfig, sizes: ModelSizes) -> int:
    """Return P·R + R·W: the numbers of one task's factors."""
    return config.prompt.rank * (config.prompt.length + position_width(config, sizes))


def metaprompt_numbers(config: RunConfig, sizes: ModelSizes, num_sources: int) -> int:
    """Return S·W + K·(P·R + R·W): the numbers that distillation trains.

    S is P without segments. With segments, it is P + (T - 1) · segment for T task types.
    """
    num_rows = Segments(config.prompt.length, config.prompt.segment).num_rows
    shared = num_rows * position_width(config, sizes)
    return shared + num_sources * factor_numbers(config, sizes)
