"""Find a saved metaprompt, shipped with the package or saved by a run, and check its use."""

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from clinprompt.errors import ArtifactError, SettingError
from clinprompt.prompts.artifact import Artifact, load_artifact
from clinprompt.settings.defaults import DEFAULT_BACKBONE, SHIPPED
from clinprompt.settings.groups import Routing
from clinprompt.settings.local_names import plain_name
from clinprompt.tasks.card import TaskCard


def find_metaprompt(name: str, backbone: str = DEFAULT_BACKBONE) -> Artifact:
    """Return the metaprompt in a folder or, for ``shipped``, the package's own for a backbone.

    A backbone in a local folder has the name of the folder.

    Raises:
        ArtifactError: there is none, it is damaged, or it is the prompt of a single task.
    """
    path = Path(name)
    if name == SHIPPED:
        shipped, plain = Path(str(files("clinprompt.prompts"))) / "shipped", plain_name(backbone)
        path = shipped / plain
        if not path.is_dir():
            known = ", ".join(sorted(one.name for one in shipped.iterdir())) or "none"
            raise ArtifactError(
                f"no metaprompt is shipped for backbone {plain} (for: {known}); distill one "
                "with 'clinprompt distill' and name its folder"
            )
    artifact = load_artifact(path)
    if artifact.manifest.kind != "metaprompt":
        raise ArtifactError(
            f"{path}: a {artifact.manifest.kind}, not a metaprompt; give the folder that "
            "'clinprompt distill' printed"
        )
    return artifact


def check_start(metaprompt: Artifact, targets: Sequence[TaskCard], routing: Routing) -> None:
    """Check that a metaprompt can be adapted to every target, and was trained on none of them.

    Raises:
        ArtifactError: a target is one of its sources.
        SettingError: routing is ``type`` and no source has the type of a target.
    """
    check_unseen(metaprompt, tuple(card.name for card in targets))
    for card in targets:
        check_routing(metaprompt, card, routing)


def check_routing(metaprompt: Artifact, card: TaskCard, routing: Routing) -> None:
    """Check that a metaprompt has the factors that a task starts from.

    Raises:
        SettingError: routing is ``type`` and no source has the task's type.
    """
    if routing == "type" and all(task["type"] != card.type for task in metaprompt.manifest.tasks):
        raise SettingError(
            f"adapt.routing = 'type', but no source of the metaprompt has the type of {card.name} "
            f"({card.type}); use 'all' or 'nearest'"
        )


def check_unseen(metaprompt: Artifact, targets: tuple[str, ...]) -> None:
    """Check that a metaprompt was not trained on a task that it is compared on.

    Raises:
        ArtifactError: a target is one of its sources.
    """
    sources = {str(task["name"]) for task in metaprompt.manifest.tasks}
    if seen := sorted(sources & set(targets)):
        raise ArtifactError(
            f"metaprompt {metaprompt.manifest.content_hash[:16]} was trained on {seen[0]}, so its "
            "score there would mean nothing; leave that target out (compare.targets)"
        )
