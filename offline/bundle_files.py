"""Turn a folder of wheels and tasks into a bundle: pieces, checksums, a README, the installer."""

import hashlib
import json
import re
import shutil
import zipfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

HERE = Path(__file__).parent
MAX_BYTES = 60_000_000
_INSTALLED = 1.4  # installed size of a wheel, relative to its files: pip adds bytecode
INSTALLERS = ("install.sh", "install.py")


@dataclass(frozen=True, slots=True)
class About:
    """What a bundle holds and which machines it is for.

    ``project`` and ``backbone`` are pip's requirements; without a backbone the latter is empty.
    """

    python: str
    machine: str
    glibc: str
    project: str
    backbone: str
    left_out: tuple[str, ...]


def write_bundle(folder: Path, about: About, *, max_bytes: int = MAX_BYTES) -> None:
    """Complete a bundle whose folder already has ``wheels/`` and perhaps ``tasks/``.

    Files of more than ``max_bytes`` become pieces. All other files of the bundle are written here.
    """
    wheels = sorted((folder / "wheels").glob("*.whl"))
    unpacked = int(_INSTALLED * sum(map(_unpacked_bytes, wheels)))
    joined = sum(path.stat().st_size for path in wheels if path.stat().st_size > max_bytes)
    for path in list(_files(folder)):
        split(path, max_bytes)
    for name in INSTALLERS:
        shutil.copyfile(HERE / name, folder / name)
    values = asdict(about) | {"joined_bytes": joined, "unpacked_bytes": unpacked}
    (folder / "bundle.json").write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
    (folder / "README.txt").write_text(_readme(folder, about, joined + unpacked), encoding="utf-8")
    lines = [f"{_sha256(path)}  {path.relative_to(folder)}" for path in _files(folder)]
    (folder / "SHA256SUMS").write_text("\n".join(lines) + "\n", encoding="utf-8")


def split(path: Path, max_bytes: int) -> list[Path]:
    """Replace a file of more than ``max_bytes`` by pieces of at most this size; return them."""
    size = path.stat().st_size
    if size <= max_bytes:
        return []
    count = -(-size // max_bytes)
    width, pieces = len(str(count)), []
    with path.open("rb") as source:
        for number in range(1, count + 1):
            piece = path.with_name(f"{path.name}.part-{number:0{width}}-of-{count}")
            piece.write_bytes(source.read(max_bytes))
            pieces.append(piece)
    path.unlink()
    return pieces


def _files(folder: Path) -> Iterator[Path]:
    return iter(sorted(path for path in folder.rglob("*") if path.is_file()))


def _unpacked_bytes(wheel: Path) -> int:
    with zipfile.ZipFile(wheel) as archive:
        return sum(member.file_size for member in archive.infolist())


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _readme(folder: Path, about: About, num_bytes: int) -> str:
    values = asdict(about) | {"gigabytes": f"{num_bytes / 1e9:.1f}"}
    values["project"] = re.sub(r"\[.*\]==", " ", about.project)
    parts = ["README.txt"]
    parts += ["README-left-out.txt"] if about.left_out else []
    parts += [] if about.backbone else ["README-no-model.txt"]
    parts += ["README-tasks.txt"] if (folder / "tasks").is_dir() else []
    values["left_out"] = ", ".join(about.left_out)
    texts = [(HERE / "readme" / name).read_text(encoding="utf-8") for name in parts]
    return "\n".join(texts).format(**values)
