"""Train, adapt or score one task on its own, outside a suite."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from clinprompt.backbone.load import check_fits
from clinprompt.errors import SettingError
from clinprompt.evaluation.cells import Cell
from clinprompt.jobs.adapt import Fit, adapt
from clinprompt.jobs.annotate import Annotator, of_other_version
from clinprompt.jobs.distill import distill, teach
from clinprompt.jobs.evaluate import Attempt, evaluate
from clinprompt.methods.metaprompts import find_metaprompt, with_shape
from clinprompt.runs.run import Run, open_run, plain_name
from clinprompt.runs.suite_data import examples_of, find_mirror, load_apart, load_suite
from clinprompt.settings.groups import SHIPPED, Method
from clinprompt.settings.run import RunConfig
from clinprompt.tasks.card import catalog, find_card
from clinprompt.tasks.load import load_task
from clinprompt.training.progress import Reporter, Silent


def tune_task(
    folder: Path, task: str, config: RunConfig, *, mirror: Path | None, reporter: Reporter
) -> Path:
    """Train one task's own prompt on its training rows; return the saved prompt's folder."""
    data = load_apart(find_card(task), mirror)
    run = open_run(folder, config, reporter=reporter)
    run.claim([data])
    [artifact] = teach(run, [data])
    return run.store.root / artifact.manifest.name


def distill_suite(
    folder: Path, config: RunConfig, *, mirror: Path | None, reporter: Reporter
) -> Path:
    """Train the teachers and the metaprompt of a suite; return the metaprompt's folder."""
    suite = load_suite(config.suite, config.data, mirror)
    for lack in suite.missing:
        reporter.say(f"suite {suite.name}: {lack}")
    run = open_run(folder, config, reporter=reporter)
    run.claim(suite.sources)
    artifact = distill(run, suite.sources)
    return run.store.save(artifact)


@dataclass(frozen=True, slots=True)
class Request:
    """A task to fit a metaprompt to, by which method and from how many examples.

    ``metaprompt`` is the folder of a saved one, or "shipped".
    """

    task: str
    metaprompt: str
    method: Method
    shots: int


def settings_of(metaprompt: str) -> dict[str, Any]:
    """Return the settings to adapt a metaprompt with, as plain values: those of its own run.

    Of the package's own, only those that fit any data.

    Raises:
        ArtifactError: what was given is no metaprompt.
    """
    settings = find_metaprompt(metaprompt).manifest.settings
    if metaprompt != SHIPPED:
        return settings
    return {name: settings[name] for name in ("backbone", "prompt", "adapt")}


def adapt_task(
    folder: Path, request: Request, config: RunConfig, *, mirror: Path | None, reporter: Reporter
) -> Path:
    """Fit a saved metaprompt to a few examples of a task; return the saved prompt's folder.

    Raises:
        ArtifactError: what was given is no metaprompt, or one of another backbone.
    """
    loaded = find_metaprompt(request.metaprompt, plain_name(config.backbone))
    data = load_apart(find_card(request.task), mirror)
    run = open_run(folder, with_shape(config, loaded), reporter=reporter)
    run.claim([data])
    check_fits(run.backbone, loaded.manifest)
    run.store.save(loaded)
    rows = run.few_rows(data, request.shots, seed=config.seed)
    which = f"{request.method}-k{request.shots}-{loaded.manifest.content_hash[:16]}"
    fit = Fit(request.method, data.card, rows, f"{data.card.name}/{which}", config.seed)
    with adapt(run, fit, loaded) as fitted:
        assert fitted.artifact is not None
        saved = run.store.save(fitted.artifact, data.card.name)
    run.forget(fit.name)
    return saved


def evaluate_prompt(annotator: Annotator, task: str, *, mirror: Path | None, rows: int) -> Cell:
    """Score a saved prompt on the test rows of a task (its own one where ``task`` is empty).

    Raises:
        SettingError: the prompt's task is not in the catalog, so its folder must be named.
        ArtifactError: the prompt was saved with settings that this version does not know.
    """
    manifest = annotator.artifact.manifest
    try:
        config = RunConfig.model_validate(manifest.settings)
    except ValidationError as error:
        raise of_other_version(manifest, error) from error
    card = annotator.card
    if task:
        card = find_card(task)
    elif card.name in catalog():
        card = card.model_copy(update={"path": catalog()[card.name]})
    else:
        raise SettingError(f"{card.name}: a task of your own; name its folder with --task FOLDER")
    data = load_task(card, find_mirror(mirror))
    examples = examples_of(data, "test", limit=rows, seed=config.seed)
    run = Run(Path(), config, annotator.backbone, Silent())
    method = manifest.method
    if annotator.is_foreign:
        method += " (other backbone)"
    attempt = Attempt(method, manifest.shots, manifest.seed, annotator.bank())
    return evaluate(run, card, examples, attempt)
