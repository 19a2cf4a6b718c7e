"""Load all prompts of a store onto one backbone, by the names that requests use.

A table never changes. To add, replace or remove tasks, load a new table; rows that were asked with
the old one keep its prompts.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from clinprompt.backbone.bank import Bank, make_bank
from clinprompt.backbone.load import Backbone, load_backbone_of
from clinprompt.batches.encode import Encoder
from clinprompt.errors import ArtifactError, SettingError, did_you_mean
from clinprompt.evaluation.questions import PromptUse, Question, questions
from clinprompt.jobs.annotate import LoadedPrompt, prompt_on
from clinprompt.prompts.find_prompt import MANIFEST
from clinprompt.prompts.store import Store, open_prompt
from clinprompt.settings.groups import Placement
from clinprompt.tasks.kinds import make_example
from clinprompt.tasks.records import Record


@dataclass(frozen=True, slots=True)
class ServedTask:
    """One task of a store, ready to be asked. ``use`` says which prompt of ``bank`` is its own."""

    name: str
    loaded: LoadedPrompt
    encoder: Encoder
    bank: Bank
    use: PromptUse

    def question(self, record: Record) -> Question:
        """Return the question of a record.

        Raises:
            DataError: the record lacks a field that the task reads.
            SettingError: the record is longer than the backbone supports.
        """
        card = self.loaded.card
        [asked] = questions(
            self.loaded.backbone,
            self.encoder,
            [make_example(card, record)],
            cards={card.name: card},
            bank=self.bank,
            prompts=[self.use],
        )
        return asked


class TaskTable:
    """The tasks of a store by name."""

    def __init__(self, tasks: Sequence[ServedTask]) -> None:
        self._tasks = {task.name: task for task in tasks}

    def __iter__(self) -> Iterator[ServedTask]:
        return iter(self._tasks.values())

    @property
    def names(self) -> list[str]:
        """Return the names of all tasks."""
        return list(self._tasks)

    def __contains__(self, name: str) -> bool:
        return name in self._tasks

    def __getitem__(self, name: str) -> ServedTask:
        """Return a task by name.

        Raises:
            SettingError: no task has this name.
        """
        if name not in self._tasks:
            raise SettingError(f"no task {name!r}; {did_you_mean(name, self._tasks)}")
        return self._tasks[name]


def load_tasks(
    backbone: Backbone,
    folder: Path,
    names: Sequence[str] = (),
    *,
    allow_backbone: bool = False,
    free: bool = False,
    may_be_empty: bool = False,
) -> TaskTable:
    """Return the tasks of a store, or of the folder of one saved prompt.

    ``names`` are the tasks to load, in order; without them, all. With ``allow_backbone``, prompts
    may be of another backbone of the same size. With ``free``, mentions and links in answers need
    not be words of the text. A store that ``may_be_empty`` may also be missing.

    Raises:
        ArtifactError: there is no prompt, or one is damaged or was trained on another backbone.
        SettingError: no task has one of the names.
    """
    if may_be_empty and not _prompts_in(folder):
        return TaskTable(())
    loaded = {
        name: prompt_on(backbone, path, allow_backbone=allow_backbone, free=free)
        for name, path in prompt_folders(folder, names).items()
    }
    banks = _banks(loaded)
    return TaskTable([_served(name, loaded, banks) for name in loaded])


def load_backbone_for(
    folder: Path,
    backbone: str = "",
    *,
    device: str = "auto",
    dtype: str = "auto",
    names: Sequence[str] = (),
) -> Backbone:
    """Return the backbone of the first prompt of a store, or another copy of it by name.

    ``dtype`` is as in ``load_backbone_of``, ``names`` as in ``load_tasks``.

    Raises:
        ArtifactError: there is no prompt in the folder.
        BackboneError: the backbone cannot be loaded.
        SettingError: there is no such type.
    """
    first = next(iter(prompt_folders(folder, names).values()))
    manifest = open_prompt(first)[0].manifest
    return load_backbone_of(manifest, backbone, device=device, dtype=dtype)


def prompt_folders(folder: Path, names: Sequence[str]) -> dict[str, Path]:
    """Return the folder of each task's prompt, by the name that requests use.

    ``names`` are the tasks to return, in order; if there are none, all.

    Raises:
        ArtifactError: there is no prompt of a task.
        SettingError: no task has one of the names, or one is given twice.
    """
    found = _all_prompt_folders(folder)
    if unknown := [name for name in names if name not in found]:
        raise SettingError(f"{folder}: no task {unknown[0]!r}; {did_you_mean(unknown[0], found)}")
    if twice := [name for name in names if names.count(name) > 1]:
        raise SettingError(f"task {twice[0]!r} is given twice; give it once")
    return {name: found[name] for name in names or found}


def _all_prompt_folders(folder: Path) -> dict[str, Path]:
    if (folder / MANIFEST).is_file():
        return {folder.resolve().name: folder}
    if not folder.is_dir():
        raise ArtifactError(f"{folder}: no such folder; name a store, such as runs/NAME/store")
    found = _prompts_in(folder)
    if not found:
        raise ArtifactError(
            f"{folder}: holds no prompt of a task; name a store with adapted prompts"
        )
    return found


def _prompts_in(folder: Path) -> dict[str, Path]:
    """Return the folder of each task's prompt in a store; none if it is missing."""
    store = Store(folder)
    kinds = {name: store.manifest(name).kind for name in store.names()}
    return {name: folder / name for name, kind in kinds.items() if kind != "metaprompt"}


_Group = tuple[Placement, int]


def _group_of(loaded: LoadedPrompt) -> _Group:
    return loaded.artifact.manifest.placement, loaded.artifact.manifest.length


def _banks(loaded: Mapping[str, LoadedPrompt]) -> dict[_Group, Bank]:
    """Return a bank for each placement and length: its tasks are read in one pass."""
    prompts: dict[_Group, list[Tensor]] = {}
    for one in loaded.values():
        prompts.setdefault(_group_of(one), []).append(one.prompt)
    model = next(iter(loaded.values())).backbone.model
    with torch.inference_mode():
        return {
            (placement, length): make_bank(model, torch.stack(own), placement)
            for (placement, length), own in prompts.items()
        }


def _served(
    name: str, loaded: Mapping[str, LoadedPrompt], banks: Mapping[_Group, Bank]
) -> ServedTask:
    one, group = loaded[name], _group_of(loaded[name])
    number = [other for other, it in loaded.items() if _group_of(it) == group].index(name)
    use = PromptUse(number, one.calibration)
    return ServedTask(name, one, one.encoder(), banks[group], use)
