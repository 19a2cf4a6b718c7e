"""Find a metaprompt that is there already: shipped with the package, or saved by a run."""

from importlib.resources import files
from pathlib import Path

from clinprompt.config import RunConfig
from clinprompt.errors import ArtifactError, SettingError
from clinprompt.prompts.artifact import Artifact, load_artifact
from clinprompt.recipes.context import plain_name
from clinprompt.settings import DEFAULT_BACKBONE, SHIPPED, PromptSettings

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
    plain, given, default = config.prompt, own.prompt, PromptSettings()
    for name in SHAPE:
        value, fits = getattr(given, name), getattr(fitting.prompt, name)
        is_told = given != plain or name in plain.model_fields_set
        if is_told and value not in (fits, getattr(default, name)):
            raise SettingError(
                f"prompt.{name}: the metaprompt {own.metaprompt} has {fits}; leave the setting out"
            )
    return fitting


def with_shape(config: RunConfig, metaprompt: Artifact) -> RunConfig:
    """Return the settings with the metaprompt's own length, rank, segment and placement."""
    shape = {name: getattr(metaprompt.manifest, name) for name in SHAPE}
    return config.model_copy(update={"prompt": config.prompt.model_copy(update=shape)})


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
