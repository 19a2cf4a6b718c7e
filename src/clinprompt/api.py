"""The public functions: from a task to a trained prompt, and from a prompt to answers.

The command line calls the same functions. ``import clinprompt`` offers them by name.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, overload

from clinprompt.backbone.ranks import ranks
from clinprompt.errors import ArtifactError, DataError, SettingError
from clinprompt.evaluation.cells import Cell
from clinprompt.jobs.adapt import Adaptation, adapt_task
from clinprompt.jobs.adapt_settings import adapt_config
from clinprompt.jobs.annotate import LoadedPrompt, as_json, check_minimum, likely, load_prompt
from clinprompt.jobs.audit import Audit, Auditing, audit_prompt
from clinprompt.jobs.distill import distill_suite
from clinprompt.jobs.evaluate import data_of, evaluate_prompt, keep_score
from clinprompt.jobs.note_files import read_notes
from clinprompt.methods.check_methods import check_methods
from clinprompt.methods.table import ADAPT_ALL, ADAPT_FACTORS
from clinprompt.prompts.artifact import load_artifact, make_artifact, save_artifact
from clinprompt.prompts.find_prompt import MANIFEST
from clinprompt.runs.suite_data import load_apart
from clinprompt.settings.defaults import SHADOWS, SHIPPED, SHOTS, TEST_ROWS
from clinprompt.settings.run import Changes, RunConfig, load_config
from clinprompt.tasks.card import find_card
from clinprompt.tasks.draft.columns import NamedColumns
from clinprompt.tasks.draft.draft_task import choose_folder, draft_task, write_task
from clinprompt.tasks.kinds import make_example
from clinprompt.tasks.load import TaskData
from clinprompt.tasks.records import Answer, Record
from clinprompt.training.progress import Reporter, Silent

Notes = list[str] | list[Record] | list[str | Record] | tuple[str | Record, ...]


@dataclass(frozen=True, slots=True)
class Annotation:
    """The answer to one record. ``input_was_cut`` says that not all of its text was read.

    ``probabilities`` are those of the mentions or links of the answer, in order, or of its label;
    free text has none.
    """

    record: Record
    answer: Answer
    input_was_cut: bool
    probabilities: tuple[float, ...]
    _values: Mapping[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Return the answer as plain values; mentions have character offsets and their text."""
        return dict(self._values)


