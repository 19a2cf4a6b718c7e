"""Find the packages that a bundle needs, and download their wheels for another Python.

pip chooses the versions. It evaluates conditions such as ``python_version < "3.12"`` for the Python
that runs it, so they are evaluated again here, for the Python of the bundle.
"""

import json
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

MACHINES = ("x86_64", "aarch64")
GLIBC = "2.31"  # of the oldest Linux that wheels of llguidance 1.9 run on
EXTRAS = "[serve,parquet]"  # of the project, as nothing can be installed later
SOURCE_ONLY = ("rouge-score",)  # pure Python, but its releases have no wheel


@dataclass(frozen=True, slots=True)
class Platform:
    """The Python version (such as 3.12) and the machine of a bundle; the system is Linux."""

    python: str
    machine: str

    def pip_options(self) -> list[str]:
        """Return options with which pip takes wheels for this platform only."""
        newest = int(GLIBC.split(".")[1])
        names = [f"manylinux_2_{minor}" for minor in range(newest, 4, -1)]
        names += ["manylinux2014", "manylinux2010", "manylinux1", "linux"]
        options = ["--only-binary", ":all:", "--python-version", self.python]
        for name in names:
            options += ["--platform", f"{name}_{self.machine}"]
        return options

    def environment(self) -> dict[str, str]:
        """Return the values of conditions in requirements."""
        own = {"python_version": self.python, "python_full_version": f"{self.python}.0"}
        own |= {"platform_machine": self.machine, "platform_system": "Linux"}
        own |= {"sys_platform": "linux", "os_name": "posix", "implementation_name": "cpython"}
        return {**default_environment(), **own, "platform_python_implementation": "CPython"}


@dataclass(frozen=True, slots=True)
class Package:
    """One package as pip chose it."""

    version: str
    requires: tuple[str, ...]


class BundleError(Exception):
    """A bundle cannot be made as asked; the message says why."""


def needed_packages(
    root: str, chosen: Mapping[str, Package], environment: Mapping[str, str], skip: Collection[str]
) -> tuple[dict[str, str], dict[str, str]]:
    """Follow requirements from ``root``, which is not returned itself.

    Packages in ``skip`` are left out with everything that they alone require.

    Returns:
        the version of each needed package by name, and the requirements that ``chosen`` lacks.
    """
    versions: dict[str, str] = {}
    lacking: dict[str, str] = {}
    seen: set[tuple[str, frozenset[str]]] = set()
    queue = [Requirement(root)]
    while queue:
        wanted = queue.pop()
        name, extras = canonicalize_name(wanted.name), frozenset(wanted.extras)
        if name in skip or (name, extras) in seen:
            continue
        seen.add((name, extras))
        if name not in chosen:
            lacking[name] = str(wanted).partition(";")[0]
            continue
        versions[name] = chosen[name].version
        queue += _required(chosen[name], extras, environment)
    versions.pop(canonicalize_name(Requirement(root).name), None)
    return versions, lacking


def _required(
    package: Package, extras: Iterable[str], environment: Mapping[str, str]
) -> list[Requirement]:
    """Return the requirements of a package whose condition holds."""
    settings = [{**environment, "extra": extra} for extra in ("", *extras)]
    found = map(Requirement, package.requires)
    return [
        wanted
        for wanted in found
        if wanted.marker is None or any(wanted.marker.evaluate(values) for values in settings)
    ]


def download_packages(
    project: Path, backbone: str, folder: Path, *, platform: Platform, skip: Sequence[str]
) -> None:
    """Write the wheels of the project, of what it requires and of the backbone into a new folder.

    Raises:
        BundleError: pip found no wheel, or ``skip`` names something that is not needed.
    """
    folder.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as place:
        built = Path(place)
        own = _build(built, project, _source_only(project))
        limits = ["--constraint", project / "constraints.txt", "--find-links", built]
        versions = _versions(own, limits, platform, skip={*map(canonicalize_name, skip)})
        wanted = [f"{package}=={version}" for package, version in sorted(versions.items())]
        if backbone:
            wanted.append(backbone)
        options = ["--no-deps", *platform.pip_options(), "--find-links", built, "--dest", folder]
        _pip("download", *options, *wanted)
        shutil.copy(own, folder)


def _source_only(project: Path) -> list[str]:
    """Return the project's requirements that have no wheel."""
    listed = tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return [spec for spec in listed["dependencies"] if _name(spec) in SOURCE_ONLY]


def _build(folder: Path, project: Path, requirements: Sequence[str]) -> Path:
    """Build wheels of the project and of requirements; return the path of the project's."""
    _pip("wheel", "--no-deps", "--wheel-dir", folder, project)
    own = next(folder.glob("*.whl"))
    _pip("wheel", "--no-deps", "--wheel-dir", folder, *requirements)
    for built in folder.glob("*.whl"):
        if not built.name.endswith("-none-any.whl"):
            raise BundleError(f"{built.name} is for this machine alone; a bundle needs pure Python")
    return own


def _versions(
    own: Path, limits: Sequence[str | Path], platform: Platform, *, skip: Collection[str]
) -> dict[str, str]:
    """Return the version of each package to download."""
    root, environment = f"{own.name.partition('-')[0]}{EXTRAS}", platform.environment()
    project = f"{own}{EXTRAS}"
    chosen = _choose([project], limits, platform)
    every, lacking = needed_packages(root, chosen, environment, ())
    if lacking:  # pip evaluated a condition for another Python
        chosen = _choose([project, *lacking.values()], limits, platform)
        every, lacking = needed_packages(root, chosen, environment, ())
    if lacking:
        raise BundleError(f"pip did not choose a version of {', '.join(lacking.values())}")
    if unknown := sorted(set(skip) - set(every)):
        raise BundleError(
            f"{unknown[0]} cannot be left out because nothing needs it; check its name"
        )
    return needed_packages(root, chosen, environment, skip)[0]


def _choose(
    wanted: Sequence[str | Path], limits: Sequence[str | Path], platform: Platform
) -> dict[str, Package]:
    """Let pip choose versions, without downloading what it does not need to read."""
    options = ["--dry-run", "--ignore-installed", "--quiet", "--report", "-"]
    report = json.loads(_pip("install", *options, *platform.pip_options(), *limits, *wanted))
    found = [item["metadata"] for item in report["install"]]
    return {
        canonicalize_name(data["name"]): Package(
            data["version"], tuple(data.get("requires_dist", ()))
        )
        for data in found
    }


def _name(requirement: str) -> str:
    return canonicalize_name(Requirement(requirement).name)


def _pip(*arguments: str | Path) -> str:
    """Run pip and return what it prints.

    Raises:
        BundleError: pip failed; the message has its errors.
    """
    command = [sys.executable, "-m", "pip", *map(str, arguments)]
    ended = subprocess.run(command, check=False, capture_output=True, text=True)
    if ended.returncode:
        errors = [line for line in ended.stderr.splitlines() if line.startswith("ERROR")]
        raise BundleError("\n  ".join([f"pip {arguments[0]} failed", *(errors or [ended.stderr])]))
    return ended.stdout
