"""Turn examples into token ids and rows into padded batches. Knows nothing of models.

Axes: B rows, T text tokens. Rows are padded on the right.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, chain

import torch
from jaxtyping import Bool, Int
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from clinprompt.errors import SettingError
from clinprompt.tasks.example import Example

IGNORED = -100
_SENTINEL = "\ue000"


@dataclass(frozen=True, slots=True)
class Row:
    """One encoded example. ``task`` counts within the run; ``target_ids`` end with end-of-text."""

    task: int
    input_ids: tuple[int, ...]
    target_ids: tuple[int, ...] = ()
    input_was_cut: bool = False
    target_was_cut: bool = False

    def __len__(self) -> int:
        return len(self.input_ids) + len(self.target_ids)


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows padded to one length; ``labels`` are -100 except at target tokens."""

    input_ids: Int[Tensor, "B T"]
    attention_mask: Bool[Tensor, "B T"]
    labels: Int[Tensor, "B T"]
    tasks: Int[Tensor, " B"]

    def to(self, device: torch.device) -> "Batch":
        """Return the batch on another device."""
        return Batch(
            self.input_ids.to(device),
            self.attention_mask.to(device),
            self.labels.to(device),
            self.tasks.to(device),
        )


@dataclass(frozen=True, slots=True)
class Encoder:
    """Encode examples with one tokenizer, one length limit and, if ``chat``, its chat template.

    Where an input is too long, the middles of its fields are cut, never the wording or the options
    of a question: with long options it stays above ``max_input_tokens``, but never above
    ``context``, the positions that the backbone has for input and answer. ``splits`` tells that
    what can be read in parts is (see ``parts``).
    """

    tokenizer: PreTrainedTokenizerBase
    max_input_tokens: int
    max_target_tokens: int
    context: int = 1 << 30
    chat: bool = False
    splits: bool = True

    def fits(self, example: Example) -> bool:
        """Tell whether the whole input is within the limit."""
        shown = self._as_chat(example) if self.chat else example
        # A token is at least a byte.
        is_short = len(shown.input.encode()) < self.max_input_tokens
        return is_short or self._num_tokens(shown.input) <= self.max_input_tokens

    def room(self, example: Example) -> int:
        """Return how many tokens the limit leaves to the fields that may be cut, together."""
        shown = self._as_chat(example) if self.chat else example
        return self.max_input_tokens - self._num_tokens("".join(shown.pieces[::2]))

    def length_of(self, text: str) -> int:
        """Return how many tokens a text has by itself."""
        return len(self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])

    def _num_tokens(self, text: str) -> int:
        return len(
            self.tokenizer(text, add_special_tokens=not self.chat, verbose=False)["input_ids"]
        )

    def encode(self, example: Example, task: int = 0) -> Row:
        """Encode one example.

        Raises:
            SettingError: wording, options and answer are longer than ``context``.
        """
        if self.chat:
            example = self._as_chat(example)
        input_ids, input_was_cut = self._encode_input(example)
        was_cut = input_was_cut or example.is_shortened
        row = Row(task=task, input_ids=input_ids, input_was_cut=was_cut)
        if example.target is None:
            return row
        target_ids = self.encode_target(example.target)
        kept = target_ids[: self.max_target_tokens]
        return replace(row, target_ids=kept, target_was_cut=len(kept) < len(target_ids))

    def encode_target(self, target: str) -> tuple[int, ...]:
        """Return an answer's token ids with end-of-text behind them."""
        text = target if self.chat else f" {target}"
        ids: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return (*ids, self.end_id)

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of generated ids."""
        text = self.tokenizer.decode(list(ids), skip_special_tokens=True)
        assert isinstance(text, str)
        return text.strip(" ")

    @property
    def end_id(self) -> int:
        """Return the id that ends an answer."""
        end_id = self.tokenizer.eos_token_id
        if not isinstance(end_id, int):
            raise SettingError("the backbone's tokenizer has no end-of-text token; set eos_token")
        return end_id

    def _encode_input(self, example: Example) -> tuple[tuple[int, ...], bool]:
        encoded = self.tokenizer(
            example.input, add_special_tokens=not self.chat, return_offsets_mapping=True
        )
        ids: list[int] = encoded["input_ids"]
        if len(ids) <= self.max_input_tokens:
            return tuple(ids), False
        fields = _tokens_of_fields(example, encoded["offset_mapping"])
        lost = set(chain.from_iterable(_middles(fields, len(ids) - self.max_input_tokens)))
        kept = tuple(id_ for index, id_ in enumerate(ids) if index not in lost)
        if len(kept) + self.max_target_tokens > self.context:
            raise SettingError(
                f"task {example.task}: wording and options alone have {len(kept)} tokens; with "
                f"prompt and answer that is more than the backbone can read; shorten the wording"
            )
        return kept, True

    def _as_chat(self, example: Example) -> Example:
        head, tail = chat_shell(self.tokenizer)
        first, *middle, last = example.pieces if len(example.pieces) > 1 else (*example.pieces, "")
        return replace(example, pieces=(head + first, *middle, last + tail))


def chat_shell(tokenizer: PreTrainedTokenizerBase) -> tuple[str, str]:
    """Return what the tokenizer's chat template puts before and after a user's message."""
    shell = tokenizer.apply_chat_template(
        [{"role": "user", "content": _SENTINEL}], tokenize=False, add_generation_prompt=True
    )
    assert isinstance(shell, str)
    head, _, tail = shell.partition(_SENTINEL)
    return head, tail


def _tokens_of_fields(example: Example, offsets: Sequence[tuple[int, int]]) -> list[list[int]]:
    """Return, for each cuttable field, the numbers of the tokens that lie wholly inside it."""
    ends = list(accumulate(len(piece) for piece in example.pieces))
    bounds = [(ends[i - 1], ends[i]) for i in range(1, len(ends), 2)]
    return [
        [index for index, (start, end) in enumerate(offsets) if first <= start < end <= last]
        for first, last in bounds
    ]


def _middles(fields: Sequence[list[int]], excess: int) -> list[list[int]]:
    """Return ``excess`` token numbers to leave out: from the middles, the longest field first."""
    kept = [len(own) for own in fields]
    for _ in range(min(excess, sum(kept))):
        kept[kept.index(max(kept))] -= 1
    halves = [(left + 1) // 2 for left in kept]
    return [
        own[half : half + len(own) - left]
        for own, left, half in zip(fields, kept, halves, strict=True)
    ]


def collate(rows: Sequence[Row], *, pad_id: int) -> Batch:
    """Pad rows on the right to the longest."""
    longest = max(len(row) for row in rows)
    input_ids = torch.full((len(rows), longest), pad_id)
    labels = torch.full((len(rows), longest), IGNORED)
    mask = torch.zeros(len(rows), longest, dtype=torch.bool)
    for index, row in enumerate(rows):
        ids = torch.tensor(row.input_ids + row.target_ids)
        input_ids[index, : len(row)] = ids
        mask[index, : len(row)] = True
        labels[index, len(row.input_ids) : len(row)] = ids[len(row.input_ids) :]
    return Batch(input_ids, mask, labels, torch.tensor([row.task for row in rows]))


def micro_batches(rows: Sequence[Row], *, max_tokens: int, overhead: int = 32) -> list[list[int]]:
    """Group row numbers, longest rows first, so that the groups cost least.

    A group costs its padded tokens and ``overhead`` tokens for being one more. No group pads to
    over ``max_tokens`` tokens; a row that is longer than that is a group of its own.
    """
    order = sorted(range(len(rows)), key=lambda i: (-len(rows[i]), i))
    best = [(0, 0)]  # for the first n rows: what they cost, where their last group begins
    for end in range(1, len(order) + 1):
        ways: list[tuple[int, int]] = []
        for begin in range(end - 1, -1, -1):
            padded = len(rows[order[begin]]) * (end - begin)
            if padded > max_tokens and ways:
                break
            ways.append((best[begin][0] + padded + overhead, begin))
        best.append(min(ways))
    groups: list[list[int]] = []
    end = len(order)
    while end:
        begin = best[end][1]
        groups.append(order[begin:end])
        end = begin
    return groups[::-1]