class Annotator:
    """A trained prompt with its task and its language model, ready to answer.

    ``folder`` is where the prompt is saved. The model is loaded when it is first needed.
    """

    def __init__(
        self, folder: Path, load: Callable[[], LoadedPrompt], data: TaskData | None = None
    ) -> None:
        self.folder = folder
        self._load = load
        self._data = data

    @cached_property
    def loaded(self) -> LoadedPrompt:
        """Return the prompt with its task's card and its model."""
        return self._load()

    @classmethod
    def load(
        cls,
        folder: str | Path,
        *,
        backbone: str = "",
        device: str = "auto",
        dtype: str = "auto",
        allow_backbone: bool = False,
        free: bool = False,
        tensor_parallel: bool = False,
    ) -> "Annotator":
        """Load a saved prompt and the language model that it was trained on.

        ``backbone`` names another copy of the model. ``dtype`` is the type of its weights: float32,
        bfloat16, or auto, which is float32 on a CPU and elsewhere as in training.
        ``allow_backbone`` accepts a model that the prompt was not trained on. ``free`` lets answers
        list mentions and links that are not words of the note. ``tensor_parallel`` divides the
        model over all processes that torchrun started.

        Raises:
            ArtifactError: the prompt is damaged, or was trained on another model.
            BackboneError: the model cannot be loaded.
            SettingError: there is no such ``dtype``, or the model is to be divided over processes,
                but there is one process only.
        """
        loaded = load_prompt(
            Path(folder),
            backbone=backbone,
            device=device,
            dtype=dtype,
            allow_backbone=allow_backbone,
            free=free,
            tensor_parallel=tensor_parallel,
        )
        return cls(Path(folder), lambda: loaded)

    def save(self, folder: str | Path) -> Path:
        """Save only the prompt, to a separate folder, and return the folder.

        Factors are saved as the whole prompt [P, W] that they give, so that the folder needs
        no metaprompt.

        Raises:
            ArtifactError: the folder exists and holds something else than such a prompt.
            RunError: the folder cannot be written.
        """
        _check_replaceable(Path(folder))
        manifest = self.loaded.artifact.manifest
        plain = manifest.model_copy(update={"kind": "prompt", "rank": 0, "metaprompt": ""})
        artifact = make_artifact(plain, {"vectors": self.loaded.prompt})
        save_artifact(Path(folder), artifact)
        return Path(folder)

    @overload
    def predict(self, notes: str | Record, *, min_probability: float = ...) -> Annotation: ...
    @overload
    def predict(self, notes: Notes | Path, *, min_probability: float = ...) -> list[Annotation]: ...
    def predict(
        self, notes: str | Record | Notes | Path, *, min_probability: float = 0.0
    ) -> Annotation | list[Annotation]:
        """Answer one note, or several in the order given. A note is its text, or a record.

        A ``Path`` names a ``.txt`` file, a folder of them or a JSON Lines file, and gives a list.
        Mentions and links of less than ``min_probability`` are left out.

        Raises:
            SettingError: ``min_probability`` is not between 0 and 1, or the answers list nothing.
            DataError: a note is of another type, or lacks a field that the task reads, or a file is
                missing or damaged.
        """
        if isinstance(notes, str | Record):
            return self.predict([notes], min_probability=min_probability)[0]
        if isinstance(notes, Path):
            records = list(read_notes(notes, partial(make_example, self.loaded.card)))
        else:
            records = _as_records(notes)
        card = self.loaded.card
        check_minimum(min_probability, card)
        answers = [likely(one, min_probability, card) for one in self.loaded.annotate(records)]
        return [
            Annotation(
                one.example.record,
                one.answer,
                one.input_was_cut,
                one.probabilities,
                as_json(card, one),
            )
            for one in answers
        ]

    def evaluate(
        self,
        task: str | Path | TaskData | None = None,
        *,
        num_rows: int = TEST_ROWS,
        mirror: str | Path | None = None,
        allow_other_task: bool = False,
        reporter: Reporter | None = None,
    ) -> Cell:
        """Score the prompt on at most ``num_rows`` test rows, with a 95 % interval.

        ``task`` is a name, a folder or loaded data; without it, the prompt's own task. ``mirror``
        is as in ``load_task``. ``allow_other_task`` scores the prompt on a task with other labels
        or another kind of answer too.

        A score on the prompt's own task is saved with the prompt, unless it is on fewer rows than
        by default, on another model or of free answers, or the folder cannot be written.

        Raises:
            SettingError: the task is unknown, or is the user's own and its folder is not given, or
                has other answers than the prompt's own task, or other splits than when the prompt
                was trained, or ``num_rows`` is less than 1.
            DataError: the task's data is missing or damaged.
        """
        _check_number("num_rows", num_rows)
        if task is None:
            data = self._data or data_of(self.loaded, Path(mirror) if mirror else None)
        else:
            data = task if isinstance(task, TaskData) else load_task(task, mirror=mirror)
        cell = evaluate_prompt(
            self.loaded,
            data,
            num_rows=num_rows,
            allow_other_task=allow_other_task,
            reporter=reporter,
        )
        if ranks().rank == 0:
            self.loaded = keep_score(self.folder, self.loaded, data, cell)
        return cell


def new_task(
    data: str | Path,
    kind: str,
    *,
    folder: str | Path | None = None,
    name: str = "",
    text: str | Sequence[str] = (),
    label: str = "",
    question: str = "",
    options: str | Sequence[str] = (),
    test_share: float | None = None,
) -> Path:
    """Make a task folder from your own annotated data, and return it; the data is not changed.

    ``data`` is a JSON Lines, CSV, TSV or CoNLL file, or a folder, also of brat files. ``kind`` is
    ner, re, qa, nli, summarization or classification (one label for each text; its card has type
    nli). ``text`` (two for a pair of texts), ``label``, ``question`` and ``options`` name columns
    of a table; without them they are guessed. ``test_share`` is the share of the records to move to
    the test split if no file is one; without it, 0.1 to 0.4, by the number of records. Read
    the card.toml in the folder: it holds the wording that the model sees.

    Raises:
        SettingError: the kind, the name, a column or the share cannot be used, or the folder
            exists.
        DataError: the data cannot be read.
    """
    source = Path(data)
    named = NamedColumns(_names(text), label, question, _names(options))
    place = choose_folder(source, out=Path(folder) if folder else None, name=name)
    draft = draft_task(kind, source, name or place.name, named, test_share=test_share)
    write_task(draft, place)
    return place


def load_task(task: str | Path, *, mirror: str | Path | None = None) -> TaskData:
    """Return the records of a task: a name of the catalog, or a folder with a card.toml.

    ``mirror`` is the folder of public data sets (else CLINPROMPT_MIRROR, or what
    ``clinprompt tasks fetch`` downloaded). Training records that equal a test record are left out.

    Raises:
        SettingError: there is no such task.
        DataError: a file is missing, damaged or inconsistent.
    """
    return load_apart(find_card(str(task)), Path(mirror) if mirror else None)


