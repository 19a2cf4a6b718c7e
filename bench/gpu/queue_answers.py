"""Compare answers of the server's queue on a device with those of the same queue on the CPU.

Synthetic notes of several tasks arrive at random times, each with prompts of every placement, so
the rows join and leave the running batch. Each side has its own times. In float32 the answers must
be equal, except where the tokens that differ are equally likely up to rounding. Knows nothing of
sessions.

Axes: P prompt positions, W width of a prompt.
"""

from collections.abc import Mapping, Sequence
from itertools import cycle
from random import Random
from time import sleep
from typing import Any, get_args

import torch
from devices import Case
from torch import Tensor

from clinprompt.backbone.bank import make_bank
from clinprompt.backbone.decode import score_choices
from clinprompt.backbone.load import Backbone
from clinprompt.backbone.scheduler import Ask
from clinprompt.backbone.start_vectors import start_vectors
from clinprompt.evaluation.questions import PromptUse, Question, questions
from clinprompt.serving.engine import Engine, FailedError, Job, StoppedError
from clinprompt.settings.groups import Placement

TIE = 1e-3  # logits this close may be ordered either way by rounding
CHECK = "float32: the queue answers as on the CPU, except for ties"


def compare_queues(
    case: Case, cpu: Backbone, device: Backbone, *, pause_seconds: float
) -> dict[str, Any]:
    """Return the rows whose answers differ, and by how much probabilities differ in the others.

    Both backbones are in float32. Notes arrive ``pause_seconds`` after each other, on average.
    """
    torch.set_float32_matmul_precision("highest")  # TF32 would round more than a tie allows
    prompts = _prompts(case, cpu)
    sides, most = [], {}
    try:
        for seed, (place, backbone) in enumerate((("CPU", cpu), ("device", device))):
            requests = _requests(case, backbone, prompts)
            most[place] = _answer(backbone, requests, Random(seed), pause_seconds)
            sides.append([one for request in requests for one in request])
    except (FailedError, StoppedError) as error:
        return {"checks": {CHECK: False}, "failed": str(error)}
    asked = [_asks(questions) for questions in sides]
    names = [
        f"{one.example.task}, {placement}"
        for one, placement in zip(sides[0], cycle(prompts), strict=False)
        for _ in one.asks
    ]
    pairs = list(zip(names, *asked, strict=True))
    differing = [
        {"row": name, "gap of logits on the CPU": _gap(cpu, expected, own)}
        for name, expected, own in pairs
        if _choice(expected) != _choice(own)
    ]
    ties = [one for one in differing if one["gap of logits on the CPU"] <= TIE]
    return {
        "checks": {CHECK: len(ties) == len(differing)},
        "rows": len(pairs),
        "tasks": len(case.cards),
        "placements": list(prompts),
        "rows written at a time, at most": most,
        "float32 matrix products": torch.get_float32_matmul_precision(),
        "differing rows": len(differing),
        "of these ties": len(ties),
        "differences": differing,
        "largest difference of log-probabilities of equal answers": max(
            (_distance(a, b) for _, a, b in pairs if _choice(a) == _choice(b)), default=0.0
        ),
    }


def _prompts(case: Case, cpu: Backbone) -> Mapping[Placement, Tensor]:
    """Return the prompts [K, P, W] of all tasks at each placement, on the CPU.

    Those at the placement of the case are its own; the others are drawn at random.
    """
    found = {}
    for placement in get_args(Placement):
        update = {"placement": placement, "start": "vocabulary"}
        settings = case.config.prompt.model_copy(update=update)
        own = [case.prompts[name][0] for name in case.cards]
        if placement != case.config.prompt.placement:
            with torch.no_grad():
                own = [start_vectors(cpu, settings, seed=k) for k in range(len(case.cards))]
        found[placement] = torch.stack(own)
    return found


def _requests(
    case: Case, backbone: Backbone, prompts: Mapping[Placement, Tensor]
) -> list[list[Question]]:
    """Return the questions about each note, one for each placement."""
    encoder, by_placement = case.encoder(backbone), []
    uses = [PromptUse(case.number(example)) for example in case.examples]
    for placement, own in prompts.items():
        with torch.inference_mode():
            bank = make_bank(backbone.model, own.to(backbone.device), placement)
        by_placement.append(
            questions(backbone, encoder, case.examples, cards=case.cards, bank=bank, prompts=uses)
        )
    return [list(request) for request in zip(*by_placement, strict=True)]


def _answer(
    backbone: Backbone, requests: Sequence[Sequence[Question]], draw: Random, pause_seconds: float
) -> int:
    """Answer requests that arrive at random; return the largest number of rows written at a time.

    Raises:
        FailedError, StoppedError: a step failed.
    """
    most = 0

    def watch() -> None:
        nonlocal most
        most = max(most, engine.num_active)

    engine = Engine(backbone, max_rows=sum(len(_asks(request)) for request in requests))
    jobs = [[Job(question, on_token=watch) for question in request] for request in requests]
    engine.start()
    try:
        for request in draw.sample(jobs, len(jobs)):
            engine.submit(request)
            sleep(draw.expovariate(1 / pause_seconds))
        for job in (job for request in jobs for job in request):
            job.future.result()
    finally:
        engine.stop()
    return most


def _asks(asked: Sequence[Question]) -> list[Ask]:
    return [ask for question in asked for ask in question.asks]


def _choice(ask: Ask) -> int | list[int]:
    """Return the number of the best choice of a row, or the ids that it wrote."""
    return ask.scores.index(max(ask.scores)) if ask.choices else ask.written.ids


def _gap(cpu: Backbone, expected: Ask, other: Ask) -> float:
    """Return how much likelier, in nats, the CPU finds its own token than that of the other row.

    It is the difference of their logits where the answers first differ, or of the scores of two
    choices.
    """
    if expected.choices:
        return max(expected.scores) - expected.scores[other.scores.index(max(other.scores))]
    ids = [expected.written.ids, other.written.ids]
    pairs = enumerate(zip(*ids, strict=False))
    place = next((at for at, (one, two) in pairs if one != two), min(map(len, ids)))
    ends = sorted(expected.end_ids)  # an answer that stops has written one of them
    own, others = ([one[place]] if place < len(one) else ends for one in ids)
    choices = [(*ids[0][:place], token) for token in (*own, *others)]
    [scores] = score_choices(cpu, [expected.row], [choices], expected.bank)
    return abs(max(scores[: len(own)]) - max(scores[len(own) :]))


def _distance(one: Ask, other: Ask) -> float:
    """Return the largest difference of the log-probabilities of two equal answers, in nats."""
    values = [
        ask.scores or [*ask.written.log_probabilities, ask.written.end_log_probability]
        for ask in (one, other)
    ]
    return max(abs(a - b) for a, b in zip(*values, strict=True))
