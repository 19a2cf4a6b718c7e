"""Make a folder with everything that a machine without a package index needs.

Run: make bundle, or: python offline/make_bundle.py FOLDER [options]     (docs/offline.md)
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from bundle_files import About, write_bundle
from bundle_packages import EXTRAS, GLIBC, MACHINES, BundleError, Platform, download_packages
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from clinprompt.backbone.stored import INSTALL_DEFAULT
from clinprompt.version import __version__

ROOT = Path(__file__).parents[1]


def main() -> None:
    """Make the bundle completely, or not at all."""
    given = _arguments()
    if given.folder.exists():
        sys.exit(
            f"make bundle: {given.folder} exists; remove it or choose another folder with OUT="
        )
    given.folder.absolute().parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=given.folder.absolute().parent) as place:
        draft = Path(place) / "bundle"
        try:
            _make(draft, given)
        except BundleError as error:
            sys.exit(f"make bundle: {error}")
        draft.rename(given.folder)
    sizes = [path.stat().st_size for path in given.folder.rglob("*") if path.is_file()]
    print(
        f"{given.folder}: {len(sizes)} files, {sum(sizes) / 1e6:.0f} MB, for Python {given.python} "
        f"on Linux ({given.machine}). Copy the whole folder; its README.txt says how to install it."
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    own = ".".join(map(str, sys.version_info[:2]))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--python", default=own, help="version, such as 3.12")
    parser.add_argument("--machine", default="x86_64", choices=MACHINES)
    parser.add_argument("--skip", default="", help="packages to leave out, separated by spaces")
    parser.add_argument("--tasks", default="", help="configs whose tasks are packed into it")
    return parser.parse_args()


def _make(folder: Path, given: argparse.Namespace) -> None:
    backbone = INSTALL_DEFAULT.split()[-1]
    skip = {canonicalize_name(name) for name in given.skip.split()}
    if (model := canonicalize_name(Requirement(backbone).name)) in skip:
        skip, backbone = skip - {model}, ""
    platform = Platform(given.python, given.machine)
    print(f"Downloading wheels for Python {given.python} ...", flush=True)
    download_packages(ROOT, backbone, folder / "wheels", platform=platform, skip=sorted(skip))
    if given.tasks:
        _pack_tasks(folder / "tasks", given.tasks.split())
    project = f"clinprompt{EXTRAS}=={__version__}"
    about = About(given.python, given.machine, GLIBC, project, backbone, tuple(sorted(skip)))
    write_bundle(folder, about)


def _pack_tasks(folder: Path, configs: list[str]) -> None:
    command = [sys.executable, ROOT / "bench" / "gpu" / "pack_tasks.py", folder, *configs]
    if subprocess.run(command, check=False).returncode:
        raise BundleError("the tasks could not be packed; the messages above say why")


if __name__ == "__main__":
    main()
