"""Compare answers and gradients of a device with those of the CPU, and show where they differ.

The rows are those of synthetic tasks: spans, links, labels and free text. In float32 the answers
must be equal. In 16 bits rounding may decide between two tokens. Knows nothing of sessions.

Axes: B rows, V vocabulary, P prompt positions, W width of a prompt.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from time import monotonic
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clinprompt.backbone.answer_tokens import answer_tokens
from clinprompt.backbone.bank import Bank, make_bank, read_inputs
from clinprompt.backbone.decode import write
from clinprompt.backbone.gradients import StepPrompts, accumulate_gradients
from clinprompt.backbone.grammar import LineConstraint
from clinprompt.backbone.head import float32_head
from clinprompt.backbone.load import Backbone, load_backbone
from clinprompt.backbone.start_vectors import start_vectors
from clinprompt.batches.encode import Encoder, make_encoder
from clinprompt.evaluation.predict import predict
from clinprompt.evaluation.questions import PromptUse
from clinprompt.methods.metaprompts import find_metaprompt
from clinprompt.methods.method import Start
from clinprompt.methods.resolve import with_shape
from clinprompt.methods.routing import starting_prompt
from clinprompt.runs.examples import encode_all, examples_of
from clinprompt.runs.suite_data import load_suite
from clinprompt.settings.run import RunConfig, load_config
from clinprompt.tasks.card import TaskCard
from clinprompt.tasks.kinds import kind_of
from clinprompt.tasks.records import Example
from clinprompt.training.member import TASK_LOSS, batches_of

TASKS = ("practice-ner-drugs", "practice-re-frequency", "practice-nli-social", "practice-sum-plan")
ROWS_OF_A_TASK = 6
MASK_ROWS, MASK_STEPS, MASK_TOKENS = (1, 16, 256), 4, 8
SHOWN = 5  # tokens of a list
ROUNDING_LOSS = 0.2  # by how much fewer answers in 16 bits may be equal than on the CPU
LARGEST_ERROR = 1e-3  # of gradients in float32, as a share of their norm
ROUNDING_FACTOR = 2.0  # how many times the rounding error of the CPU in 16 bits is allowed
GRADIENT_TOKENS = 2048  # of a micro-batch


@dataclass(frozen=True, slots=True)
class Case:
    """Examples of some tasks and the prompt [1, P, W] of each, on the CPU."""

    config: RunConfig
    cards: Mapping[str, TaskCard]
    examples: Sequence[Example]
    prompts: Mapping[str, Tensor]

    def encoder(self, backbone: Backbone, *, constrained: bool = True) -> Encoder:
        """Return the encoder for a backbone."""
        data = self.config.data.model_copy(update={"constrained": constrained})
        context = backbone.context - self.config.prompt.length
        return make_encoder(backbone.tokenizer, data, context=context)

    def bank(self, backbone: Backbone) -> Bank:
        """Return the prompts of all tasks, in the order of ``cards``."""
        prompts = torch.cat([self.prompts[name] for name in self.cards]).to(backbone.device)
        with torch.inference_mode():
            return make_bank(backbone.model, prompts, self.config.prompt.placement)

    def number(self, example: Example) -> int:
        """Return the number of an example's prompt in the bank."""
        return list(self.cards).index(example.task)


def make_case(config_path: Path, settings: Sequence[str]) -> Case:
    """Return synthetic examples with the start of a metaprompt, or with random prompts if none."""
    config = load_config(config_path, [*settings, 'suite="practice"', "data.max_target_tokens=40"])
    backbone = load_backbone(config.backbone, device="cpu")
    found = find_metaprompt(config.metaprompt, config.backbone) if config.metaprompt else None
    config = with_shape(config, found) if found else config
    suite = load_suite("practice", config.data, None)
    chosen = {data.card.name: data for data in (*suite.sources, *suite.targets)}
    prompts = {}
    for number, name in enumerate(TASKS):
        start = Start(config, backbone, chosen[name].card, metaprompt=found)
        with torch.no_grad():
            if found:
                prompts[name] = starting_prompt(start, found)([0]).float().cpu()
            else:
                prompts[name] = start_vectors(backbone, config.prompt, seed=number)[None].float()
    examples = [
        example
        for name in TASKS
        for example in examples_of(chosen[name], "train", limit=ROWS_OF_A_TASK, seed=0)
    ]
    return Case(config, {name: chosen[name].card for name in TASKS}, examples, prompts)


def load(case: Case, device: str, dtype: str) -> Backbone:
    """Return the backbone of a case."""
    return load_backbone(case.config.backbone, device=device, dtype=getattr(torch, dtype))


