"""Compute one cell of a comparison: fit a method to its shots, answer the test rows, score."""

from collections.abc import Iterator, Sequence

import torch

from clinprompt.backbone.bank import Bank, make_bank, text_bank
from clinprompt.backbone.memory import start_peak
from clinprompt.evaluation.cells import Cell
from clinprompt.jobs.adapt import Adapted, Fit, adapt, adapt_together
from clinprompt.jobs.comparison.grid import Wanted
from clinprompt.jobs.evaluate import Attempt, Cost, evaluate
from clinprompt.methods.routing import starting_prompt
from clinprompt.prompts.artifact import Artifact
from clinprompt.runs.run import Run
from clinprompt.runs.suite_data import examples_of
from clinprompt.settings.groups import Method, split_method
from clinprompt.tasks.card import TaskCard
from clinprompt.tasks.kinds import instruction_of, make_example
from clinprompt.tasks.records import Example, Record


def compute_cell(run: Run, wanted: Wanted, metaprompt: Artifact | None) -> Cell:
    """Return one cell; a prompt that was trained for it is in the run's store then.

    Raises:
        ClinpromptError: the method cannot be fitted to the task.
    """
    start_peak(run.backbone.device)
    card, method = wanted.data.card, _method(wanted)
    if method == "instruction":
        attempt = Attempt(wanted.method, 0, wanted.seed, instructed=True)
        return evaluate(run, card, _test_examples(run, wanted, instruct=True), attempt)
    if method == "metaprompt":
        assert metaprompt is not None
        bank = _bank(run, starting_prompt(run, metaprompt, card)([0]))
        attempt = Attempt(wanted.method, 0, wanted.seed, bank)
        return evaluate(run, card, _test_examples(run, wanted), attempt)
    if method == "in-context":
        records = run.candidates(wanted.data).records(_count(run, wanted), seed=wanted.seed)
        bank, num_shown = _demonstrations(run, card, records)
        cost = Cost(num_examples=num_shown)
        attempt = Attempt(wanted.method, wanted.shots, wanted.seed, bank, cost, instructed=True)
        return evaluate(run, card, _test_examples(run, wanted, instruct=True), attempt)
    return _fitted(run, wanted, metaprompt)


def compute_cells(run: Run, team: Sequence[Wanted], metaprompt: Artifact | None) -> Iterator[Cell]:
    """Train the prompts of several cells side by side; yield each cell when it is scored.

    The peak memory of each is that since the team began.

    Raises:
        ClinpromptError: a method cannot be fitted to its task.
    """
    start_peak(run.backbone.device)
    fits = [_fit(run, wanted) for wanted in team]
    for wanted, fit, fitted in zip(team, fits, adapt_together(run, fits, metaprompt), strict=True):
        yield _scored(run, wanted, fit, fitted)


def _fitted(run: Run, wanted: Wanted, metaprompt: Artifact | None) -> Cell:
    fit = _fit(run, wanted)
    with adapt(run, fit, metaprompt) as fitted:
        return _scored(run, wanted, fit, fitted)


def _fit(run: Run, wanted: Wanted) -> Fit:
    if wanted.shots == "all":
        rows = run.training_rows(wanted.data)
    else:
        rows = run.few_rows(wanted.data, _count(run, wanted), seed=wanted.seed)
    return Fit(_method(wanted), wanted.data.card, rows, wanted.name, wanted.seed)


def _scored(run: Run, wanted: Wanted, fit: Fit, fitted: Adapted) -> Cell:
    """Return the cell of a fitted method; save what was trained, forget its checkpoint."""
    with torch.no_grad():
        bank = _bank(run, fitted.tuner.prompts([0]), fitted)
    cost = _cost(fitted, len(fit.rows))
    attempt = Attempt(wanted.method, wanted.shots, wanted.seed, bank, cost)
    cell = evaluate(run, fit.card, _test_examples(run, wanted), attempt)
    if fitted.artifact:
        run.store.save(_with_score(fitted.artifact, cell))
    run.forget(fit.name)
    return cell


def _method(wanted: Wanted) -> Method:
    method: Method = split_method(wanted.method)[0]  # type: ignore[assignment]  # config checked it
    return method


def _count(run: Run, wanted: Wanted) -> int:
    """Return how many shots there are: those asked for, or all that the task has, if it has any."""
    assert isinstance(wanted.shots, int)
    return min(wanted.shots, max(1, len(run.candidates(wanted.data).rows)))


def _test_examples(run: Run, wanted: Wanted, *, instruct: bool = False) -> tuple[Example, ...]:
    limit, seed = run.config.data.test_rows, run.config.seed
    return examples_of(wanted.data, "test", limit=limit, seed=seed, instruct=instruct)


def _bank(run: Run, prompts: torch.Tensor | None, fitted: Adapted | None = None) -> Bank:
    """Return the one prompt of a cell, ready to be read with rows."""
    placement = fitted.tuner.placement if fitted else run.config.prompt.placement
    with torch.inference_mode():
        return make_bank(run.backbone.model, prompts, placement)


def _demonstrations(run: Run, card: TaskCard, records: Sequence[Record]) -> tuple[Bank, int]:
    """Return shots as text in front of every row, each as the model is asked and should answer.

    Returns how many fit into the backbone's context beside the longest row, too.
    """
    encoder = run.encoder(instruction=instruction_of(card))
    room = run.backbone.context - encoder.max_input_tokens - encoder.target_limit(card.name)
    begin = run.backbone.tokenizer.bos_token_id
    ids: list[int] = []
    for number, record in enumerate(records):
        row = encoder.encode(make_example(card, record, instruct=True))
        own = row.input_ids + row.target_ids
        if ids and own[0] == begin:
            own = own[1:]
        if len(ids) + len(own) > room:
            return text_bank(run.backbone.model, ids), number
        ids += own
    return text_bank(run.backbone.model, ids), len(records)


def _cost(fitted: Adapted, num_examples: int) -> Cost:
    progress = fitted.progress
    speed = progress.tokens / progress.seconds if progress.seconds else 0.0
    return Cost(
        fitted.trained_numbers,
        fitted.num_bytes,
        num_examples,
        progress.step,
        progress.seconds,
        speed,
    )


def _with_score(artifact: Artifact, cell: Cell) -> Artifact:
    scores = {cell.metric: cell.value, "low": cell.low, "high": cell.high}
    manifest = artifact.manifest.model_copy(update={"scores": scores})
    return artifact.model_copy(update={"manifest": manifest})
