"""Save and load trained prompts: a folder with ``prompt.safetensors`` and ``manifest.json``.

Knows the name and fingerprint of the backbone of a prompt, but no models.

There are three kinds: *prompt* (``vectors`` [P, H]), *metaprompt* (``shared`` [S, H], ``u``
[K, P, R], ``v`` [K, R, H]) and *factors* (``u`` [P, R], ``v`` [R, H]; the manifest has the content
hash of their metaprompt). S equals P unless task types have segments; then it is larger. In the
file and in the content hash, ``u`` is named ``columns`` and ``v`` is named ``rows``.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    ValidationError,
    field_validator,
    model_validator,
)
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from clinprompt.errors import ArtifactError
from clinprompt.files import find_folder, new_folder, write_bytes, write_text
from clinprompt.prompts.find_prompt import MANIFEST, check_is_prompt
from clinprompt.prompts.segments import Segments
from clinprompt.settings.groups import Placement
from clinprompt.settings.toml_text import is_deeper
from clinprompt.version import __version__

ArtifactKind = Literal["prompt", "metaprompt", "factors"]
_TENSORS: dict[ArtifactKind, dict[str, str]] = {
    "prompt": {"vectors": "P H"},
    "metaprompt": {"shared": "S H", "u": "K P R", "v": "K R H"},
    "factors": {"u": "P R", "v": "R H"},
}
# What safetensors raises for tensors of a type or shape that torch does not have.
_UNREADABLE = (LookupError, OverflowError, RuntimeError, TypeError, ValueError)
_HASH = r"^[0-9a-f]*$"
_MAX_DEPTH = 40  # of lists and objects in a manifest; those of this package have at most 9
_STORED_NAMES = {"vectors": "vectors", "shared": "shared", "u": "columns", "v": "rows"}


class Manifest(BaseModel):
    """The description of a saved prompt, with everything needed to use it again.

    In a metaprompt, ``segment`` is the number of the ``length`` positions that belong to the task's
    type, and ``types`` is the order of the types' segments.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    kind: ArtifactKind
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
    num_heads: int = Field(
        default=0, ge=0, description="key-value heads of the backbone, for placement layers"
    )
    tasks: tuple[dict[str, Any], ...] = ()
    metaprompt: str = Field(default="", pattern=_HASH)
    content_hash: str = Field(default="", pattern=_HASH)
    seal: str = Field(
        default="", pattern=_HASH, description="hash of all but the scores; empty: not recorded"
    )
    end_ids: tuple[int, ...] = Field(
        default=(), description="token ids that end an answer; empty: not recorded"
    )
    settings: dict[str, Any] = Field(default_factory=dict)
    seed: int = 0
    shots: int = Field(
        default=0, ge=0, description="number of training examples; 0: all of the loaded ones"
    )
    scores: dict[str, float] = Field(default_factory=dict)
    calibration: dict[str, FiniteFloat] = Field(
        default_factory=dict,
        description="mean log-probability of each label's word, in nats; empty: not calibrated",
    )
    nothing_offset: FiniteFloat = Field(
        default=0.0,
        description="subtracted from the log-probability of listing nothing, in nats",
    )
    code_version: str = __version__

    @field_validator("settings")
    @classmethod
    def _has_groups_of_settings(cls, settings: dict[str, Any]) -> dict[str, Any]:
        """Check the entries that are read without reading all settings."""
        data = settings.get("data", {})
        if not isinstance(data, dict) or not isinstance(data.get("input_form", 1), int):
            raise ValueError("settings.data must be settings by name")
        return settings

    @field_validator("tasks")
    @classmethod
    def _names_its_tasks(cls, tasks: tuple[dict[str, Any], ...]) -> tuple[dict[str, Any], ...]:
        """Check the two entries of a card that a store reads without reading the whole card."""
        for task in tasks:
            if not (isinstance(task.get("name"), str) and isinstance(task.get("type"), str)):
                raise ValueError("tasks: each must have a name and a type")
        return tasks

    @property
    def title(self) -> str:
        """Return the name without the hash of a metaprompt that it may end with."""
        return re.sub(r"-[0-9a-f]{16}$", "", self.name)

    @property
    def input_form(self) -> int:
        """Return the form of the inputs that the prompt was trained with.

        Raises:
            ArtifactError: the settings do not say it.
        """
        try:
            return int(self.settings["data"]["input_form"])
        except KeyError as error:
            raise ArtifactError(
                f"{self.title}: its settings do not name data.input_form; train the prompt again"
            ) from error

    @property
    def segments(self) -> Segments:
        """Return how the rows of a metaprompt's shared tensor are divided among task types."""
        return Segments(self.length, self.segment, self.types)

    @property
    def task_types(self) -> frozenset[str]:
        """Return the types of the tasks on which the prompt was trained."""
        return frozenset(str(task["type"]) for task in self.tasks)

    @model_validator(mode="after")
    def _is_of_one_task(self) -> "Manifest":
        if self.kind == "factors" and len(self.task_types) != 1:
            raise ValueError("factors belong to one task")
        return self

    @model_validator(mode="after")
    def _has_room_for_segments(self) -> "Manifest":
        if self.segment >= self.length:
            raise ValueError(f"segment = {self.segment} must be less than length = {self.length}")
        if self.segment and not self.task_types <= set(self.types):
            raise ValueError(f"types = {self.types} must contain all of {sorted(self.task_types)}")
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
        """Return the shared prompt of a metaprompt for a new task of the given type."""
        manifest = self.manifest
        return manifest.segments.of_type(
            self.tensors["shared"], task_type, known=manifest.task_types
        )


