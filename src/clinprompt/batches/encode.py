"""Turn examples into token ids and rows into padded batches. Knows nothing of models.

Axes: B rows, T text tokens. Rows are padded on the right.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import lru_cache
from itertools import accumulate, chain

import torch
from jaxtyping import Bool, Int
from torch import Tensor
from transformers import BatchEncoding, PreTrainedTokenizerBase

from clinprompt.batches.input_form import PLAIN, InputForm, chat_of
from clinprompt.errors import SettingError
from clinprompt.settings.groups import DataSettings
from clinprompt.tasks.records import Example

IGNORED = -100
_MAX_KEPT_CHARACTERS = 400  # longer texts are measured each time


@dataclass(frozen=True, slots=True)
class Row:
    """One encoded example. ``task`` is its task's index; ``target_ids`` end with the end token.

    ``number`` identifies the row if something is stored for each row of a run. Training examples
    of one task that are windows of one note have the same number ``note``.
    """

    task: int
    input_ids: tuple[int, ...]
    target_ids: tuple[int, ...] = ()
    input_was_cut: bool = False
    target_was_cut: bool = False
    number: int = 0
    note: int = 0

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
        """Return the given rows, without columns that are padding in all of them."""
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
    """Encode examples with a tokenizer and a length limit, in an input form.

    The limit counts the text of an example: the record in the words of the template. Instruction
    and chat template are added to it, so that the cuts and windows of a note do not depend on
    ``form``. If a text is too long, the middles of its fields are cut, but never the wording or
    the options of a question. With long options it can therefore exceed ``max_input_tokens``. The
    whole input never exceeds ``context``, the number of positions that the backbone has for input
    and answer. With ``splits``, inputs that can be split are split instead (see ``parts``).
    ``target_limits`` gives the answer lengths of tasks that differ from ``max_target_tokens``.
    ``constrained`` says that mentions and links in answers must be words of the text.
    """

    tokenizer: PreTrainedTokenizerBase
    max_input_tokens: int
    max_target_tokens: int
    context: int = 1 << 30
    form: InputForm = PLAIN
    splits: bool = True
    target_limits: Mapping[str, int] = field(default_factory=dict)
    constrained: bool = True
    kept_length: Callable[[str], int] | None = field(default=None, compare=False, repr=False)

    @property
    def chat(self) -> bool:
        """Return whether inputs and answers are the turns of a conversation.

        Then an answer begins at once, else with a blank.
        """
        return self.form.chat is not None

    def fits(self, example: Example) -> bool:
        """Return whether the whole text is within the limit."""
        # A token is at least a byte.
        is_short = len(example.input.encode()) < self.max_input_tokens
        return is_short or self._num_tokens(example.input) <= self.max_input_tokens

    def surely_fits_context(self, example: Example) -> bool:
        """Return whether the input, cut if needed, is within ``context`` in any tokens."""
        wording = self.form.shown(example).pieces[::2]  # never cut; a token is at least a byte
        most = sum(len(piece.encode()) for piece in wording) + self.max_input_tokens
        return most + self.target_limit(example.task) < self.context

    def room(self, example: Example) -> int:
        """Return the number of tokens that the limit leaves for all fields that can be cut."""
        return self.max_input_tokens - self._num_tokens("".join(example.pieces[::2]))

    def added_tokens(self, example: Example) -> int:
        """Return the number of tokens of instruction and chat template."""
        return len(self._tokenized(example)["input_ids"]) - self._num_tokens(example.input)

    def target_limit(self, task: str) -> int:
        """Return the maximum number of tokens of a task's answers, with the end token."""
        return self.target_limits.get(task, self.max_target_tokens)

    def answer_fits(self, task: str, target: str) -> bool:
        """Return whether the whole answer is within its task's limit."""
        return len(self.encode_target(target)) <= self.target_limit(task)

    def length_of(self, text: str) -> int:
        """Return the number of tokens of a text, without special tokens."""
        if self.kept_length is not None and len(text) <= _MAX_KEPT_CHARACTERS:
            return self.kept_length(text)
        return len(self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])

    def keeping_lengths(self) -> "Encoder":
        """Return the encoder for many examples, which keeps the lengths of short texts.

        Questions about one long text measure the same sentences and words again and again.
        """
        if self.kept_length is not None:
            return self
        return replace(self, kept_length=lru_cache(maxsize=1 << 12)(self.length_of))

    def _num_tokens(self, text: str) -> int:
        return len(self.tokenizer(text, verbose=False)["input_ids"])

    def encode(self, example: Example, task: int = 0) -> Row:
        """Encode one example.

        Raises:
            SettingError: the input and the longest answer exceed ``context``.
        """
        input_ids, input_was_cut = self._encode_input(example)
        if len(input_ids) + self.target_limit(example.task) > self.context:
            raise SettingError(
                f"task {example.task}: an input of {len(input_ids)} tokens is, with prompt and "
                "answer, longer than the backbone supports; lower data.max_input_tokens, or "
                "shorten the wording or the options"
            )
        was_cut = input_was_cut or example.is_shortened
        row = Row(task=task, input_ids=input_ids, input_was_cut=was_cut)
        if example.target is None:
            return row
        target_ids = self.encode_target(example.target)
        kept = target_ids[: self.target_limit(example.task)]
        return replace(row, target_ids=kept, target_was_cut=len(kept) < len(target_ids))

    def encode_solved(self, example: Example, *, is_first: bool) -> tuple[int, ...]:
        """Return the ids of an example with its answer, to be read before other inputs.

        In a conversation they stop where the answer does: the next turn begins with its end. These
        inputs must be encoded by ``after_solved``.

        Raises:
            SettingError: as in ``encode``.
        """
        form = replace(self.form, is_first=is_first, is_solved=True)
        row = replace(self, form=form).encode(example)
        return row.input_ids + (row.target_ids[:-1] if self.chat else row.target_ids)

    def after_solved(self) -> "Encoder":
        """Return the encoder for inputs that continue solved examples."""
        return replace(self, form=replace(self.form, is_first=False))

    def encode_target(self, target: str) -> tuple[int, ...]:
        """Return an answer's token ids, followed by the end token."""
        text = self.answer_start + target
        ids: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return (*ids, self.end_id)

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of generated ids."""
        text = self.tokenizer.decode(list(ids), skip_special_tokens=True)
        assert isinstance(text, str)
        return text.strip(" ")

    @property
    def answer_start(self) -> str:
        """Return what is between the input and an answer."""
        return "" if self.chat else " "

    @property
    def end_id(self) -> int:
        """Return the id that ends an answer."""
        end_id = self.tokenizer.eos_token_id
        if not isinstance(end_id, int):
            raise SettingError("the backbone's tokenizer has no end-of-text token; set eos_token")
        return end_id

    def _encode_input(self, example: Example) -> tuple[tuple[int, ...], bool]:
        encoded = self._tokenized(example)
        ids: list[int] = encoded["input_ids"]
        num_tokens = len(ids)
        if not self.form.is_plain:
            num_tokens = 0 if self.fits(example) else self._num_tokens(example.input)
        if num_tokens <= self.max_input_tokens:
            return tuple(ids), False
        fields = _tokens_of_fields(self.form.shown(example), encoded["offset_mapping"])
        removed = set(chain.from_iterable(_middles(fields, num_tokens - self.max_input_tokens)))
        kept = tuple(id_ for index, id_ in enumerate(ids) if index not in removed)
        return kept, bool(removed)

    def _tokenized(self, example: Example) -> BatchEncoding:
        """Return the ids and offsets of the whole input."""
        return self.tokenizer(
            self.form.shown(example).input,
            add_special_tokens=self.form.is_first and not self.chat,
            return_offsets_mapping=True,
            verbose=False,
        )


def make_encoder(
    tokenizer: PreTrainedTokenizerBase,
    data: DataSettings,
    *,
    context: int = 1 << 30,
    instructed: bool = False,
) -> Encoder:
    """Return the encoder for the settings.

    ``instructed`` is for input form 1, in which only some methods read an instruction.
    """
    form = PLAIN
    if data.input_form == 2:
        form = InputForm("behind", chat_of(tokenizer))
    elif instructed:
        form = InputForm("before", chat_of(tokenizer))
    return Encoder(
        tokenizer,
        data.max_input_tokens,
        data.max_target_tokens,
        context,
        form,
        splits=data.long_inputs == "split",
        target_limits=data.target_tokens,
        constrained=data.constrained,
    )


def _tokens_of_fields(example: Example, offsets: Sequence[tuple[int, int]]) -> list[list[int]]:
    """Return, for each field that can be cut, the indices of the tokens fully inside it."""
    ends = list(accumulate(len(piece) for piece in example.pieces))
    bounds = [(ends[i - 1], ends[i]) for i in range(1, len(ends), 2)]
    return [
        [index for index, (start, end) in enumerate(offsets) if first <= start < end <= last]
        for first, last in bounds
    ]


def _middles(fields: Sequence[list[int]], excess: int) -> list[list[int]]:
    """Return the indices of ``excess`` tokens to remove: from the middle of the longest fields."""
    kept = [len(own) for own in fields]
    for _ in range(min(excess, sum(kept))):
        kept[kept.index(max(kept))] -= 1
    halves = [(left + 1) // 2 for left in kept]
    return [
        own[half : half + len(own) - left]
        for own, left, half in zip(fields, kept, halves, strict=True)
    ]


def collate(rows: Sequence[Row], *, pad_id: int) -> Batch:
    """Return a batch of rows, padded on the right to the longest row."""
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
