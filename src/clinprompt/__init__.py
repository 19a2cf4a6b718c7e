"""One frozen language model, one learned metaprompt, every clinical NLP task.

The public names below are loaded when they are first used, so ``import clinprompt`` is instant.
Everything else in the package is internal and may change without notice. docs/python.md shows how
to use them.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from clinprompt.version import __version__ as __version__

if TYPE_CHECKING:
    from clinprompt.api import Annotation, Annotator, adapt, audit, distill, load_task, new_task
    from clinprompt.backbone.load import Backbone, load_backbone
    from clinprompt.errors import (
        ArtifactError,
        BackboneError,
        ClinpromptError,
        DataError,
        RunError,
        SettingError,
    )
    from clinprompt.tasks.load import TaskData
    from clinprompt.tasks.records import (
        LabelAnswer,
        Record,
        Relation,
        RelationsAnswer,
        Span,
        SpansAnswer,
        TextAnswer,
        Unparseable,
    )

__all__ = [
    "Annotation",
    "Annotator",
    "ArtifactError",
    "Backbone",
    "BackboneError",
    "ClinpromptError",
    "DataError",
    "LabelAnswer",
    "Record",
    "Relation",
    "RelationsAnswer",
    "RunError",
    "SettingError",
    "Span",
    "SpansAnswer",
    "TaskData",
    "TextAnswer",
    "Unparseable",
    "adapt",
    "audit",
    "distill",
    "load_backbone",
    "load_task",
    "new_task",
]

_HOMES = {
    "clinprompt.api": (
        "Annotation",
        "Annotator",
        "adapt",
        "audit",
        "distill",
        "load_task",
        "new_task",
    ),
    "clinprompt.backbone.load": ("Backbone", "load_backbone"),
    "clinprompt.errors": (
        "ArtifactError",
        "BackboneError",
        "ClinpromptError",
        "DataError",
        "RunError",
        "SettingError",
    ),
    "clinprompt.tasks.load": ("TaskData",),
    "clinprompt.tasks.records": (
        "LabelAnswer",
        "Record",
        "Relation",
        "RelationsAnswer",
        "Span",
        "SpansAnswer",
        "TextAnswer",
        "Unparseable",
    ),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> object:
    """Load a public name when it is first used."""
    if name not in _HOME_OF:
        raise AttributeError(f"module 'clinprompt' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_HOME_OF[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
