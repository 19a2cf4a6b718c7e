"""Describe which file of a public repository a task's file comes from. Knows no network."""

from collections.abc import Sequence
from typing import Annotated, Self

from pydantic import BeforeValidator, model_validator

from clinprompt.settings.groups import Settings

GITHUB = "https://github.com/"


class Upstream(Settings):
    """How one file of a task's folder is made from its repository, at the pinned commit.

    Give exactly one of three. ``file`` is a path that is used unchanged (a plain string in the card
    means the same). ``gzip`` is a path that is compressed after the download. ``pack`` lists
    folders and files that are packed into one ``.tar.gz`` after the download; their names in it
    start below the folder ``below``. Give ``repository`` and ``commit`` if they are
    not those of the card's source.
    """

    file: str = ""
    gzip: str = ""
    pack: tuple[str, ...] = ()
    below: str = ""
    repository: str = ""
    commit: str = ""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if sum(map(bool, (self.file, self.gzip, self.pack))) != 1:
            raise ValueError("give exactly one of file, gzip and pack")
        if self.below and not self.pack:
            raise ValueError("below has no effect without pack")
        if bool(self.repository) != bool(self.commit):
            raise ValueError("repository and commit are needed together; give both or none")
        if self.repository and not self.repository.startswith(GITHUB):
            raise ValueError(f"repository must start with {GITHUB}")
        return self

    @property
    def is_repacked(self) -> bool:
        """Return whether the file is packed after the download, so that its bytes may differ."""
        return not self.file


def _as_upstream(value: object) -> object:
    return {"file": value} if isinstance(value, str) else value


FromUpstream = Annotated[Upstream, BeforeValidator(_as_upstream)]


def match_path(paths: Sequence[str], name: str) -> Upstream | None:
    """Return how the file ``name`` of a task's folder is made, if exactly one path matches it.

    ``a/b.txt`` matches ``b.txt`` and, compressed after the download, ``b.txt.gz``. A folder ``a/c``
    matches ``c.tar.gz``, whose members are then named ``c/...``.
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