def adapt(
    task: str | Path | TaskData,
    *,
    shots: int = SHOTS,
    metaprompt: str | Path = SHIPPED,
    factors_only: bool = False,
    force: bool = False,
    folder: str | Path | None = None,
    settings: Changes | RunConfig = (),
    reporter: Reporter | None = None,
) -> Annotator:
    """Adapt a metaprompt to a task with a few training examples; return the trained annotator.

    ``metaprompt`` is "shipped" for the one in the package, or the folder of another.
    ``factors_only`` trains P·R + R·W numbers instead of these and a copy of the shared prompt.
    With ``shots=0``, nothing is trained: the prompt is the start that the metaprompt gives.
    ``folder`` is the run's folder (default: runs/adapt-TASK); a stopped run there continues, and
    a finished one is returned at once unless ``force`` trains it again.
    ``settings`` changes settings: ``{"adapt.steps": 40}``, or strings such as "adapt.steps=40".

    Raises:
        ClinpromptError: a setting, task or folder cannot be used; the message says what to do.
    """
    _check_number("shots", shots, least=0)
    data = task if isinstance(task, TaskData) else load_task(task)
    config = adapt_config(str(metaprompt), settings)
    saved = adapt_task(
        Path(folder) if folder else Path("runs") / f"adapt-{data.card.name}",
        data,
        config,
        Adaptation(ADAPT_FACTORS if factors_only else ADAPT_ALL, shots, force),
        reporter=reporter or Silent(),
    )
    load = partial(
        load_prompt,
        saved.absolute(),
        backbone=config.backbone,
        device=config.device,
        tensor_parallel=config.tensor_parallel,
    )
    return Annotator(saved, load, data)


def audit(
    prompt: str | Path,
    task: str | Path | TaskData,
    *,
    shadows: int = SHADOWS,
    folder: str | Path | None = None,
    backbone: str = "",
    device: str = "auto",
    mirror: str | Path | None = None,
    reporter: Reporter | None = None,
) -> Audit:
    """Measure how much an adapted prompt tells about the rows that it was trained on.

    ``prompt`` is its folder, in the run that trained it, and ``task`` the task that it was trained
    for. ``shadows`` prompts are trained like it on other rows, so this takes about as many times as
    long as the adaptation. ``folder`` is the audit's folder (default: runs/audit-TASK); a stopped
    audit there continues. ``backbone``, ``device`` and ``mirror`` are as in ``Annotator``.
    docs/audit.md says what the result means, and what it does not mean.

    Raises:
        ClinpromptError: the prompt cannot be audited; the message says what to do.
    """
    data = task if isinstance(task, TaskData) else load_task(task, mirror=mirror)
    return audit_prompt(
        Path(folder) if folder else Path("runs") / f"audit-{data.card.name}",
        Path(prompt),
        data,
        Auditing(shadows, backbone, device),
        reporter=reporter or Silent(),
    )


def distill(
    config: str | Path | RunConfig,
    *,
    folder: str | Path | None = None,
    mirror: str | Path | None = None,
    settings: Changes = (),
    reporter: Reporter | None = None,
) -> Path:
    """Learn a metaprompt from the source tasks of a suite; return its folder for ``adapt``.

    ``config`` is a TOML file that names the suite. ``folder`` is the run's folder (default:
    runs/NAME); a stopped run there continues.

    Raises:
        ClinpromptError: a setting, task or folder cannot be used; the message says what to do.
    """
    if isinstance(config, RunConfig):
        if settings:
            raise SettingError("settings change a TOML file; change the RunConfig itself instead")
        checked = check_methods(config)
    else:
        checked = check_methods(load_config(Path(config), settings), source=str(config))
    place = Path(folder) if folder else Path("runs") / checked.name
    return distill_suite(
        place, checked, mirror=Path(mirror) if mirror else None, reporter=reporter or Silent()
    )


def _names(columns: str | Sequence[str]) -> tuple[str, ...]:
    return (columns,) if isinstance(columns, str) else tuple(columns)


def _as_records(notes: Notes) -> list[Record]:
    """Return notes as records; a text gets its number as its id."""
    if not isinstance(notes, Iterable) or isinstance(notes, Mapping | bytes | Set):
        raise DataError(f"notes: give a text, a Record or a list of these; got {_type_of(notes)}")
    records = []
    for number, note in enumerate(notes, start=1):
        if not isinstance(note, str | Record):
            raise DataError(
                f"note {number} is of type {_type_of(note)}; give a text or a Record, such as "
                'Record("1", {"text": "..."})'
            )
        records.append(note if isinstance(note, Record) else Record(str(number), {"text": note}))
    return records


def _type_of(value: object) -> str:
    return type(value).__name__


def _check_number(name: str, value: object, least: int = 1) -> None:
    if not isinstance(value, int) or value < least:
        raise SettingError(f"{name} = {value!r}: give a whole number of at least {least}")


def _check_replaceable(folder: Path) -> None:
    """Check that a folder is missing or empty, or holds the prompt of one task."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    is_saved = (folder / MANIFEST).is_file()
    if not is_saved or load_artifact(folder).manifest.kind == "metaprompt":
        raise ArtifactError(f"{folder}: exists and is not a saved prompt; choose a new folder")
