"""Say which file of a public repository a task's file comes from. Knows no network, no cards."""

from collections.abc import Sequence
from typing import Annotated, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, model_validator

GITHUB = "https://github.com/"


class Upstream(BaseModel):
    """How one file of a task's folder is made from its repository, at the pinned commit.

    Exactly one of three is given: ``file`` is a path taken as it is (a bare string says the same),
    ``gzip`` one that is compressed here, ``pack`` folders and files that are packed here as one
    ``.tar.gz``, under names that leave out the folder ``below``. ``repository`` and ``commit``
    stand where they are not the source's.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    file: str = ""
    gzip: str = ""
    pack: tuple[str, ...] = ()
    below: str = ""
    repository: str = ""
    commit: str = ""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if sum(map(bool, (self.file, self.gzip, self.pack))) != 1:
            raise ValueError("exactly one of file, gzip and pack says what to fetch")
        if self.below and not self.pack:
            raise ValueError("below has no effect without pack")
        if bool(self.repository) != bool(self.commit):
            raise ValueError("repository and commit are given together")
        if self.repository and not self.repository.startswith(GITHUB):
            raise ValueError(f"repository must start with {GITHUB}")
        return self

    @property
    def is_repacked(self) -> bool:
        """Tell whether the file's bytes, unlike its content, depend on who packs it."""
        return not self.file


def _as_upstream(value: object) -> object:
    return {"file": value} if isinstance(value, str) else value


FromUpstream = Annotated[Upstream, BeforeValidator(_as_upstream)]


def match_path(paths: Sequence[str], name: str) -> Upstream | None:
    """Return what makes the file ``name`` of a task's folder, where one path alone fits its name.

    ``a/b.txt`` fits ``b.txt`` and, compressed here, ``b.txt.gz``; a folder ``a/c`` fits
    ``c.tar.gz``, whose members are then named ``c/...``.
    """
    if path := _ending(paths, name):
        return Upstream(file=path)
    if name.endswith(".tar.gz") and (path := _ending(paths, name.removesuffix(".tar.gz"))):
        return Upstream(pack=(path,), below=path.rpartition("/")[0])
    if name.endswith(".gz") and (path := _ending(paths, name.removesuffix(".gz"))):
        return Upstream(gzip=path)
    return None


def _ending(paths: Sequence[str], name: str) -> str:
    found = {path.rstrip("/") for path in paths if f"/{path.rstrip('/')}".endswith(f"/{name}")}
    return found.pop() if len(found) == 1 else ""