def make_artifact(manifest: Manifest, tensors: Mapping[str, Tensor]) -> Artifact:
    """Return an artifact; its manifest gets the hash of the tensors."""
    stored = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    content = content_hash(stored, manifest.fingerprint)
    filled = manifest.model_copy(update={"content_hash": content})
    return Artifact(manifest=sealed(filled), tensors=stored)


def sealed(manifest: Manifest) -> Manifest:
    """Return a manifest with the hash of all that it says, except the scores."""
    return manifest.model_copy(update={"seal": seal_of(manifest.model_dump(mode="json"))})


def seal_of(values: Mapping[str, Any]) -> str:
    """Return the sha256 of the values in the file of a manifest, except the scores and the hash.

    The hash shows whether the file was damaged or edited. It does not protect against someone who
    computes it again. It is that of the file, so a field that a later version adds changes nothing.
    """
    kept = {name: value for name, value in values.items() if name not in {"scores", "seal"}}
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()


def content_hash(tensors: Mapping[str, Tensor], fingerprint: str) -> str:
    """Return the sha256 of the fingerprint and of the tensors' names, shapes and bytes."""
    digest = hashlib.sha256(fingerprint.encode())
    for name, tensor in sorted(_to_stored(tensors).items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def save_artifact(folder: Path, artifact: Artifact) -> None:
    """Save an artifact; an interrupted save leaves no folder.

    Raises:
        RunError: the disk is full or the folder cannot be written.
    """
    with new_folder(folder) as draft:
        write_bytes(draft / "prompt.safetensors", save(_to_stored(artifact.tensors)))
        save_manifest(draft, sealed(artifact.manifest))


def save_manifest(folder: Path, manifest: Manifest) -> None:
    """Write the manifest of an artifact completely or not at all.

    Raises:
        RunError: the disk is full or the folder cannot be written.
    """
    write_text(folder / MANIFEST, manifest.model_dump_json(indent=2) + "\n")


def save_scores(folder: Path, scores: Mapping[str, float]) -> None:
    """Replace the scores in the manifest of a saved prompt, and leave the rest of it as it is.

    Raises:
        RunError: the disk is full or the folder cannot be written.
    """
    path = folder / MANIFEST
    values = json.loads(path.read_text(encoding="utf-8"))
    write_text(
        path, json.dumps(values | {"scores": dict(scores)}, indent=2, ensure_ascii=False) + "\n"
    )


def load_artifact(folder: Path) -> Artifact:
    """Load an artifact and check its shapes and content hash.

    Raises:
        ArtifactError: a file is missing, damaged, or was changed after saving.
    """
    manifest = load_manifest(find_folder(folder))
    path = folder / "prompt.safetensors"
    try:
        stored = load(path.read_bytes())
    except (OSError, SafetensorError, *_UNREADABLE) as error:
        raise ArtifactError(
            f"{path}: missing, truncated or damaged; copy the artifact again or train it again"
        ) from error
    _check_shapes(path, manifest, stored)
    tensors = {name: stored[_STORED_NAMES[name]] for name in _TENSORS[manifest.kind]}
    if content_hash(tensors, manifest.fingerprint) != manifest.content_hash:
        raise ArtifactError(f"{path}: does not match its manifest; copy the artifact again")
    for name, tensor in tensors.items():
        if not bool(tensor.isfinite().all()):
            raise ArtifactError(
                f"{path}: {name} has numbers that are infinite or not a number; train it again"
            )
    return Artifact(manifest=manifest, tensors=tensors)


def load_manifest(folder: Path) -> Manifest:
    """Load the manifest of a saved prompt or metaprompt, without its vectors.

    Raises:
        ArtifactError: the folder holds no prompt, or its manifest is damaged.
    """
    check_is_prompt(folder)
    path = folder / MANIFEST
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if is_deeper(values, _MAX_DEPTH):
            raise ValueError("nested too deeply")
        return Manifest.model_validate(values)
    except (OSError, ValueError, RecursionError) as error:
        raise ArtifactError(f"{path}: damaged; copy the artifact again") from error


def of_other_version(manifest: Manifest, error: ValidationError) -> ArtifactError:
    """Return an error that names the saved setting that this version does not know."""
    place = ".".join(map(str, error.errors()[0]["loc"])) or "its task or settings"
    return ArtifactError(
        f"{manifest.title}: saved by clinprompt {manifest.code_version}; this version does not "
        f"know {place}; use that version, or train the prompt again"
    )


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
        raise ArtifactError(
            f"{path}: has tensors of shapes {found}, but its manifest says {expected}; copy the "
            "artifact again"
        )