# Answers


def compare_answers(case: Case, device: str) -> dict[str, Any]:
    """Return answers of the CPU and of the device, what differs, and the first step of each."""
    sides: dict[str, dict[str, Any]] = {}
    # The CPU in 16 bits is the slowest: last, so that a stop loses no more than it.
    for place, dtype in (
        ("cpu", "float32"),
        (device, "float32"),
        (device, "bfloat16"),
        ("cpu", "bfloat16"),
    ):
        started = monotonic()
        sides[f"{place} {dtype}"] = side = _side(case, load(case, place, dtype), place)
        side["seconds"] = round(monotonic() - started, 1)
        _show(f"{place} {dtype}", side, sides["cpu float32"])
    expected = sides["cpu float32"]
    checks: dict[str, bool] = {}
    for name, side in sides.items():
        checks[f"{name}: masks arrive unchanged"] = all(side["masks"].values())
        checks[f"{name}: no forbidden token was taken"] = not side["faults"]
        checks[f"{name}: an answer may begin in several ways"] = _may_begin(side)
        for mode in ("constrained", "free"):
            share = _equal_share(side[mode], expected[mode])
            side[f"{mode}, equal to the CPU in float32"] = share
            least = _least_share(sides, name, mode)
            checks[f"{name}: {mode} answers are those of the CPU"] = share >= least
    return {"checks": checks, "cause": cause_of(sides, device), "sides": sides}


