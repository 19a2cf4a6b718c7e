"""Write the test rows of a task for lm-evaluation-harness: a YAML file and one of JSON Lines.

Knows nothing of lm_eval except the form of its files.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clinprompt.batches.encode import Encoder
from clinprompt.batches.input_form import InputForm
from clinprompt.batches.parts import parts_of
from clinprompt.errors import SettingError
from clinprompt.evaluation.questions import unanswered
from clinprompt.files import write_text
from clinprompt.jobs.annotate import LoadedPrompt
from clinprompt.jobs.evaluate import rows_of_test
from clinprompt.tasks.card import TaskCard
from clinprompt.tasks.load import TaskData
from clinprompt.tasks.records import Example

# The rows are read by a function of ours, because lm_eval would copy them into a cache.
_YAML = """\
task: {task}
custom_dataset: !function clinprompt.jobs.lm_eval.task_files.exported_rows
dataset_kwargs: {{"file": {file}}}
output_type: multiple_choice
test_split: test
doc_to_text: input
doc_to_choice: choices
doc_to_target: target
num_fewshot: 0
metric_list:
  - {{"metric": "acc", "aggregation": "mean", "higher_is_better": true}}
metadata: {{"version": 1.0}}
"""


@dataclass(frozen=True, slots=True)
class ExportedTask:
    """The name of a task in lm_eval, the number of its rows, and of those that ``evaluate`` cuts.

    lm_eval reads such rows as a whole.
    """

    name: str
    num_rows: int
    num_cut: int


def export_task(
    loaded: LoadedPrompt, data: TaskData, folder: Path, *, num_rows: int
) -> ExportedTask:
    """Write the rows that ``evaluate`` scores, as the prompt's backbone reads them.

    The files hold the texts of the test records, and only their owner can read them.

    Raises:
        RunError: the folder cannot be written.
        SettingError: the answers of the task are not closed choices; or as in ``evaluate_prompt``.
    """
    card, encoder = data.card, loaded.encoder()
    _, examples = rows_of_test(loaded, data, num_rows=num_rows)
    if not all(example.choices for example in examples):
        raise SettingError(
            f"{card.name}: its answer is {card.answer}, and lm_eval can score only choices as "
            "clinprompt does; use clinprompt evaluate"
        )
    rows = [_row(card, example, encoder) for example in examples]
    name = f"clinprompt-{card.name}"
    table = (folder / f"{name}.jsonl").absolute()
    lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    write_text(table, "".join(lines), is_private=True)
    words = {"task": json.dumps(name), "file": json.dumps(str(table))}
    write_text(folder / f"{name}.yaml", _YAML.format(**words))
    return ExportedTask(name, len(rows), sum(row["evaluate_cuts"] for row in rows))


def exported_rows(file: str, **_: object) -> dict[str, Any]:
    """Return the rows of an exported task, as lm_eval wants them."""
    from datasets import Dataset  # noqa: PLC0415 - comes with lm_eval

    with Path(file).open(encoding="utf-8", newline="\n") as stream:
        return {"test": Dataset.from_list([json.loads(line) for line in stream])}


def _row(card: TaskCard, example: Example, encoder: Encoder) -> dict[str, Any]:
    """Return the row of an example: the text that the model reads, without a chat template."""
    [part] = parts_of(card, unanswered(example), encoder).examples
    form = InputForm(encoder.form.instruction)
    return {
        "id": example.record.id,
        "input": form.shown(part).input,
        "choices": part.choices,
        "target": part.choices.index(example.target or ""),
        "evaluate_cuts": encoder.encode(part).input_was_cut and not part.is_shortened,
    }
