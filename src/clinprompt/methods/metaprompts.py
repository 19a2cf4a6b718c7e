"""Find a metaprompt that is there already: shipped with the package, or saved by a run."""

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from clinprompt.errors import ArtifactError, SettingError
from clinprompt.prompts.artifact import Artifact, load_artifact
from clinprompt.runs.run import plain_name
from clinprompt.settings.groups import DEFAULT_BACKBONE, SHIPPED, Routing
from clinprompt.settings.run import RunConfig
from clinprompt.tasks.card import TaskCard

SHAPE = ("length", "rank", "segment", "placement")


def find_metaprompt(name: str, backbone: str = DEFAULT_BACKBONE) -> Artifact:
    """Return the metaprompt in a folder or, for ``shipped``, the package's own for a backbone.

    Raises:
        ArtifactError: there is none, it is damaged, or it is the prompt of a single task.
    """
    path = Path(name)
    if name == SHIPPED:
        shipped = Path(str(files("clinprompt.prompts"))) / "shipped"
        path = shipped / backbone
        if not path.is_dir():
            known = ", ".join(sorted(one.name for one in shipped.iterdir())) or "none"
            raise ArtifactError(
                f"no metaprompt is shipped for backbone {backbone} (for: {known}); distill one "
                "with 'clinprompt distill' and name its folder"
            )
    artifact = load_artifact(path)
    if artifact.manifest.kind != "metaprompt":
        raise ArtifactError(
            f"{path}: a {artifact.manifest.kind}, not a metaprompt; give the folder that "
            "'clinprompt distill' printed"
        )
    return artifact


def shaped(config: RunConfig, backbone: str, variant: str = "") -> RunConfig:
    """Return the settings of a variant on a backbone; a metaprompt that is there gives its shape.

    Raises:
        ArtifactError: what is named as metaprompt is none, or none for this backbone.
        SettingError: a setting asks for another shape.
    """
    own = config.varied(variant) if variant else config
    own = own.model_copy(update={"backbone": backbone})
    if not own.metaprompt:
        return own
    fitting = with_shape(own, find_metaprompt(own.metaprompt, plain_name(backbone)))
    told = set(config.variants[variant].get("prompt", {})) if variant else set()
    if config.metaprompt:  # else the plain settings are those of a prompt to be distilled
        told |= config.prompt.model_fields_set
    for name in told.intersection(SHAPE):
        value, fits = getattr(own.prompt, name), getattr(fitting.prompt, name)
        if value != fits:
            raise SettingError(
                f"prompt.{name} = {value}, but the metaprompt {own.metaprompt} has {fits}; leave "
                "the setting out"
            )
    return fitting


_OF_TEACHERS = {"backbone", "dtype", "device", "seed", "data", "prompt", "teacher"}
_OF_STUDENTS = {"rank", "segment"}  # settings of prompts that no teacher has


def same_teachers(one: RunConfig, other: RunConfig) -> bool:
    """Tell whether two runs train the same prompt for each source that both have."""
    first, second = (
        config.model_dump(
            include=_OF_TEACHERS, exclude={"prompt": _OF_STUDENTS, "teacher": {"together"}}
        )
        for config in (one, other)
    )
    return first == second


def same_metaprompt(one: RunConfig, other: RunConfig) -> bool:
    """Tell whether two runs distill, or are given, the same metaprompt."""
    names = ("metaprompt", "suite", "distill")
    alike = all(getattr(one, name) == getattr(other, name) for name in names)
    return alike and one.prompt == other.prompt and same_teachers(one, other)


def with_shape(config: RunConfig, metaprompt: Artifact) -> RunConfig:
    """Return the settings with the metaprompt's own length, rank, segment and placement."""
    shape = {name: getattr(metaprompt.manifest, name) for name in SHAPE}
    return config.model_copy(update={"prompt": config.prompt.model_copy(update=shape)})


def check_start(metaprompt: Artifact, targets: Sequence[TaskCard], routing: Routing) -> None:
    """Check that a metaprompt can be adapted to every target, and has seen none of them.

    Raises:
        ArtifactError: a target is one of its sources.
        SettingError: ``type`` where no source has the type of a target.
    """
    check_unseen(metaprompt, tuple(card.name for card in targets))
    types = {str(task["type"]) for task in metaprompt.manifest.tasks}
    if lone := [card for card in targets if routing == "type" and card.type not in types]:
        raise SettingError(
            f"adapt.routing = 'type', but no source of the metaprompt has the type of target "
            f"{lone[0].name} ({lone[0].type}); use 'all' or 'nearest'"
        )


def check_unseen(metaprompt: Artifact, targets: tuple[str, ...]) -> None:
    """Check that a metaprompt was not trained on what it is compared on.

    Raises:
        ArtifactError: a target is one of its sources.
    """
    sources = {str(task["name"]) for task in metaprompt.manifest.tasks}
    if seen := sorted(sources & set(targets)):
        raise ArtifactError(
            f"metaprompt {metaprompt.manifest.content_hash[:16]} was trained on {seen[0]}, so its "
            "score there would mean nothing; leave that target out (compare.targets)"
        )
