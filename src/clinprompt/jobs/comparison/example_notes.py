"""Annotate one test note of each target of a comparison with the prompts that it trained."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from clinprompt.evaluation.cells import cell_name, shots_order
from clinprompt.evaluation.questions import Prediction
from clinprompt.jobs.annotate import prompt_on
from clinprompt.jobs.comparison.grid import chosen_targets
from clinprompt.methods.table import ADAPT_ALL
from clinprompt.runs.examples import examples_of, max_test_rows
from clinprompt.runs.suite_data import SuiteData, cards_of, load_suite
from clinprompt.runs.workspace import load_run_backbone
from clinprompt.settings.run import RunConfig
from clinprompt.tasks.card import TaskCard
from clinprompt.tasks.kinds import kind_of
from clinprompt.tasks.load import TaskData
from clinprompt.tasks.records import Record
from clinprompt.tasks.suite import find_suite


@dataclass(frozen=True, slots=True)
class ExampleNote:
    """A test note with its correct answer (``prediction.example``) and that of a method."""

    card: TaskCard
    method: str
    prediction: Prediction


def example_notes(folder: Path, config: RunConfig) -> Iterator[ExampleNote]:
    """Yield one annotated test note of each target, from the metaprompts adapted to them.

    The note is the first test row whose correct answer is not empty, whatever the prompt says
    of it. The prompts are those that a comparison saved, of the first seed with the most shots.

    Raises:
        ArtifactError: the comparison has not saved a prompt of this method.
    """
    suite = _targets(config)
    backbone = load_run_backbone(folder, config)
    shots, seed = max(config.compare.shots, key=shots_order), config.compare.seeds[0]
    for data in suite.targets:
        place = folder / "store" / cell_name(data.card.name, ADAPT_ALL, shots, seed)
        loaded = prompt_on(backbone, place)
        [prediction] = loaded.annotate([_first_note(config, data)])
        yield ExampleNote(data.card, ADAPT_ALL, prediction)


def _targets(config: RunConfig) -> SuiteData:
    chosen = chosen_targets(config.compare, tuple(cards_of(find_suite(config.suite).targets)))
    return load_suite(config.suite, config.data, None, with_sources=False, targets=chosen)


def _first_note(config: RunConfig, data: TaskData) -> Record:
    limit, empty = max_test_rows(config.data, data.card), kind_of(data.card).empty
    records = [
        example.record for example in examples_of(data, "test", limit=limit, seed=config.seed)
    ]
    return next((record for record in records if record.answer != empty), records[0])
