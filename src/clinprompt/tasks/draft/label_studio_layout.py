"""Detect what an export of Label Studio holds: spans, relations or single choices."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import chain

from clinprompt.errors import DataError, option
from clinprompt.tasks.card import TaskType
from clinprompt.tasks.card_parts import Split
from clinprompt.tasks.draft.column_search import Values, are_closed, has_usual
from clinprompt.tasks.draft.columns import NamedColumns, assign_columns, assign_text
from clinprompt.tasks.draft.detected import DetectedReader, of_columns
from clinprompt.tasks.readers.generic.data_files import DataFile
from clinprompt.tasks.readers.generic.label_studio_tasks import Task, load_export

_READER = "label_studio"
_Tasks = Mapping[Split, tuple[Task, ...]]


def detect_label_studio(
    type_: TaskType,
    files: Mapping[Split, Sequence[DataFile]],
    named: NamedColumns,
    place: str,
) -> DetectedReader:
    """Detect the settings of the reader for a task of a type; errors name ``place``.

    Raises:
        DataError: a file is no export of Label Studio, or holds nothing that the type needs.
        SettingError: a column that the user named is missing.
    """
    tasks = {
        split: tuple(chain.from_iterable(load_export(file).tasks for file in own))
        for split, own in files.items()
    }
    every = tuple(chain.from_iterable(tasks.values()))
    has_links = any(task.links for task in every)
    if type_ == "ner" or (type_ == "re" and has_links):
        return _annotated(tasks, named, place, answer_links=type_ == "re")
    is_label = type_ == "nli" or (type_ == "re" and not any(task.regions for task in every))
    label = named.label or (_plain_choice(every, named) if is_label else "")
    if type_ == "re" and not label and not any(task.choices for task in every):
        raise DataError(
            f"{place}: has no relations and no choices; export as JSON, as JSON-MIN leaves out "
            "relations"
        )
    return _labelled(type_, tasks, replace(named, label=label), place)


def _annotated(
    tasks: _Tasks, named: NamedColumns, place: str, *, answer_links: bool
) -> DetectedReader:
    """Return the reader of spans or of their relations; a named label is a control of spans."""
    controls = dict.fromkeys(
        region.control for own in tasks.values() for task in own for region in task.regions
    )
    if named.label and named.label not in controls:
        known = ", ".join(controls) or "none"
        raise DataError(f"{place}: no spans under {named.label!r}; controls with spans: {known}")
    roles = assign_text(_rows(tasks), _alone(tasks, replace(named, label="")), place)
    answer = "relations" if answer_links else "entities"
    settings = {"name": _READER, "view": {"answer": answer}}
    if named.label:
        settings["controls"] = (named.label,)
    note = f"spans: controls {named.label or ', '.join(controls) or 'none'}"
    kind = replace(roles, answer="relations" if answer_links else "spans")
    return of_columns(settings, kind, (note,))


def _labelled(type_: TaskType, tasks: _Tasks, named: NamedColumns, place: str) -> DetectedReader:
    """Return the reader of choices, or of a text that JSON-MIN has in a column."""
    choices = dict.fromkeys(
        control for own in tasks.values() for task in own for control in task.choices
    )
    label = named.label
    if not label and len(choices) > 1:
        raise DataError(
            f"{place}: has choices under several names, {', '.join(choices)}; name one with "
            f"{option('label COLUMN')}"
        )
    label = label or next(iter(choices), "")
    rows = _rows(tasks, label)
    if type_ in ("nli", "re"):
        named = _alone(tasks, named, taken={*choices, label})
    return of_columns(
        {"name": _READER}, assign_columns(type_, rows, replace(named, label=label), place)
    )


def _plain_choice(tasks: Sequence[Task], named: NamedColumns) -> str:
    """Return the column with the choices of JSON-MIN, which are plain texts there.

    It is the only one with few values, or the only one of these with a usual name for a label.
    Returns "" if several or none could be it, or if the export is no JSON-MIN, or marks choices.
    """
    if any(task.choices or "annotation_id" not in task.values for task in tasks):
        return ""
    names = dict.fromkeys(name for task in tasks for name in task.values)
    closed = [
        name
        for name in names
        if name not in (*_META, *named.text) and _are_choices([t.values.get(name) for t in tasks])
    ]
    fitting = [name for name in closed if has_usual("label", (name,))] or closed
    return fitting[0] if len(fitting) == 1 else ""


def _are_choices(values: Sequence[object]) -> bool:
    """Return whether the values, where there are any, are few different texts."""
    present = [value for value in values if value is not None]
    texts = {value for value in present if isinstance(value, str)}
    is_text = all(isinstance(value, str) for value in present)
    return is_text and len(texts) > 1 and are_closed(texts, len(present))


def _rows(tasks: _Tasks, label: str = "") -> Mapping[Split, tuple[Values, ...]]:
    """Return the values of each task that has one for ``label``."""
    return {
        split: tuple(task.values for task in own if not label or task.values.get(label) is not None)
        for split, own in tasks.items()
    }


def _alone(
    tasks: _Tasks, named: NamedColumns, taken: frozenset[str] | set[str] = frozenset()
) -> NamedColumns:
    """Return the names with the column of the text if only one can be it."""
    if named.text:
        return named
    every = [task.values for own in tasks.values() for task in own]
    names = {name for values in every for name in values} - taken
    if has_usual("second", names):
        return named
    usual = [name for name in names if has_usual("text", (name,))]
    texts = usual or [
        name
        for name in sorted(names)
        if all(isinstance(values.get(name), str) for values in every) and name not in _META
    ]
    return replace(named, text=(texts[0],)) if len(texts) == 1 else named


_META = frozenset({"annotation_id", "annotator", "created_at", "id", "lead_time", "updated_at"})
