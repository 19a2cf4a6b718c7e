"""Parse the tasks of a Label Studio export, JSON or JSON-MIN. Knows nothing of records or cards.

An export is an array of tasks. In JSON, a task has ``data`` and ``annotations``, each a list of
results. In JSON-MIN, a task is one annotation: an object with the data and, under the name of each
control, what was annotated with it; relations are left out there.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count

from clinprompt.errors import DataError
from clinprompt.tasks.readers.generic.data_files import DataFile
from clinprompt.tasks.readers.generic.json_tables import items, load_list, table
from clinprompt.tasks.readers.generic.offsets import WrittenSpan
from clinprompt.tasks.records import Span

UNNAMED_LINK = "related"
_IS_SPAN = frozenset({"start", "end"})


@dataclass(frozen=True, slots=True)
class Region:
    """A marked part of a text, by its key; ``control`` is the name of the tool in the interface."""

    key: str
    control: str
    span: WrittenSpan


@dataclass(frozen=True, slots=True)
class Link:
    """A link between two regions, given by the ids of their results."""

    type: str
    head: str
    tail: str


@dataclass(frozen=True, slots=True)
class Task:
    """What one annotator said about one task.

    ``values`` are the data and, by the name of their control, single choices and texts. ``keys``
    maps the id of a result to the key of its region. ``written`` are the texts that were written
    into text areas, one each, by the name of their control. ``unread`` counts the results of kinds
    that are not read; text areas are among them, as only readers that ask for one read it.
    """

    name: str
    values: Mapping[str, object]
    choices: tuple[str, ...] = ()
    regions: tuple[Region, ...] = ()
    keys: Mapping[str, str] = field(default_factory=dict)
    links: tuple[Link, ...] = ()
    unread: Counter[str] = field(default_factory=Counter)
    written: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Export:
    """The annotated tasks of a file.

    ``num_unannotated`` tasks have no annotation that is not cancelled; of ``num_several`` tasks
    with several annotations, the first that is not cancelled is kept.
    """

    tasks: tuple[Task, ...]
    num_unannotated: int
    num_several: int


def load_export(file: DataFile) -> Export:
    """Parse an export.

    Raises:
        DataError: the file is no export of Label Studio, or a result is damaged.
    """
    found: dict[str, Task | None] = {}
    several = 0
    for number, value in enumerate(load_list(file), start=1):
        with file.errors_at():
            task = table(value, f"task {number}")
            name = f"task {task.get('id', number)}"
            if isinstance(task.get("data"), dict) and "annotations" in task:
                kept = [table(one, name) for one in items(task, "annotations", name)]
                kept = [one for one in kept if not one.get("was_cancelled")]
                several += len(kept) > 1
                key = f"{number}"
                found[key] = _full(task, kept[0], name) if kept else None
            elif "annotation_id" in task:
                several += name in found
                found.setdefault(name, _minimal(task, name))
            else:
                raise DataError(
                    f"{name}: neither data and annotations (JSON) nor annotation_id (JSON-MIN); "
                    "give an export of Label Studio, or JSON Lines"
                )
    tasks = tuple(task for task in found.values() if task)
    return Export(tasks, len(found) - len(tasks), several)


def _full(task: Mapping[str, object], annotation: Mapping[str, object], name: str) -> Task:
    values = {"id": task.get("id"), **table(task["data"], name)}
    regions: list[Region] = []
    links: list[Link] = []
    choices: list[str] = []
    keys: dict[str, str] = {}
    unread = Counter[str]()
    written: dict[str, str] = {}
    for one in items(annotation, "result", name):
        result = table(one, name)
        value = result.get("value")
        match result.get("type"):
            case "labels":
                taken = {region.key for region in regions}
                made = tuple(_regions(table(value, name), result, name, taken))
                regions += made
                keys |= {str(result.get("id")): region.key for region in made[:1]}
            case "relation":
                links += _links(result)
            case "choices" if not _IS_SPAN & table(value, name).keys():
                control = str(result.get("from_name"))
                values[control] = _single(table(value, name), control, name)
                choices.append(control)
            case kind:
                unread[str(kind)] += 1
                written |= _written(result) if kind == "textarea" else {}
    return Task(name, values, tuple(choices), tuple(regions), keys, tuple(links), unread, written)


def _written(result: Mapping[str, object]) -> dict[str, str]:
    """Return the text of a text area by the name of its control, if there is just one."""
    match result.get("value"):
        case {"text": str(text) | [str(text)], **others} if not _IS_SPAN & others.keys():
            return {str(result.get("from_name")): text}
    return {}


def _minimal(task: Mapping[str, object], name: str) -> Task:
    values: dict[str, object] = {}
    regions: list[Region] = []
    choices: list[str] = []
    for control, value in task.items():
        match value:
            case [{"start": _, "end": _}, *_]:
                for number, one in enumerate(value):
                    place = {"id": f"{control}{number}", "from_name": control}
                    regions += _regions(table(one, name), place, name, set())
            case {"choices": [*_]}:
                values[control] = _single(table(value, name), control, name)
                choices.append(control)
            case _:
                values[control] = value
    return Task(name, values, tuple(choices), tuple(regions))


def _regions(
    value: Mapping[str, object], result: Mapping[str, object], name: str, taken: Collection[str]
) -> Iterator[Region]:
    """Yield one region for each label of a marked part, with a key that is not ``taken``."""
    start, end, labels = value.get("start"), value.get("end"), value.get("labels")
    if type(start) is not int or type(end) is not int:
        raise DataError(f"{name}: a span needs whole numbers for start and end; mark plain text")
    if not isinstance(labels, list) or not labels or not all(isinstance(x, str) for x in labels):
        raise DataError(f"{name}: the span {start}-{end} needs a list of labels; label it")
    shown = value.get("text")
    for label in labels:
        span = WrittenSpan(Span(start, end, label), shown if isinstance(shown, str) else None)
        keys = (f"{result.get('id')}:{label}{':' * again}" for again in count())
        key = next(key for key in keys if key not in taken)
        yield Region(key, str(result.get("from_name")), span)


def _links(result: Mapping[str, object]) -> Iterator[Link]:
    ends = [str(result.get("from_id")), str(result.get("to_id"))]
    head, tail = ends[::-1] if result.get("direction") == "left" else ends
    labels = result.get("labels") or [UNNAMED_LINK]
    for label in labels if isinstance(labels, list) else [labels]:
        yield Link(str(label), head, tail)


def _single(value: Mapping[str, object], control: str, name: str) -> str:
    choices = value.get("choices")
    if isinstance(choices, list) and len(choices) == 1 and isinstance(choices[0], str):
        return choices[0]
    raise DataError(f"{name}: {control} must have one choice; a task with several is not supported")
