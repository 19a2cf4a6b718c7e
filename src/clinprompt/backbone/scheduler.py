"""Answer rows of any tasks in one running batch, which rows join and leave at any time.

A step reads the inputs of rows that wait, scores those that choose among closed labels, and writes
one token for all others. Logits are computed in float32, whatever the model's dtype. Answers do
not depend on which rows are answered together, up to rounding. Knows nothing of tasks.

Holds mutable state: the rows that wait, and those that are being written.

Axes: B rows, S stored positions, H hidden size, V vocabulary.
"""

from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from itertools import takewhile

import torch
from jaxtyping import Float
from torch import Tensor

from clinprompt.backbone.arena import Arena
from clinprompt.backbone.bank import Bank, read_inputs
from clinprompt.backbone.constraint import Constraint, constrain
from clinprompt.backbone.head import float32_head
from clinprompt.backbone.layers import key_value_shape
from clinprompt.backbone.load import Backbone
from clinprompt.backbone.packed import is_packable
from clinprompt.backbone.shared_prefix import Prefix, read_text
from clinprompt.backbone.tensor_parallel import num_parts, smallest
from clinprompt.batches.encode import Row, collate
from clinprompt.batches.group_rows import group_by_common_start, group_within_limit

# The limit on positions (of prompts, inputs and answers) that rows being written reserve:
MIN_CACHED_POSITIONS = 8192
_GPU_FACTOR = 16  # up to this many times more on a GPU, where a step costs the same for many rows
_CACHE_SHARE_OF_GPU_MEMORY = 0.06
# A step reads inputs of at most 1 / SHARE of the limit (1,024 tokens on a CPU), and only while as
# much is free, because reading has a fixed cost.
SHARE = 8
MIN_SHARED_TOKENS = 32  # rows with such a shared start are read together (suffix prompts only)


@dataclass(slots=True)
class Written:
    """The ids of an answer and the log-probability of each, in nats, among the allowed tokens.

    ``end_log_probability`` is that of the token that ended the answer; 0 if it reached its limit.
    """

    ids: list[int] = field(default_factory=list)
    log_probabilities: list[float] = field(default_factory=list)
    end_log_probability: float = 0.0


@dataclass(slots=True, eq=False)
class Ask:
    """One row to answer: with the most likely of ``choices``, or with new text.

    ``row.task`` is the number of the row's prompt in ``bank``. With ``choices``, their
    log-likelihoods in nats become ``scores``, and ``is_greedy`` says of each whether it would be
    written without a constraint. Without, at most ``limit`` ids are written, up to the first of
    ``end_ids``; ``constraint`` says which ids may come next and is changed.
    """

    row: Row
    bank: Bank
    choices: Sequence[tuple[int, ...]] = ()
    limit: int = 0
    end_ids: Collection[int] = ()
    constraint: Constraint | None = None
    written: Written = field(default_factory=Written)
    scores: list[float] = field(default_factory=list)
    is_greedy: list[bool] = field(default_factory=list)
    is_done: bool = False

    @property
    def length(self) -> int:
        """Return the number of positions of the prompt and the input."""
        return self.bank.num_positions + len(self.row.input_ids)

    @property
    def need(self) -> int:
        """Return the number of positions that the row may reach."""
        return self.length + self.limit


