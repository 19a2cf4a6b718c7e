"""Save and load trained prompts: ``prompt.safetensors`` and ``manifest.json`` in one folder.

Knows the name and fingerprint of the backbone a prompt was trained on, never a model.

There are three kinds: *prompt* (``vectors`` [P, H]), *metaprompt* (``shared`` [S, H], ``u``
[K, P, R], ``v`` [K, R, H]) and *factors* (``u`` [P, R], ``v`` [R, H]; the manifest has the content
hash of their metaprompt). S equals P unless task types have segments; then it is larger. In the
file and in the content hash, ``u`` is named ``columns`` and ``v`` is named ``rows``.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from clinprompt import __version__
from clinprompt.errors import ArtifactError
from clinprompt.files import new_folder, write_bytes, write_text
from clinprompt.prompts.segments import Segments
from clinprompt.settings.groups import Placement

Kind = Literal["prompt", "metaprompt", "factors"]
_TENSORS: dict[Kind, dict[str, str]] = {
    "prompt": {"vectors": "P H"},
    "metaprompt": {"shared": "S H", "u": "K P R", "v": "K R H"},
    "factors": {"u": "P R", "v": "R H"},
}
_STORED_NAMES = {"vectors": "vectors", "shared": "shared", "u": "columns", "v": "rows"}


class Manifest(BaseModel):
    """What a saved prompt is, and everything needed to use it again.

    A metaprompt's ``segment`` is how many of its ``length`` positions belong to a task's type;
    ``types`` is the order of the types' segments.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    kind: Kind
    name: str
    method: str
    backbone: str
    fingerprint: str
    length: int = Field(ge=1)
    hidden_size: int = Field(ge=1)
    rank: int = 0
    segment: int = Field(default=0, ge=0)
    types: tuple[str, ...] = ()
    placement: Placement = "prefix"
    num_layers: int = Field(default=0, ge=0, description="of the backbone, for placement layers")
    num_heads: int = Field(default=0, ge=0, description="its key-value heads, likewise")
    tasks: tuple[dict[str, Any], ...] = ()
    metaprompt: str = ""
    content_hash: str = ""
    settings: dict[str, Any] = Field(default_factory=dict)
    seed: int = 0
    shots: int = Field(default=0, ge=0, description="training examples; 0: all that were read")
    scores: dict[str, float] = Field(default_factory=dict)
    code_version: str = __version__

    @property
    def segments(self) -> Segments:
        """Return how the rows of a metaprompt's shared tensor are parted."""
        return Segments(self.length, self.segment, self.types)

    @property
    def task_types(self) -> frozenset[str]:
        """Return the types of the tasks that it was trained on."""
        return frozenset(str(task["type"]) for task in self.tasks)

    @model_validator(mode="after")
    def _has_room_for_segments(self) -> "Manifest":
        if self.segment >= self.length:
            raise ValueError(f"segment = {self.segment} must be less than length = {self.length}")
        if self.segment and not self.task_types <= set(self.types):
            raise ValueError(f"types = {self.types} lack one of {sorted(self.task_types)}")
        return self


class Artifact(BaseModel):
    """A manifest with its tensors."""

    model_config = ConfigDict(frozen=True, arbitrary_types_allowed=True)

    manifest: Manifest
    tensors: dict[str, Tensor]

    @property
    def num_bytes(self) -> int:
        """Return the size of ``prompt.safetensors`` in bytes."""
        return len(save(_to_stored(self.tensors)))

    def shared_for(self, task_type: str) -> Float[Tensor, "P H"]:
        """Return the shared prompt that a new task of a type starts from, of a metaprompt."""
        manifest = self.manifest
        return manifest.segments.of_type(
            self.tensors["shared"], task_type, known=manifest.task_types
        )


def make_artifact(manifest: Manifest, tensors: Mapping[str, Tensor]) -> Artifact:
    """Return an artifact whose manifest carries the hash of its tensors."""
    stored = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    content = content_hash(stored, manifest.fingerprint)
    filled = manifest.model_copy(update={"content_hash": content})
    return Artifact(manifest=filled, tensors=stored)


def content_hash(tensors: Mapping[str, Tensor], fingerprint: str) -> str:
    """Return a sha256 of the tensors' names, shapes and bytes and of their backbone."""
    digest = hashlib.sha256(fingerprint.encode())
    for name, tensor in sorted(_to_stored(tensors).items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def save_artifact(folder: Path, artifact: Artifact) -> None:
    """Save an artifact; the folder is there whole or not at all.

    Raises:
        RunError: the disk is full or the place cannot be written.
    """
    with new_folder(folder) as draft:
        write_bytes(draft / "prompt.safetensors", save(_to_stored(artifact.tensors)))
        write_text(draft / "manifest.json", artifact.manifest.model_dump_json(indent=2) + "\n")


def load_artifact(folder: Path) -> Artifact:
    """Load an artifact and check that it is whole.

    Raises:
        ArtifactError: a file is missing, damaged, or was changed since it was saved.
    """
    manifest = _load_manifest(folder)
    path = folder / "prompt.safetensors"
    try:
        stored = load(path.read_bytes())
    except (OSError, SafetensorError) as error:
        raise ArtifactError(
            f"{path}: missing, cut off or damaged; copy the artifact again or train it again"
        ) from error
    _check_shapes(path, manifest, stored)
    tensors = {name: stored[_STORED_NAMES[name]] for name in _TENSORS[manifest.kind]}
    if content_hash(tensors, manifest.fingerprint) != manifest.content_hash:
        raise ArtifactError(f"{path}: does not match its manifest; copy the artifact again")
    return Artifact(manifest=manifest, tensors=tensors)


def check_backbone(manifest: Manifest, *, name: str, fingerprint: str, hidden_size: int) -> None:
    """Check that a prompt was trained on this very backbone.

    Raises:
        ArtifactError: it was trained on another one.
    """
    if manifest.fingerprint == fingerprint:
        return
    if manifest.hidden_size != hidden_size:
        raise ArtifactError(
            f"prompt {manifest.name} has hidden size {manifest.hidden_size} (backbone "
            f"{manifest.backbone}), but backbone {name} has {hidden_size}; load the right one"
        )
    raise ArtifactError(
        f"prompt {manifest.name} was trained on {manifest.backbone} "
        f"({manifest.fingerprint[:20]}…), not on {name} ({fingerprint[:20]}…); load the right one, "
        "or accept other answers with --allow-backbone"
    )


def _load_manifest(folder: Path) -> Manifest:
    path = folder / "manifest.json"
    try:
        return Manifest.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        raise ArtifactError(
            f"{folder}: no saved prompt there (manifest.json is missing)"
        ) from error
    except (OSError, ValueError, ValidationError) as error:
        raise ArtifactError(f"{path}: damaged; copy the artifact again") from error


def _to_stored(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors by the names that they have in a file."""
    return {_STORED_NAMES[name]: tensor for name, tensor in tensors.items()}


def _check_shapes(path: Path, manifest: Manifest, stored: Mapping[str, Tensor]) -> None:
    sizes = {"P": manifest.length, "H": manifest.hidden_size, "R": manifest.rank}
    sizes |= {"K": len(manifest.tasks), "S": manifest.segments.num_rows}
    expected = {
        _STORED_NAMES[name]: tuple(sizes[axis] for axis in axes.split())
        for name, axes in _TENSORS[manifest.kind].items()
    }
    found = {name: tuple(tensor.shape) for name, tensor in stored.items()}
    if expected != found:
        raise ArtifactError(f"{path}: holds {found}, but its manifest says {expected}")
