"""Check a GPU against the CPU, and time the steps of large backbones, before anything is learned.

Each check is a process of its own with its own limit, and what it finds is OUT/check-NAME.json:

1. answers: constrained and free answers of synthetic tasks, and where they first differ;
2. gradients: one step with prompts of each placement;
3. decoding: a step of 64 rows with and without a CUDA graph;
4. tests: tests/promises/test_gpu_reads_as_the_cpu.py, if pytest is installed;
5. serving: answers of the server's queue, and its speed at the shape of Llama 3.1 8B;
6. llama-8b and gpt-oss-20b: time and peak memory of a training step at their shapes.

A finished check is not repeated. README.md says what the script needs.

Run, from the root of the repository:
     python bench/gpu/1_checks.py OUT
     python bench/gpu/1_checks.py OUT --resume OUT/state.tar.gz     (after a stop)
     python bench/gpu/1_checks.py OUT --tiny MODEL                  (a trial, on any processor)
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from time import monotonic
from typing import Any

from choice import SEARCH
from session import Session, arguments_of, overrides, read_arguments, write

ROOT = Path(__file__).resolve().parents[2]
TEST = ROOT / "tests" / "promises" / "test_gpu_reads_as_the_cpu.py"
TINY = {"metaprompt": "", "prompt.length": 4, "prompt.placement": "layers"}
# The limit of each check in seconds, in their order.
LIMITS = {
    "answers": 150.0,
    "gradients": 90.0,
    "decoding": 60.0,
    "tests": 90.0,
    "serving": 100.0,
    "llama-8b": 120.0,
    "gpt-oss-20b": 150.0,
}
LOAD = "load at the shape of Llama 3.1 8B"
UNFINISHED = "unfinished"  # in what a check has found so far
START_SECONDS = 25.0  # of a process: imports, weights, the first kernel


def main() -> None:
    """Run the checks that are missing, and print what each found."""
    parser = arguments_of(__doc__)
    parser.add_argument("--only", nargs="+", choices=list(LIMITS), help="some of the checks")
    parser.add_argument("--device", help="default: cuda if there is one")
    given = read_arguments(parser, "checks")
    if given.worker:
        check(given)
        return
    session = Session(given.out, given.work, given.seconds)
    session.resume(given.resume)
    with session.returning():
        for name in given.only or LIMITS:
            if (found := _found(given, name)) and UNFINISHED not in found:
                session.say(f"{name}: done before")
                continue
            words = [__file__, *sys.argv[1:], "--work", str(given.work), "--worker", name]
            is_done = session.run(*words, seconds=_limit(given, name))
            session.say(f"{name}: {'done' if is_done else 'not finished, see log.txt'}")
            if session.seconds_left < 1:
                break
    session.show_log(3000)
    sys.exit(0 if _report(given) else 1)


def check(given: argparse.Namespace) -> None:
    """Run one check and write what it finds."""
    import torch  # noqa: PLC0415 - --help needs no package

    from clinprompt.backbone import constraint  # noqa: PLC0415 - as above

    constraint.MIN_SHARE = 0.0  # prompts that are not trained would end their answers at once
    torch.set_num_threads(int(os.environ.get("CHECK_THREADS", "0")) or os.cpu_count() or 1)
    given.device = given.device or ("cuda" if torch.cuda.is_available() else "cpu")
    _save(given, CHECKS[given.worker](given))


def _limit(given: argparse.Namespace, name: str) -> float:
    """Return the seconds of a check; a trial, on any processor, has those of the whole call."""
    return given.seconds if given.tiny else LIMITS[name]


def _save(given: argparse.Namespace, found: dict[str, Any]) -> None:
    text = json.dumps(found, indent=2, ensure_ascii=False)
    write(given.work / f"check-{given.worker}.json", text.encode() + b"\n")


def _found(given: argparse.Namespace, name: str) -> dict[str, Any] | None:
    """Return what a check has found, also if it was stopped; None if that is nothing."""
    path = given.work / f"check-{name}.json"
    return json.loads(path.read_text()) if path.is_file() else None


def _answers(given: argparse.Namespace) -> dict[str, Any]:
    from devices import compare_answers  # noqa: PLC0415

    return compare_answers(_case(given), given.device)


def _gradients(given: argparse.Namespace) -> dict[str, Any]:
    from devices import compare_gradients  # noqa: PLC0415

    return compare_gradients(_case(given), given.device)


def _decoding(given: argparse.Namespace) -> dict[str, Any]:
    from devices import load  # noqa: PLC0415
    from shapes import time_decoding  # noqa: PLC0415

    return time_decoding(load(_case(given), given.device, "bfloat16"), is_tiny=bool(given.tiny))


def _serving(given: argparse.Namespace) -> dict[str, Any]:
    """Compare the queue's answers and time it; save what is known after each part."""
    from devices import load  # noqa: PLC0415
    from queue_answers import compare_queues  # noqa: PLC0415
    from queue_load import time_queue  # noqa: PLC0415

    ends, case = monotonic() + _limit(given, "serving") - START_SECONDS, _case(given)
    sides = [load(case, place, "float32") for place in ("cpu", given.device)]
    answers = compare_queues(case, *sides, pause_seconds=0.005 if given.tiny else 0.05)
    del sides
    found = {"checks": answers.pop("checks"), "answers of the queue": answers}

    def save(so_far: dict[str, Any]) -> None:
        _save(given, {UNFINISHED: True} | found | {LOAD: so_far})

    save({})
    return found | {LOAD: time_queue(given.device, ends, save, is_tiny=bool(given.tiny))}


