"""Adapt a saved metaprompt to a few examples of a task, and save the prompt."""

from dataclasses import dataclass
from pathlib import Path

from clinprompt.backbone.load import check_fits
from clinprompt.jobs.calibrate import Answering, calibrate, with_calibration
from clinprompt.jobs.fit_method import Fitted, MethodFit, bank_of, fit_method, untrained
from clinprompt.methods.metaprompts import find_metaprompt
from clinprompt.methods.method import Start
from clinprompt.methods.resolve import check_shape, with_shape
from clinprompt.methods.table import METHODS
from clinprompt.prompts.artifact import Artifact
from clinprompt.runs.suite_data import copies_left_out
from clinprompt.runs.task_rows import task_rows_of
from clinprompt.runs.work_folder import work_folder
from clinprompt.runs.workspace import Workspace, load_run_backbone, open_workspace
from clinprompt.settings.run import RunConfig
from clinprompt.tasks.card import catalog
from clinprompt.tasks.load import TaskData
from clinprompt.training.progress import Reporter


@dataclass(frozen=True, slots=True)
class Adaptation:
    """What to adapt: the name of the method and the number of training examples.

    With 0 examples, the untrained start of the method is saved. ``is_forced`` trains again what is
    finished already.
    """

    method: str
    shots: int
    is_forced: bool = False

    def name(self, task: str, metaprompt: Artifact) -> str:
        """Return a name that no other adaptation in a run has."""
        hash_ = metaprompt.manifest.content_hash[:16]
        return f"{task}/{self.method}-k{self.shots}-{hash_}"

    def places(self, task: str, metaprompt: Artifact) -> tuple[str, ...]:
        """Return the names under which a store may keep the result, the shortest first."""
        short = f"{task}-factors" if METHODS[self.method].saves == "factors" else task
        longer = f"{short}-k{self.shots}"
        return short, longer, f"{longer}-{metaprompt.manifest.content_hash[:8]}"


def adapt_task(
    folder: Path, data: TaskData, config: RunConfig, wanted: Adaptation, *, reporter: Reporter
) -> Path:
    """Fit a saved metaprompt to a few examples of a task; return the saved prompt's folder.

    ``config.metaprompt`` is the folder of the metaprompt, or "shipped". The prompt is saved under
    the name of the task, with ``-factors`` if only factors were trained. If another adaptation of
    the run has this name already, the number of shots is added.

    Raises:
        ArtifactError: the folder does not hold a metaprompt, or one of another backbone.
        SettingError: the settings ask for another shape or input form than that of the metaprompt.
        RunError: the folder holds something else, or another process works in it.
    """
    metaprompt = find_metaprompt(config.metaprompt, config.backbone)
    check_shape(config, metaprompt)
    # One folder may hold prompts that were adapted from several metaprompts.
    config = with_shape(config, metaprompt).model_copy(update={"metaprompt": ""})
    with work_folder(folder, config) as place:
        return _adapt_in(Workspace(place, reporter), data, config, wanted, metaprompt)


def _adapt_in(
    workspace: Workspace,
    data: TaskData,
    config: RunConfig,
    wanted: Adaptation,
    metaprompt: Artifact,
) -> Path:
    """Fit a metaprompt to a task in a folder where no other process works."""
    folder, reporter = workspace.folder, workspace.reporter
    name = wanted.name(data.card.name, metaprompt)
    place = workspace.store.free_name(wanted.places(data.card.name, metaprompt), name)
    if workspace.store.made_as(place) == name and not wanted.is_forced:
        workspace.record_tasks([data])
        workspace.forget(name)  # its process may have been killed before it did
        saved = workspace.store.root / place
        reporter.say(f"already adapted: {saved} (--force, in Python force=True, trains it again)")
        return saved
    if data.copies:
        reporter.say(f"{data.card.name}: {copies_left_out(data.copies)}")
    if config.data.input_form == 1 and data.card.name not in catalog():
        reporter.say(
            f"{data.card.name}: the model does not read the instruction of the card, because the "
            "metaprompt was learned without instructions (data.input_form = 1)"
        )
    backbone = load_run_backbone(folder, config)
    workspace = open_workspace(folder, config, backbone, reporter=reporter)
    workspace.record_tasks([data])
    check_fits(backbone, metaprompt.manifest)
    workspace.store.save(metaprompt)
    task_rows = task_rows_of(config, backbone)
    rows = task_rows.shots(data, wanted.shots, seed=config.seed) if wanted.shots else ()
    own = config.at(wanted.shots)
    start = Start(own, backbone, data.card, rows, config.seed, metaprompt, say=reporter.say)
    fit = MethodFit(METHODS[wanted.method], start, name, shown=place)
    saved = workspace.store.save(_made(fit, workspace, data), place)
    workspace.forget(name)
    return saved


def _made(fit: MethodFit, workspace: Workspace, data: TaskData) -> Artifact:
    """Return what a method makes of the rows of a task; without rows, its untrained start."""
    with fit_method(fit, workspace) if fit.start.rows else untrained(fit) as fitted:
        return _calibrated(fitted, fit.start, data, workspace.reporter)


def _calibrated(fitted: Fitted, start: Start, data: TaskData, reporter: Reporter) -> Artifact:
    """Return the artifact of a fit with the calibration of its labels, if that is used."""
    assert fitted.artifact is not None
    encoder = task_rows_of(start.config, start.backbone).encoder()
    bank = bank_of(start.backbone, [fitted.tuner])
    found = calibrate(
        Answering(start.backbone, encoder, bank, reporter=reporter),
        data,
        start.config.data,
        seed=start.config.seed,
        may_validate=bool(start.rows),
    )
    return with_calibration(fitted.artifact, found)
