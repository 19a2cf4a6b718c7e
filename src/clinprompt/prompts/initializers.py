"""Compute initial values of a prompt. Knows the embedding table as a tensor, but no model.

Axes: V vocabulary, P prompt positions, H hidden size, W width of a prompt position.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from clinprompt.errors import SettingError


def from_vocabulary(
    embeddings: Float[Tensor, "V H"], *, length: int, generator: torch.Generator
) -> Float[Tensor, "P H"]:
    """Return the embeddings of ``length`` different tokens, drawn at random.

    Raises:
        SettingError: the vocabulary has fewer tokens.
    """
    if length > embeddings.shape[0]:
        raise SettingError(
            f"prompt.length = {length}, but the vocabulary has {embeddings.shape[0]} tokens; "
            "lower it or use start = 'text'"
        )
    chosen = torch.randperm(embeddings.shape[0], generator=generator)[:length]
    return embeddings.detach()[chosen.to(embeddings.device)].float().clone()


def from_text(
    embeddings: Float[Tensor, "V H"], token_ids: Sequence[int], *, length: int
) -> Float[Tensor, "P H"]:
    """Return the embeddings of a text's tokens, repeated or cut to ``length`` tokens.

    Raises:
        SettingError: the text has no tokens.
    """
    if not token_ids:
        raise SettingError("prompt.text is empty; set a text or use start = 'vocabulary'")
    repeated = [token_ids[position % len(token_ids)] for position in range(length)]
    index = torch.tensor(repeated, device=embeddings.device)
    return embeddings.detach()[index].float().clone()


def mean_of_teachers(teachers: Sequence[Float[Tensor, "P H"]]) -> Float[Tensor, "P H"]:
    """Return the mean of the teachers' prompts, position by position."""
    return torch.stack([teacher.detach().float() for teacher in teachers]).mean(dim=0)


def scale_of_parts(prompt: Float[Tensor, "P W"], *, num_parts: int) -> Float[Tensor, " W"]:
    """Return the root mean square of each part of a prompt, repeated over the width of the part.

    ``num_parts`` equal parts divide the width, such as the keys and the values of each layer. A
    part that is zero everywhere gets 1.
    """
    parts = prompt.detach().float().reshape(prompt.shape[0], num_parts, -1)
    scale = parts.square().mean(dim=(0, 2)).sqrt()
    return torch.where(scale > 0, scale, 1.0).repeat_interleave(parts.shape[2])