def _steps(given: argparse.Namespace) -> dict[str, Any]:
    from shapes import time_steps  # noqa: PLC0415

    limit = _limit(given, given.worker) - START_SECONDS
    return time_steps(given.worker, given.device, limit, is_tiny=bool(given.tiny))


def _tests(_: argparse.Namespace) -> dict[str, Any]:
    missing = [name for name in ("pytest", "hypothesis", "beartype") if not find_spec(name)]
    if missing or not TEST.is_file():
        return {"left out": f"missing: {', '.join(missing) or TEST.name}"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(TEST)]
    ended = subprocess.run(command, check=False, capture_output=True, text=True, cwd=ROOT)
    lines = ended.stdout.splitlines()
    return {"checks": {TEST.stem: ended.returncode == 0}, "end of the output": lines[-30:]}


CHECKS: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
    "answers": _answers,
    "gradients": _gradients,
    "decoding": _decoding,
    "tests": _tests,
    "serving": _serving,
    "llama-8b": _steps,
    "gpt-oss-20b": _steps,
}


def _case(given: argparse.Namespace) -> Any:  # noqa: ANN401 - of a module that imports torch
    from devices import make_case  # noqa: PLC0415

    # Notes are synthetic: a folder of packed tasks, meant for other scripts, does not have them.
    os.environ.pop("CLINPROMPT_MIRROR", None)
    fixed = {**TINY, "backbone": str(given.tiny)} if given.tiny else {}
    return make_case(SEARCH, [*overrides(list(fixed.items())), *given.set])


def _report(given: argparse.Namespace) -> bool:
    """Print the result of each check; return whether all are there and right."""
    is_right = True
    for name in given.only or LIMITS:
        found = _found(given, name)
        wrong = [what for what, holds in (found or {}).get("checks", {}).items() if not holds]
        is_right = is_right and found is not None and UNFINISHED not in found and not wrong
        print(f"\n{name}: {_in_words(found, wrong)}")
    return is_right


def _in_words(found: dict[str, Any] | None, wrong: list[str]) -> str:
    if found is None:
        return "not finished"
    if UNFINISHED in found:
        return f"not finished; so far {json.dumps(found, indent=2, ensure_ascii=False)}"
    if "sides" in found:  # answers: the rest is long
        first = found["sides"] if wrong else {}
        shown = {side: values["first steps"] for side, values in first.items()}
        details = {"cause": found["cause"], "wrong": wrong, "first steps": shown}
        return json.dumps(details, indent=2, ensure_ascii=False)
    shown = {key: value for key, value in found.items() if key != "checks"}
    return json.dumps({"wrong": wrong} | shown, indent=2, ensure_ascii=False)


if __name__ == "__main__":
    main()
