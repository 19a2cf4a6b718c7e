"""Compute one cell of a comparison: fit a method to its shots, answer the test rows, score."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from clinprompt.backbone.bank import Bank
from clinprompt.backbone.memory import start_peak
from clinprompt.batches.encode import Encoder, Row
from clinprompt.evaluation.cells import Cell
from clinprompt.evaluation.score_cells import (
    CellInput,
    Cost,
    score_cell,
    score_cells,
    scores_of,
)
from clinprompt.jobs.calibrate import Answering, calibrate, with_calibration
from clinprompt.jobs.comparison.grid import CellSpec
from clinprompt.jobs.comparison.variants import OpenVariant
from clinprompt.jobs.fit_method import Fitted, MethodFit, bank_of, fit_method, fit_methods
from clinprompt.methods.table import method_of
from clinprompt.prompts.artifact import Artifact
from clinprompt.settings.local_names import plain_name


@dataclass(frozen=True, slots=True)
class Member:
    """A cell to compute, with the run that it belongs to and the metaprompt that it starts from."""

    opened: OpenVariant
    spec: CellSpec
    metaprompt: Artifact | None


def compute_cell(member: Member) -> Cell:
    """Return one cell; save the prompt that was trained for it, if any, in the store of the run.

    Raises:
        ClinpromptError: the method cannot be fitted to the task.
    """
    opened, spec, metaprompt = member.opened, member.spec, member.metaprompt
    start_peak(opened.backbone.device)
    if method_of(spec.method).trains == "nothing":
        return _untrained_cell(opened, spec, metaprompt)
    fit = _fit(opened, spec, metaprompt)
    with fit_method(fit, opened.workspace) as fitted:
        return _fitted_cell(opened, spec, fit, fitted)


def compute_cells(team: Sequence[Member]) -> Iterator[Cell]:
    """Train the prompts of several cells side by side and answer their test rows in one batch.

    The members have the same team key (see ``team_key``). Their training log and checkpoint are
    in the run of the first one. Each cell's peak memory is measured from the start of the team.

    Raises:
        ClinpromptError: a method cannot be fitted to its task.
    """
    backbone, workspace = team[0].opened.backbone, team[0].opened.workspace
    start_peak(backbone.device)
    fits = [_fit(one.opened, one.spec, one.metaprompt) for one in team]
    all_fitted = fit_methods(fits, workspace)
    bank = bank_of(backbone, [fitted.tuner for fitted in all_fitted])
    plain = (
        _cell_input(one.opened, one.spec, _cost(fitted, len(fit.start.rows)))
        for one, fit, fitted in zip(team, fits, all_fitted, strict=True)
    )
    inputs = [
        _calibrated(one.opened, one.spec, given, bank, number)
        for number, (one, given) in enumerate(zip(team, plain, strict=True))
    ]
    cells = zip(inputs, score_cells(backbone, inputs, bank), strict=True)
    for one, fit, fitted, (given, cell) in zip(team, fits, all_fitted, cells, strict=True):
        if fitted.artifact:
            one.opened.workspace.store.save(_with_results(fitted.artifact, given, cell))
        workspace.forget(fit.name)
        one.opened.workspace.forget(fit.name)  # if it was trained alone, or first, before a kill
        yield cell


def _untrained_cell(opened: OpenVariant, spec: CellSpec, metaprompt: Artifact | None) -> Cell:
    method, card = method_of(spec.method), spec.data.card
    assert method.untrained is not None
    encoder = opened.task_rows.encoder(instructed=method.is_instructed)
    candidates = opened.task_rows.candidates(spec.data) if method.uses_shots else None
    records = candidates.records(_count(opened, spec), seed=spec.seed) if candidates else ()
    start = opened.start(card, (), seed=spec.seed, metaprompt=metaprompt)
    bank, num_shown = method.untrained(start, encoder, records)
    encoder = encoder.after_solved() if num_shown else encoder
    plain = _cell_input(opened, spec, Cost(num_examples=num_shown), encoder)
    return score_cell(opened.backbone, _calibrated(opened, spec, plain, bank), bank)


def _fitted_cell(opened: OpenVariant, spec: CellSpec, fit: MethodFit, fitted: Fitted) -> Cell:
    """Return the cell of a fitted method; save what was trained, remove its checkpoint."""
    bank = bank_of(opened.backbone, [fitted.tuner])
    plain = _cell_input(opened, spec, _cost(fitted, len(fit.start.rows)))
    given = _calibrated(opened, spec, plain, bank)
    cell = score_cell(opened.backbone, given, bank)
    if fitted.artifact:
        opened.workspace.store.save(_with_results(fitted.artifact, given, cell))
    opened.workspace.forget(fit.name)
    return cell


def _fit(opened: OpenVariant, spec: CellSpec, metaprompt: Artifact | None) -> MethodFit:
    validation: Sequence[Row] = ()
    if spec.shots == "all":
        rows = opened.task_rows.training(spec.data)
        validation = opened.task_rows.validation(spec.data)
    else:
        rows = opened.task_rows.shots(spec.data, _count(opened, spec), seed=spec.seed)
    start = opened.start(spec.data.card, rows, seed=spec.seed, metaprompt=metaprompt)
    start = replace(start, config=opened.config.at(spec.shots), validation=validation)
    return MethodFit(method_of(spec.method), start, spec.name)


def _calibrated(
    opened: OpenVariant, spec: CellSpec, given: CellInput, bank: Bank, prompt: int = 0
) -> CellInput:
    """Return an input with the calibration of the cell's prompt, if that is used."""
    found = calibrate(
        Answering(opened.backbone, given.encoder, bank, prompt),
        spec.data,
        opened.config.data,
        seed=opened.config.seed,
        may_validate=spec.shots == "all",  # the few shots of a cell are all labels it may see
    )
    return replace(given, calibration=found)


def _cell_input(
    opened: OpenVariant, spec: CellSpec, cost: Cost, encoder: Encoder | None = None
) -> CellInput:
    return CellInput(
        backbone_name=plain_name(opened.config.backbone),
        card=spec.data.card,
        examples=opened.task_rows.test_examples(spec.data),
        encoder=encoder or opened.task_rows.encoder(),
        method=spec.method,
        shots=spec.shots,
        seed=spec.seed,
        interval_seed=opened.config.seed,
        cost=cost,
    )


def _count(opened: OpenVariant, spec: CellSpec) -> int:
    """Return the number of shots: what the cell asks for, or all rows of a task that has fewer."""
    assert isinstance(spec.shots, int)
    return min(spec.shots, max(1, len(opened.task_rows.candidates(spec.data).rows)))


def _cost(fitted: Fitted, num_examples: int) -> Cost:
    progress = fitted.progress
    return Cost(
        trained_numbers=fitted.trained_numbers,
        artifact_bytes=fitted.num_bytes,
        num_examples=num_examples,
        steps=progress.step,
        seconds=progress.seconds,
        tokens_per_second=progress.tokens / progress.seconds if progress.seconds else 0.0,
    )


def _with_results(artifact: Artifact, given: CellInput, cell: Cell) -> Artifact:
    """Return an artifact with the score of its cell and the calibration that it was scored with."""
    manifest = artifact.manifest.model_copy(update={"scores": scores_of(cell)})
    return with_calibration(artifact.model_copy(update={"manifest": manifest}), given.calibration)
