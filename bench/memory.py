"""Measure the peak memory of one training step, each method in a separate process.

Reports the resident set of the process, including libraries and model, and what the step adds.
"""

import json
import resource
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

OWN = "clinprompt, metaprompt"


def measure(
    names: Sequence[str], *, rows: int, tasks: int, length: int, longest: int
) -> list[dict[str, Any]]:
    """Return the peak of each method in megabytes, and its ratio to clinprompt's (see module)."""
    size = json.dumps({"rows": rows, "tasks": tasks, "length": length, "longest": longest})
    found = []
    for name in names:
        command = [sys.executable, str(Path(__file__)), name, size]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        found.append({"what": name, **json.loads(done.stdout.splitlines()[-1])})
    own = next(row for row in found if row["what"] == OWN)
    return [
        {
            **row,
            "ratio": row["peak MB"] / own["peak MB"],
            "ratio of added": row["added MB"] / own["added MB"],
        }
        for row in found
    ]


def _one(name: str, size: dict[str, int]) -> dict[str, float]:
    from methods import METHODS, Shape  # noqa: PLC0415 - counted with the process it serves
    from rows import step_rows  # noqa: PLC0415

    from clinprompt.backbone.load import load_backbone  # noqa: PLC0415

    step = METHODS[name](load_backbone("smollm2-135m"), Shape(size["length"], size["tasks"]))
    taken = [
        step_rows(rows=size["rows"], tasks=size["tasks"], longest=size["longest"], seed=seed)
        for seed in range(2)
    ]
    step([row for row in taken[0] if row.number == 0])
    before = _peak()
    for rows in taken:
        step(rows)
    return {"peak MB": _peak(), "added MB": _peak() - before}


def _peak() -> float:
    """Return this process's own peak; ``getrusage`` would count what its parent had before it."""
    status = Path("/proc/self/status")
    if status.is_file():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1000
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000


if __name__ == "__main__":
    print(json.dumps(_one(sys.argv[1], json.loads(sys.argv[2]))))
