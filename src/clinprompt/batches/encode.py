"""Turn examples into token ids and rows into padded batches. Knows nothing of models.

Axes: B rows, T text tokens. Rows are padded on the right.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from itertools import accumulate, chain

import torch
from jaxtyping import Bool, Int
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from clinprompt.errors import SettingError
from clinprompt.settings.groups import DataSettings
from clinprompt.tasks.records import Example

IGNORED = -100
_SENTINEL = "\ue000"


@dataclass(frozen=True, slots=True)
class Row:
    """One encoded example. ``task`` counts within the run; ``target_ids`` end with end-of-text.

    ``number`` tells the rows of a run apart where something is kept of each.
    """

    task: int
    input_ids: tuple[int, ...]
    target_ids: tuple[int, ...] = ()
    input_was_cut: bool = False
    target_was_cut: bool = False
    number: int = 0

    def __len__(self) -> int:
        return len(self.input_ids) + len(self.target_ids)


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows padded to one length; ``labels`` are -100 except at target tokens."""

    input_ids: Int[Tensor, "B T"]
    attention_mask: Bool[Tensor, "B T"]
    labels: Int[Tensor, "B T"]
    tasks: Int[Tensor, " B"]
    numbers: Int[Tensor, " B"]

    def to(self, device: torch.device) -> "Batch":
        """Return the batch on another device."""
        return Batch(*(getattr(self, part.name).to(device) for part in fields(self)))

    def select(self, rows: Sequence[int]) -> "Batch":
        """Return some of the rows, without the columns that are padding in all of them."""
        index = torch.tensor(rows, device=self.tasks.device)
        longest = int(self.attention_mask[index].sum(dim=1).max())
        return Batch(
            self.input_ids[index, :longest],
            self.attention_mask[index, :longest],
            self.labels[index, :longest],
            self.tasks[index],
            self.numbers[index],
        )


@dataclass(frozen=True, slots=True)
class Encoder:
    """Encode examples with one tokenizer, one length limit and, if ``chat``, its chat template.

    Where an input is too long, the middles of its fields are cut, never the wording or the options
    of a question: with long options it stays above ``max_input_tokens``, but never above
    ``context``, the positions that the backbone has for input and answer. ``splits`` tells that
    what can be read in parts is (see ``parts``). ``target_limits`` are the answer lengths of tasks
    that have one of their own.
    """

    tokenizer: PreTrainedTokenizerBase
    max_input_tokens: int
    max_target_tokens: int
    context: int = 1 << 30
    chat: bool = False
    splits: bool = True
    target_limits: Mapping[str, int] = field(default_factory=dict)

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

    def target_limit(self, task: str) -> int:
        """Return how many tokens an answer of a task may have, end-of-text included."""
        return self.target_limits.get(task, self.max_target_tokens)

    def answer_fits(self, task: str, target: str) -> bool:
        """Tell whether a whole answer is within its task's limit."""
        return len(self.encode_target(target)) <= self.target_limit(task)

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
            SettingError: input and answer may be longer than ``context``.
        """
        if self.chat:
            example = self._as_chat(example)
        input_ids, input_was_cut = self._encode_input(example)
        if len(input_ids) + self.target_limit(example.task) > self.context:
            raise SettingError(
                f"task {example.task}: an input of {len(input_ids)} tokens is, with prompt and "
                "answer, more than the backbone can read; lower data.max_input_tokens, or shorten "
                "the wording or the options"
            )
        was_cut = input_was_cut or example.is_shortened
        row = Row(task=task, input_ids=input_ids, input_was_cut=was_cut)
        if example.target is None:
            return row
        target_ids = self.encode_target(example.target)
        kept = target_ids[: self.target_limit(example.task)]
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
        return kept, True

    def _as_chat(self, example: Example) -> Example:
        head, tail = chat_shell(self.tokenizer)
        first, *middle, last = example.pieces if len(example.pieces) > 1 else (*example.pieces, "")
        return replace(example, pieces=(head + first, *middle, last + tail))


def make_encoder(
    tokenizer: PreTrainedTokenizerBase,
    data: DataSettings,
    *,
    context: int = 1 << 30,
    added_tokens: int = 0,
    chat: bool = False,
) -> Encoder:
    """Return the encoder that settings ask for; ``added_tokens`` come on top of the input limit."""
    return Encoder(
        tokenizer,
        data.max_input_tokens + added_tokens,
        data.max_target_tokens,
        context,
        chat,
        splits=data.long_inputs == "split",
        target_limits=data.target_tokens,
    )


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
    tasks = torch.tensor([row.task for row in rows])
    return Batch(input_ids, mask, labels, tasks, torch.tensor([row.number for row in rows]))


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


def group_by_common_start(rows: Sequence[Row], *, min_tokens: int) -> list[list[int]]:
    """Group row numbers so that the inputs of a group begin with the same ``min_tokens``."""
    order = sorted(range(len(rows)), key=lambda number: rows[number].input_ids)
    groups: list[list[int]] = []
    for number in order:
        ids = rows[number].input_ids
        first = rows[groups[-1][0]].input_ids if groups else ()
        if len(ids) >= min_tokens and ids[:min_tokens] == first[:min_tokens]:
            groups[-1].append(number)
        else:
            groups.append([number])
    return groups


def group_within_limit(sizes: Sequence[int], *, max_tokens: int) -> list[list[int]]:
    """Group numbers of rows of given sizes in their order, at most ``max_tokens`` a group.

    A row that is longer than that is a group of its own.
    """
    groups: list[list[int]] = []
    room = 0
    for number, size in enumerate(sizes):
        if size > room or not groups:
            groups.append([])
            room = max_tokens
        groups[-1].append(number)
        room -= size
    return groups
