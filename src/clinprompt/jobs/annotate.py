"""Annotate new notes with a saved prompt. The notes stay on this machine and out of all logs."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from pydantic import ValidationError
from torch import Tensor

from clinprompt.backbone.bank import Bank, make_bank
from clinprompt.backbone.layers import prompt_width
from clinprompt.backbone.load import Backbone, check_fits, load_backbone_of
from clinprompt.batches.encode import Encoder, make_encoder
from clinprompt.errors import ArtifactError, SettingError, option
from clinprompt.evaluation.calibration import Calibration
from clinprompt.evaluation.predict import predict
from clinprompt.evaluation.questions import Prediction, PromptUse
from clinprompt.files import new_folder, write_text
from clinprompt.jobs.note_files import read_notes
from clinprompt.prompts.artifact import Artifact, Manifest, of_other_version
from clinprompt.prompts.store import open_prompt
from clinprompt.settings.groups import DataSettings
from clinprompt.tasks.card import TaskCard
from clinprompt.tasks.kinds import answer_to_json, kind_of, make_example
from clinprompt.tasks.kinds.brat_output import write_annotation_conf, write_brat
from clinprompt.tasks.records import Record, RelationsAnswer

OutputForm = Literal["jsonl", "brat"]


@dataclass(frozen=True, slots=True)
class LoadedPrompt:
    """A saved prompt with its task and backbone, ready to answer.

    If ``is_foreign``, the backbone is not the one that the prompt was trained on.
    """

    artifact: Artifact
    card: TaskCard
    data: DataSettings
    prompt: Tensor
    backbone: Backbone
    is_foreign: bool

    def encoder(self) -> Encoder:
        """Return the encoder that the prompt was trained with."""
        context = self.backbone.context - self.artifact.manifest.length
        return make_encoder(self.backbone.tokenizer, self.data, context=context)

    def bank(self) -> Bank:
        """Return the prompt as a bank, which the backbone reads with every row."""
        placement = self.artifact.manifest.placement
        with torch.inference_mode():
            return make_bank(self.backbone.model, self.prompt[None], placement)

    @property
    def calibration(self) -> Calibration | None:
        """Return the calibration that was saved with the prompt, if any."""
        manifest = self.artifact.manifest
        found = Calibration(manifest.calibration, manifest.nothing_offset)
        return found if found != Calibration() else None

    def annotate(self, records: Sequence[Record]) -> list[Prediction]:
        """Return the answers to new records."""
        bank = self.bank()
        examples = [make_example(self.card, record) for record in records]
        cards = {self.card.name: self.card}
        return predict(
            self.backbone,
            self.encoder(),
            examples,
            cards=cards,
            bank=bank,
            prompts=[PromptUse(calibration=self.calibration)] * len(examples),
        )


def check_minimum(probability: float, card: TaskCard) -> None:
    """Check that annotations of a task can be left out because of their probability.

    Raises:
        SettingError: it is not between 0 and 1, or answers of the task list nothing.
    """
    if not 0 <= probability <= 1:
        raise SettingError(
            f"{option('min-probability')} is {probability}; give a number from 0 to 1"
        )
    if probability and kind_of(card).listing is None:
        raise SettingError(
            f"{option('min-probability')} has no effect for {card.name}, whose answer is "
            f"{card.answer}: it leaves out mentions and links; remove it"
        )


def likely(prediction: Prediction, probability: float, card: TaskCard) -> Prediction:
    """Return a prediction without the mentions and links of less than a probability."""
    listing = kind_of(card).listing
    if listing is None or not probability:
        return prediction
    chosen = [one >= probability for one in prediction.probabilities]
    return replace(
        prediction,
        answer=listing.select(prediction.answer, chosen),
        probabilities=tuple(one for one in prediction.probabilities if one >= probability),
    )


def load_prompt(  # noqa: PLR0913 - the options of Annotator.load
    path: Path,
    *,
    backbone: str = "",
    device: str = "auto",
    dtype: str = "auto",
    allow_backbone: bool = False,
    free: bool = False,
    tensor_parallel: bool = False,
) -> LoadedPrompt:
    """Load a saved prompt, and the backbone that it was trained on or the one named.

    ``dtype`` is the type of its weights, as in ``load_backbone_of``. With ``free``, mentions and
    links in answers need not be words of the text. With ``tensor_parallel``, the backbone is
    divided over all processes that torchrun started.

    Raises:
        ArtifactError: the prompt is damaged, or was trained on another backbone.
        BackboneError: the backbone cannot be loaded.
        SettingError: ``dtype`` is another word, or the backbone is to be divided over processes,
            but there is one process only.
    """
    manifest = open_prompt(path)[0].manifest
    model = load_backbone_of(
        manifest, backbone, device=device, dtype=dtype, tensor_parallel=tensor_parallel
    )
    return prompt_on(model, path, allow_backbone=allow_backbone, free=free)


def prompt_on(
    backbone: Backbone, path: Path, *, allow_backbone: bool = False, free: bool = False
) -> LoadedPrompt:
    """Load a saved prompt for a backbone that is loaded already; see ``load_prompt``.

    Raises:
        ArtifactError: the prompt is damaged, or was trained on another backbone.
    """
    artifact, prompt = open_prompt(path)
    manifest = artifact.manifest
    is_foreign = backbone.fingerprint != manifest.fingerprint
    width = prompt_width(backbone.model, manifest.placement)
    if not (allow_backbone and manifest.hidden_size == width):
        check_fits(backbone, manifest)
    card, data = task_of(path, manifest)
    data = data.model_copy(update={"constrained": data.constrained and not free})
    return LoadedPrompt(artifact, card, data, prompt.to(backbone.device), backbone, is_foreign)


def task_of(path: Path, manifest: Manifest) -> tuple[TaskCard, DataSettings]:
    """Return the card of a prompt's task, and how its data was prepared.

    Raises:
        ArtifactError: the prompt was not made for one task, or by a version with other settings.
    """
    if len(manifest.tasks) != 1:
        raise ArtifactError(f"{path}: its manifest names {len(manifest.tasks)} tasks, not one")
    try:
        card = TaskCard.model_validate(manifest.tasks[0])
        data = DataSettings.model_validate(manifest.settings.get("data"))
    except ValidationError as error:
        raise of_other_version(manifest, error) from error
    return card, data


def annotate_file(
    loaded: LoadedPrompt,
    notes: Path,
    output: Path,
    *,
    form: OutputForm = "jsonl",
    min_probability: float = 0.0,
) -> int:
    """Annotate notes from files; return the number of notes.

    ``notes`` is a ``.txt`` file, a folder of them, or a JSON Lines file (see ``read_notes``). There
    a note is an object with the fields that the task's wording names (``text`` for most tasks), and
    optionally ``id`` and ``options``. The output is a JSON Lines file with one line for each note.
    For mentions and links it can also be a brat folder: two files for each note,
    ``annotation.conf``, and ``predictions.jsonl``, which names each note's files in ``file`` and
    adds what brat cannot hold.

    An existing JSON Lines file is replaced. Mentions and links of less than ``min_probability``
    are left out.

    Raises:
        SettingError: the output is the file of notes or an existing folder, or brat cannot show
            the answers of the task, or ``min_probability`` cannot be used.
        DataError: the file is missing, or a line is not such an object.
        RunError: the output cannot be written.
    """
    _check_output(loaded.card, notes, output, form)
    check_minimum(min_probability, loaded.card)
    records = list(read_notes(notes, partial(make_example, loaded.card)))
    answered = loaded.annotate(records)
    predictions = [likely(one, min_probability, loaded.card) for one in answered]
    if form == "brat":
        with new_folder(output) as folder:
            shown = [replace(p.example.record, answer=p.answer) for p in predictions]
            names = write_brat(folder, shown, [one.probabilities for one in predictions])
            are_links = kind_of(loaded.card).answer is RelationsAnswer
            write_annotation_conf(
                folder,
                shown,
                loaded.card.labels,
                are_links=are_links,
                ends=loaded.card.ends,
            )
            rows = (
                {**as_json(loaded.card, one), "file": name}
                for one, name in zip(predictions, names, strict=True)
            )
            _write_lines(folder / "predictions.jsonl", rows)
    else:
        _write_lines(output, (as_json(loaded.card, one) for one in predictions))
    return len(predictions)


def output_form(word: str) -> OutputForm:
    """Return the output format of a word.

    Raises:
        SettingError: the word is unknown.
    """
    match word:
        case "jsonl" | "brat":
            return word
    raise SettingError(f"no output format {word!r}; known: {', '.join(get_args(OutputForm))}")


def _check_output(card: TaskCard, notes: Path, output: Path, form: OutputForm) -> None:
    """Check that the answers can be written, before anything is read."""
    if output.resolve() == notes.resolve():
        raise SettingError(f"{output}: is the file of notes itself; name another output")
    if form == "jsonl" and output.is_dir():
        raise SettingError(
            f"{output}: is a folder; name a file, such as {output / 'answers.jsonl'}"
            + (", or give --format brat" if kind_of(card).listing else "")
        )
    if form == "brat" and output.exists():
        raise SettingError(f"{output}: exists; name a new folder")
    if form == "brat" and kind_of(card).listing is None:
        raise SettingError(
            f"{card.name}: its answer is {card.answer}, and brat shows spans and relations only; "
            "leave --format out"
        )


def _write_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def as_json(card: TaskCard, prediction: Prediction) -> dict[str, Any]:
    """Return an answer as plain JSON values; spans have character offsets and their text.

    Mentions, links and labels have the probability that the model gives them, rounded to four
    significant digits.
    """
    record, answer = prediction.example.record, prediction.answer
    row: dict[str, Any] = {"id": record.id, "task": prediction.example.task}
    row |= _with_probabilities(card, answer_to_json(card, record, answer), prediction.probabilities)
    if prediction.input_was_cut:
        row["input_was_cut"] = True
    return row


def _with_probabilities(
    card: TaskCard, shown: Mapping[str, Any], probabilities: Sequence[float]
) -> dict[str, Any]:
    """Return an answer in JSON form with the probability of its label or of each annotation."""
    rounded = [{"probability": float(f"{one:.4g}")} for one in probabilities]
    if not rounded:
        return dict(shown)
    listing = kind_of(card).listing
    if listing is None:
        return {**shown, **rounded[0]}
    items = zip(shown[listing.name], rounded, strict=True)
    return {**shown, listing.name: [{**item, **one} for item, one in items]}