class Scheduler:
    """Rows that wait, first come first served, and the running batch of those being written."""

    def __init__(
        self, backbone: Backbone, *, max_positions: int | None = None, patience: int = 0
    ) -> None:
        """Start without rows.

        ``max_positions`` limits the positions that rows being written reserve together. While other
        rows are being written, a row waits at most ``patience`` steps for more rows to be read with
        it, because reading several inputs together is faster. Use it if rows come one by one.
        """
        self._backbone, self._model = backbone, backbone.model
        self._limit = max_positions or max_cached_positions(backbone)
        self._head = float32_head(self._model)
        self._patience, self._num_held = patience, 0  # steps
        self._waiting: deque[Ask] = deque()
        self._active: list[Ask] = []
        self._arena = Arena(self._model, max_positions=self._limit)
        self._hidden: Tensor | None = None

    @property
    def num_active(self) -> int:
        """Return the number of rows being written."""
        return len(self._active)

    @property
    def is_idle(self) -> bool:
        """Return whether there is nothing to do."""
        return not self._waiting and not self._active

    def submit(self, ask: Ask) -> None:
        """Add a row after all that wait."""
        assert bool(ask.choices) != bool(ask.limit > 0), "a row chooses or writes"
        self._waiting.append(ask)

    @torch.inference_mode()
    def cancel(self, ask: Ask) -> None:
        """Remove a row that waits or is being written; the place it held is free."""
        if ask in self._active:
            self._drop([self._active.index(ask)])
        elif ask in self._waiting:
            self._waiting.remove(ask)

    @torch.inference_mode()
    def step(self) -> list[Ask]:
        """Read waiting inputs and write one token of each answer; return the finished rows."""
        finished: list[Ask] = []
        for group in self._groups(self._admitted()):
            finished += self._read(group)
        if self._active:
            finished += self._write()
        return finished

    def _admitted(self) -> list[Ask]:
        """Return the rows to read in this step: the first that wait, while there is space."""
        admitted: list[Ask] = []
        needs: list[int] = []
        left = max(self._limit // SHARE, 1)
        if self._active and self._arena.num_free < self._limit // SHARE:
            return []
        if self._waits_for_more():
            return []
        while self._waiting:
            ask = self._waiting[0]
            left -= _num_new_tokens(ask, admitted[-1] if admitted else None)
            if admitted and left < 0:
                break
            if ask.limit:
                if not self._arena.has_space_for([*needs, ask.need]):
                    break
                needs.append(ask.need)
            admitted.append(self._waiting.popleft())
        return admitted

    def _waits_for_more(self) -> bool:
        """Return whether the waiting rows are too few to be read now; count the steps they wait."""
        num_tokens = sum(len(ask.row.input_ids) for ask in self._waiting)
        is_few = 0 < num_tokens < self._limit // SHARE // 2
        waits = bool(self._active) and is_few and self._num_held < self._patience
        self._num_held = self._num_held + 1 if waits else 0
        return waits

    def _groups(self, asks: Sequence[Ask]) -> list[list[Ask]]:
        """Group rows that are read in one pass: those of one bank and, after suffixes, one note."""
        by_bank: dict[int, list[Ask]] = {}
        for ask in asks:
            by_bank.setdefault(id(ask.bank), []).append(ask)
        groups = []
        for own in by_bank.values():
            if own[0].bank.suffix is None:
                groups.append(own)
                continue
            found = group_by_common_start([ask.row for ask in own], min_tokens=MIN_SHARED_TOKENS)
            groups += [[own[i] for i in numbers] for numbers in found if len(numbers) > 1]
            single = [own[numbers[0]] for numbers in found if len(numbers) == 1]
            groups += [single] if single else []
        return groups

    def _read(self, group: Sequence[Ask]) -> list[Ask]:
        """Read the inputs of rows of one bank; score those with choices and return them."""
        hidden, past = read_inputs(self._model, [ask.row for ask in group], group[0].bank)
        closed = [place for place, ask in enumerate(group) if ask.choices]
        written = [place for place, ask in enumerate(group) if not ask.choices]
        if closed:
            self._score([group[place] for place in closed], *_select(hidden, past, closed))
        if written:
            own, own_past = _select(hidden, past, written)
            asks = [group[place] for place in written]
            self._arena.admit(own_past, [ask.length for ask in asks], [ask.need for ask in asks])
            self._active += asks
            self._hidden = own if self._hidden is None else torch.cat([self._hidden, own])
        return [group[place] for place in closed]

    def _write(self) -> list[Ask]:
        """Write one token for each active row; return the rows that are finished by it."""
        assert self._hidden is not None
        rules = [ask.constraint for ask in self._active]
        logits = constrain(self._head(self._hidden), rules)
        chosen = logits.argmax(dim=-1)
        picked = logits.gather(1, chosen[:, None]).squeeze(1) - logits.logsumexp(dim=-1)
        # A row in which every token is forbidden would end its answer in silence.
        assert not picked.isnan().any(), "no token is allowed"
        new = list(zip(self._active, chosen.tolist(), picked.tolist(), strict=True))
        leaving = [place for place, one in enumerate(new) if _ends(*one)]
        finished = [self._active[place] for place in leaving]
        for ask in finished:
            ask.is_done = True
        order = self._drop(leaving)
        if order:
            self._hidden = self._arena.step(chosen[order])
        return finished

    def _drop(self, leaving: Collection[int]) -> list[int]:
        """Remove active rows by number; return the earlier numbers of those left, in order."""
        order = self._arena.drop(leaving)
        self._active = [self._active[number] for number in order]
        if leaving:
            assert self._hidden is not None
            self._hidden = self._hidden[order] if order else None
        return order

    def _score(self, asks: Sequence[Ask], hidden: Float[Tensor, "B H"], past: Prefix) -> None:
        """Score the choices of rows whose inputs were read."""
        first = torch.log_softmax(self._head(hidden), dim=-1)
        pairs = [(row, ids) for row, ask in enumerate(asks) for ids in ask.choices]
        scores = first[[row for row, _ in pairs], [ids[0] for _, ids in pairs]]
        best = first.argmax(dim=-1).tolist()
        is_greedy = torch.tensor([best[row] == ids[0] for row, ids in pairs])
        longer = [index for index, (_, ids) in enumerate(pairs) if len(ids) > 1]
        sizes = [past.positions.shape[1] + len(pairs[index][1]) for index in longer]
        for part in group_within_limit(sizes, max_tokens=self._limit):
            chosen = [longer[place] for place in part]
            rest, goes_on = self._score_rest([pairs[index] for index in chosen], past)
            scores[chosen] += rest
            is_greedy[chosen] &= goes_on.cpu()
        values, flags = iter(scores.tolist()), iter(is_greedy.tolist())
        for ask in asks:
            ask.scores = [next(values) for _ in ask.choices]
            ask.is_greedy, ask.is_done = [next(flags) for _ in ask.choices], True

    def _score_rest(
        self, pairs: Sequence[tuple[int, tuple[int, ...]]], past: Prefix
    ) -> tuple[Tensor, Tensor]:
        """Return, for each (row, choice), two values for all of its tokens except the first.

        They are the log-likelihood, and whether each token is the most likely one.
        """
        device = self._backbone.device
        rests = [Row(task=0, input_ids=ids[:1], target_ids=ids[1:]) for _, ids in pairs]
        batch = collate(rests, pad_id=self._backbone.pad_id).to(device)
        own_past = past.select(torch.tensor([row for row, _ in pairs], device=device))
        hidden, _ = read_text(self._model, batch.input_ids, batch.attention_mask, own_past)
        log_probabilities = torch.log_softmax(self._head(hidden[:, :-1]), dim=-1)
        labels = batch.labels[:, 1:]
        picked = log_probabilities.gather(2, labels.clamp(min=0)[:, :, None]).squeeze(2)
        is_best = (log_probabilities.argmax(dim=2) == labels) | (labels < 0)
        return (picked * (labels >= 0)).sum(dim=1), is_best.all(dim=1)


def max_cached_positions(backbone: Backbone) -> int:
    """Return the limit on positions (of prompts, inputs and answers) in the KV cache at a time."""
    if backbone.device.type != "cuda" or not is_packable(backbone.model):
        return MIN_CACHED_POSITIONS
    num_layers, num_heads, head_size = key_value_shape(backbone.model)
    own_heads = num_heads // num_parts(backbone.model)
    bytes_each = 2 * num_layers * own_heads * head_size * backbone.model.dtype.itemsize
    memory = torch.cuda.get_device_properties(backbone.device).total_memory
    return smallest(backbone.model, num_fitting(memory, bytes_each))


def num_fitting(memory_bytes: int, bytes_each: int) -> int:
    """Return the number of positions that fit into a GPU's share of memory for the KV cache.

    It depends on the total memory and not on the free memory: other groups would give other
    rounding errors, and the results would not be repeatable.
    """
    fitting = int(_CACHE_SHARE_OF_GPU_MEMORY * memory_bytes / bytes_each)
    return max(MIN_CACHED_POSITIONS, min(fitting, _GPU_FACTOR * MIN_CACHED_POSITIONS))


def _ends(ask: Ask, token: int, log_probability: float) -> bool:
    """Add a token to a row's answer; return whether the answer is finished."""
    if token in ask.end_ids:
        ask.written.end_log_probability = log_probability
        return True
    if ask.constraint is not None:
        ask.constraint.accept(token)
    ask.written.ids.append(token)
    ask.written.log_probabilities.append(log_probability)
    return len(ask.written.ids) == ask.limit


def _num_new_tokens(ask: Ask, before: Ask | None) -> int:
    """Return the number of tokens to read, without those shared with the row read before."""
    ids = ask.row.input_ids
    if before is None or ask.bank.suffix is None or before.bank is not ask.bank:
        return len(ids)
    pairs = zip(ids, before.row.input_ids, strict=False)
    shared = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
    return len(ids) - (shared if shared >= MIN_SHARED_TOKENS else 0)


def _select(
    hidden: Float[Tensor, "B H"], past: Prefix, places: Sequence[int]
) -> tuple[Float[Tensor, "b H"], Prefix]:
    if len(places) == len(hidden):
        return hidden, past
    chosen = torch.tensor(places, device=hidden.device)
    return hidden[chosen], past.select(chosen)