def _show(name: str, side: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """Print what is known of one side, for the case that the check does not end in time."""
    shares = {mode: _equal_share(side[mode], expected[mode]) for mode in ("free", "constrained")}
    fault = _fault_of(side) or "no fault of the masks"
    print(
        f"answers, {name}: {side['seconds']} s, equal to the first: {shares}; {fault}", flush=True
    )


def cause_of(sides: Mapping[str, Mapping[str, Any]], device: str) -> str:
    """Return where a difference begins, judged from the first thing that is not as on the CPU."""
    for name, side in sides.items():
        if fault := _fault_of(side):
            return f"{name}: {fault}"
    for dtype in ("float32", "bfloat16"):
        name = f"{device} {dtype}"
        for mode, what in (
            ("free", "answers without constraints differ too: decoding, not masks"),
            ("constrained", "only constrained answers differ; see the trace of each row"),
        ):
            share = _equal_share(sides[name][mode], sides["cpu float32"][mode])
            if share < _least_share(sides, name, mode):
                return f"{name}: {what}"
    return "none: answers agree"


def _least_share(sides: Mapping[str, Mapping[str, Any]], name: str, mode: str) -> float:
    """Return the share of answers that must be those of the CPU in float32.

    In 16 bits it may be a little less than the share of the CPU in 16 bits.
    """
    if name.endswith("float32"):
        return 1.0
    share = _equal_share(sides["cpu bfloat16"][mode], sides["cpu float32"][mode])
    return share - ROUNDING_LOSS


def _fault_of(side: Mapping[str, Any]) -> str:
    """Return what is wrong with the constraints of one side, whatever the others do, or ""."""
    faults = {
        "the tokens of an answer are not found in the vocabulary": not _may_begin(side),
        "masks are changed on their way to the device; see masks": not all(side["masks"].values()),
        "a forbidden token was taken; see faults": bool(side["faults"]),
        "argmax gives a forbidden token; see first steps": not all(
            step["choice is allowed"] for step in side["first steps"]
        ),
    }
    return next((what for what, is_so in faults.items() if is_so), "")


def _may_begin(side: Mapping[str, Any]) -> bool:
    """Return whether constrained answers may begin with one of several tokens, as notes have words.

    If the bytes of tokens are misread, the end token alone is left, on every device.
    """
    return all(step["allowed tokens"] > 1 for step in side["first steps"])


def _side(case: Case, backbone: Backbone, place: str) -> dict[str, Any]:
    """Return what one backbone on one device answers and how it gets there."""
    bank, found = case.bank(backbone), dict[str, Any]()
    uses = [PromptUse(case.number(example)) for example in case.examples]
    for mode, constrained in (("free", False), ("constrained", True)):
        encoder = case.encoder(backbone, constrained=constrained)
        try:
            answers = predict(
                backbone, encoder, case.examples, cards=case.cards, bank=bank, prompts=uses
            )
            found[mode] = [one.text for one in answers]
        except AssertionError as error:
            found[mode] = [f"failed: {error}"] * len(case.examples)
    listing = [one for one in case.examples if kind_of(case.cards[one.task]).allowed]
    found["first steps"] = [
        _first_step(case, backbone, bank, example) for example in (listing[0], listing[-1])
    ]
    found["masks"] = {
        f"{count} rows": _masks_arrive(case, backbone, bank, listing[0], count)
        for count in MASK_ROWS
    }
    found["trace"], found["faults"] = _trace(case, backbone, bank, listing)
    found["device"] = f"{place}, {backbone.model.dtype}, torch {torch.__version__}"
    return found


def _rule(case: Case, backbone: Backbone, example: Example) -> LineConstraint:
    encoder, card = case.encoder(backbone), case.cards[example.task]
    allowed = kind_of(card).allowed
    assert allowed is not None
    tokens = answer_tokens(backbone, backbone.end_ids | {encoder.end_id})
    return LineConstraint(tokens, allowed(card, example.record), start=encoder.answer_start)


@torch.inference_mode()
def _first_step(case: Case, backbone: Backbone, bank: Bank, example: Example) -> dict[str, Any]:
    """Return the likeliest first tokens with and without mask, and what the mask allows.

    The mask is made here, of the constraint's tokens, and not by the code that is checked.
    """
    row = case.encoder(backbone).encode(example, case.number(example))
    hidden, _ = read_inputs(backbone.model, [row], bank)
    logits = float32_head(backbone.model)(hidden)[0]
    rule = _rule(case, backbone, example)
    allowed = [token for token in rule.allowed().tolist() if token < len(logits)]
    is_forbidden = torch.ones(len(logits), dtype=torch.bool)
    is_forbidden[allowed] = False
    masked = logits.masked_fill(is_forbidden.to(logits.device), -torch.inf)
    return {
        "task": example.task,
        "hidden states": f"{hidden.dtype} on {hidden.device}",
        "logits": f"{logits.dtype} on {logits.device}",
        "without mask": _likeliest(backbone, logits),
        "with mask": _likeliest(backbone, masked),
        "allowed tokens": len(allowed),
        "first allowed": [backbone.tokenizer.decode([one]) for one in allowed[:SHOWN]],
        "choice is allowed": int(masked.argmax()) in allowed,
        "only -inf": bool(torch.isinf(masked).all()),
        "not a number": bool(torch.isnan(logits).any()),
        # If this is the end token, a mask that forbids everything gives "nothing" in silence.
        "argmax of a row of only -inf": int(torch.full_like(logits, -torch.inf).argmax()),
        "end tokens": sorted(backbone.end_ids),
        "arithmetic on bits is right": _arithmetic_is_exact(backbone.device),
    }


def _likeliest(backbone: Backbone, logits: Tensor) -> list[tuple[str, float]]:
    values, ids = logits.topk(SHOWN)
    texts = [backbone.tokenizer.decode([token]) for token in ids.tolist()]
    return list(zip(texts, [round(value, 3) for value in values.tolist()], strict=True))


def _arithmetic_is_exact(device: torch.device) -> bool:
    """Return whether the device spreads bits as the CPU does; masks were once made in this way."""
    packed = torch.arange(256, dtype=torch.uint8, device=device)
    each = torch.arange(8, dtype=torch.uint8, device=device)
    bits = ((packed[:, None] >> each) & 1).flatten().cpu().numpy()
    return bool((bits == np.unpackbits(np.arange(256, dtype=np.uint8), bitorder="little")).all())


class Forced:
    """A constraint that leaves one given token in each step."""

    def __init__(self, tokens: Sequence[int]) -> None:
        self._tokens, self._count = tokens, 0

    def allowed(self) -> NDArray[np.int64]:
        """Return the next token alone."""
        return np.array([self._tokens[self._count]])

    def lowered(self) -> tuple[NDArray[np.int64], float]:
        """Lower no token."""
        return np.array([], dtype=np.int64), 0.0

    def ends(self) -> tuple[int, ...]:
        """Never end the answer."""
        return ()

    def accept(self, _: int) -> None:
        """Continue."""
        self._count += 1


def _masks_arrive(case: Case, backbone: Backbone, bank: Bank, example: Example, count: int) -> bool:
    """Return whether rows write exactly the tokens that their masks leave, which are random."""
    draw, whole = Random(count), case.encoder(backbone).encode(example, case.number(example))
    row = replace(whole, input_ids=whole.input_ids[-MASK_TOKENS:])  # masks do not depend on them
    wanted = [
        [draw.randrange(backbone.vocabulary_size) for _ in range(MASK_STEPS)] for _ in range(count)
    ]
    written = write(
        backbone,
        [row] * count,
        bank,
        limits=[MASK_STEPS] * count,
        end_ids=(),
        constraints=[Forced(tokens) for tokens in wanted],
    )
    return [list(one.ids) for one in written] == wanted


class Spy:
    """A constraint that remembers which tokens were taken and whether each was allowed."""

    def __init__(self, own: LineConstraint) -> None:
        self._own, self._allowed = own, own.allowed()
        self.taken: list[tuple[int, bool]] = []

    def allowed(self) -> NDArray[np.int64]:
        """Return what the constraint allows."""
        self._allowed = self._own.allowed()
        return self._allowed

    def lowered(self) -> tuple[NDArray[np.int64], float]:
        """Return what the constraint lowers."""
        return self._own.lowered()

    def ends(self) -> tuple[int, ...]:
        """Return how the constraint ends the answer."""
        return self._own.ends()

    def accept(self, token: int) -> None:
        """Continue after a token, and note whether it was allowed."""
        was_allowed = token in self._allowed
        self.taken.append((token, was_allowed))
        if was_allowed:
            self._own.accept(token)


def _trace(
    case: Case, backbone: Backbone, bank: Bank, examples: Sequence[Example]
) -> tuple[list[str], list[str]]:
    """Return the tokens that each row took, and the rows that took a forbidden one."""
    encoder = case.encoder(backbone)
    spies = [Spy(_rule(case, backbone, example)) for example in examples]
    rows = [encoder.encode(example, case.number(example)) for example in examples]
    write(
        backbone,
        rows,
        bank,
        limits=[encoder.target_limit(example.task) for example in examples],
        end_ids=backbone.end_ids | {encoder.end_id},
        constraints=spies,
    )
    traces, faults = [], []
    for spy in spies:
        words = [
            backbone.tokenizer.decode([token]) + ("" if was_allowed else " (FORBIDDEN)")
            for token, was_allowed in spy.taken
        ]
        traces.append("|".join(words))
        faults += [traces[-1]] if not all(one for _, one in spy.taken) else []
    return traces, faults


def _equal_share(answers: Sequence[str], expected: Sequence[str]) -> float:
    return sum(a == b for a, b in zip(answers, expected, strict=True)) / len(expected)


# Gradients


def compare_gradients(case: Case, device: str) -> dict[str, Any]:
    """Return how far the gradients of one step are from those of the CPU in float32.

    The error is a share of the norm. In 16 bits it may be some times that of the CPU in 16 bits.
    """
    errors: dict[str, dict[str, float]] = {}
    expected = {}
    for name, dtype in (
        ("cpu", "float32"),
        ("cpu", "bfloat16"),
        (device, "float32"),
        (device, "bfloat16"),
    ):
        backbone = load(case, name, dtype)
        for placement in ("layers", "prefix", "suffix"):
            found = _gradient(case, backbone, placement)
            first = expected.setdefault(placement, found)
            error = float((found - first).norm() / first.norm())
            errors.setdefault(f"{name} {dtype}", {})[placement] = error
    checks = {}
    for placement, rounding in errors["cpu bfloat16"].items():
        for dtype, limit in (
            ("float32", LARGEST_ERROR),
            ("bfloat16", ROUNDING_FACTOR * rounding + LARGEST_ERROR),
        ):
            error = errors[f"{device} {dtype}"][placement]
            checks[f"{device} {dtype}: gradients of {placement} prompts"] = error <= limit
    return {"checks": checks, "errors": errors}


def _gradient(case: Case, backbone: Backbone, placement: Any) -> Tensor:  # noqa: ANN401
    """Return the gradient of the prompts of all tasks [K, P, W], on the CPU."""
    encoder, settings = case.encoder(backbone), case.config.prompt
    rows = [
        replace(row, task=number)
        for number, card in enumerate(case.cards.values())
        for example in case.examples
        if example.task == card.name
        for row in encode_all(encoder, card, [example])
    ]
    start = start_vectors(
        backbone, settings.model_copy(update={"placement": placement}), seed=0
    ).float()
    tasks = tuple(range(len(case.cards)))
    prompts = torch.stack([start] * len(tasks)).to(backbone.device).requires_grad_()
    step = StepPrompts(prompts, tasks, (0,) * len(tasks), placement)
    batches = batches_of(backbone, rows, GRADIENT_TOKENS)
    accumulate_gradients(backbone.model, step, batches, TASK_LOSS)
    assert prompts.grad is not None
    return prompts.grad.float().cpu()
