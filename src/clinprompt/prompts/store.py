"""A folder of saved prompts. It has each metaprompt once; factors refer to it by its hash.

Knows nothing of models. Layout: ``<store>/<name>/`` for prompts and factors and
``<store>/metaprompts/<first 16 digits of the content hash>/``.
"""

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from clinprompt.errors import ArtifactError, did_you_mean
from clinprompt.files import find_folder
from clinprompt.prompts.artifact import (
    Artifact,
    Manifest,
    load_artifact,
    load_manifest,
    save_artifact,
)
from clinprompt.prompts.decomposed import compose
from clinprompt.prompts.find_prompt import MANIFEST

_METAPROMPTS = "metaprompts"


class Store:
    """Saved prompts in one folder, by name."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def names(self) -> list[str]:
        """Return the names of all prompts and metaprompts."""
        found = self.root.glob(f"**/{MANIFEST}")
        names = (path.parent.relative_to(self.root) for path in found)
        return sorted(
            str(name) for name in names if not any(part.startswith(".") for part in name.parts)
        )

    def save(self, artifact: Artifact, name: str = "") -> Path:
        """Save an artifact under its name (a metaprompt under its hash); return its folder."""
        manifest = artifact.manifest
        if manifest.kind == "metaprompt":
            name = f"{_METAPROMPTS}/{manifest.content_hash[:16]}"
        folder = self.root / (name or manifest.name)
        save_artifact(folder, artifact)
        return folder

    def made_as(self, name: str) -> str:
        """Return the name that the prompt saved under ``name`` was made with ("": no prompt).

        Raises:
            ArtifactError: the prompt is damaged.
        """
        folder = find_folder(self.root / name)
        return load_artifact(folder).manifest.name if (folder / MANIFEST).is_file() else ""

    def free_name(self, names: Sequence[str], made_as: str) -> str:
        """Return the first name that is free or has the prompt made as ``made_as``, else the last.

        Raises:
            ArtifactError: a prompt with one of the names is damaged.
        """
        return next((one for one in names if self.made_as(one) in ("", made_as)), names[-1])

    def load(self, name: str) -> Artifact:
        """Load an artifact by name.

        Raises:
            ArtifactError: there is no artifact with that name, or it is damaged.
        """
        return load_artifact(self._folder(name))

    def manifest(self, name: str) -> Manifest:
        """Load the manifest of an artifact by name, without its vectors.

        Raises:
            ArtifactError: there is no artifact with that name, or its manifest is damaged.
        """
        return load_manifest(self._folder(name))

    def _folder(self, name: str) -> Path:
        folder = find_folder(self.root / name)
        if not (folder / MANIFEST).is_file():
            raise ArtifactError(
                f"{self.root}: no prompt {name!r}; {did_you_mean(name, self.names())}"
            )
        return folder

    def metaprompt(self, content_hash: str) -> Artifact:
        """Load a metaprompt by its content hash.

        Raises:
            ArtifactError: the store does not have it, or has another one in its folder.
        """
        folder = find_folder(self.root / _METAPROMPTS / content_hash[:16])
        if not folder.is_dir():
            raise ArtifactError(
                f"{self.root}: metaprompt {content_hash[:16]} is missing; copy its folder from the "
                "store of the run that trained the factors"
            )
        found = load_artifact(folder)
        if not found.manifest.content_hash.startswith(content_hash):
            raise ArtifactError(
                f"{folder}: holds another metaprompt than {content_hash[:16]}; copy the right one "
                "from the store of the run that trained the factors"
            )
        return found


def open_prompt(path: Path) -> tuple[Artifact, Tensor]:
    """Load the prompt of one task from its folder; return it and its vectors [P, H].

    Factors are composed with their metaprompt, which must be in the store that contains them.

    Raises:
        ArtifactError: the prompt or its metaprompt is missing or damaged, or the prompt is a
            metaprompt.
    """
    artifact = load_artifact(path)
    match artifact.manifest.kind:
        case "prompt":
            return artifact, artifact.tensors["vectors"]
        case "factors":
            _, metaprompt = metaprompt_of(path, artifact.manifest)
            [task_type] = artifact.manifest.task_types
            shared = metaprompt.shared_for(task_type)
            u, v = artifact.tensors["u"], artifact.tensors["v"]
            return artifact, compose(shared, u[None], v[None])[0]
        case "metaprompt":
            raise ArtifactError(
                f"{path}: a metaprompt is for many tasks; adapt it to one first (clinprompt adapt)"
            )


def metaprompt_of(path: Path, manifest: Manifest) -> tuple[Path, Artifact]:
    """Return the folder and the metaprompt of the factors at ``path``.

    Raises:
        ArtifactError: it is missing, damaged, or another one.
    """
    if not manifest.metaprompt:
        raise ArtifactError(f"{path}: its manifest names no metaprompt; copy the artifact again")
    store = _store_around(path, manifest.metaprompt)
    folder = store.root / _METAPROMPTS / manifest.metaprompt[:16]
    return folder, store.metaprompt(manifest.metaprompt)


def _store_around(path: Path, content_hash: str) -> Store:
    for above in path.resolve().parents:
        for folder in (above, above / "store"):  # the store of a variant's run
            if (folder / _METAPROMPTS / content_hash[:16]).is_dir():
                return Store(folder)
    raise ArtifactError(
        f"{path}: its metaprompt {content_hash[:16]} is in none of the folders above; keep the "
        "factors in the store of their metaprompt"
    )
