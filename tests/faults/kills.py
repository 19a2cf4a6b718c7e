"""Kill a process of `clinprompt adapt` at random moments, and compare what it ends with.

Each run of the command is started again after it was killed, until it ends by itself. A moment is
drawn from the seconds that a whole run takes, so a run is killed about once before it ends.
"""

import random
import subprocess
import sys
from pathlib import Path
from time import monotonic, sleep

from made_metaprompt import save_metaprompt
from tiny import save_tiny
from trials import difference, left_in
from workloads import TASK

_PROGRAM = "from clinprompt.cli import main; main()"
_SECONDS_BETWEEN_LOOKS = 0.01
_STEPS = 40  # of a tiny model; enough that training takes a good part of the run


class _Command:
    """``clinprompt adapt`` with a model, into a folder."""

    def __init__(self, folder: Path, backbone: str) -> None:
        model = folder / "model"
        steps = {"rows": 2, "warmup_steps": 1, "checkpoint_every": 1}
        if backbone:
            given = ["--set", f"backbone={backbone}", "--set", "adapt.steps=8"]
            given += ["--set", "adapt.checkpoint_every=1", "--shots", "4"]
        else:
            save_tiny(model, "llama")
            save_metaprompt(folder / "metaprompt", model, adapt={"steps": _STEPS, **steps})
            given = ["--metaprompt", str(folder / "metaprompt"), "--set", f"backbone={model}"]
            given += ["--shots", "4"]
        words = ["adapt", TASK, *given, "--set", "device=cpu"]
        self._words = [sys.executable, "-c", _PROGRAM, *words]
        self._errors = folder / "errors.txt"

    def start(self, run: Path) -> subprocess.Popen[bytes]:
        """Start the command in the folder of a run."""
        with self._errors.open("wb") as stream:
            command = [*self._words, "--out", str(run)]
            return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=stream)

    def run(self, run: Path) -> tuple[float, float]:
        """Run the command to its end; return after how many seconds it has its folder and ends."""
        started, process = monotonic(), self.start(run)
        while not run.is_dir() and process.poll() is None:
            sleep(_SECONDS_BETWEEN_LOOKS)
        begun = monotonic() - started
        if code := process.wait():
            raise AssertionError(f"adapt ended with {code}: {self._errors.read_text()}")
        return begun, monotonic() - started


def kill_at_random(folder: Path, number: int, seed: int, *, backbone: str = "") -> list[str]:
    """Kill processes ``number`` times; return what was lost."""
    folder.mkdir()
    command, draw = _Command(folder, backbone), random.Random(seed)
    begun, ended = command.run(folder / "whole")
    expected, lost, done, runs = left_in(folder / "whole"), [], 0, 0
    began = monotonic()
    while done < number:
        runs += 1
        run = folder / f"run-{runs}"
        while done < number:
            process = command.start(run)
            try:
                process.wait(timeout=draw.uniform(0.9 * begun, 1.1 * ended))
            except subprocess.TimeoutExpired:
                process.kill()
                done += 1
            if code := process.wait():
                if code > 0:
                    lost.append(f"kills: run {runs} ended with {code}")
                continue
            break
        command.run(run)
        if found := difference(expected, left_in(run)):
            lost.append(f"kills: run {runs}: {found}")
    name = backbone or "a tiny model"
    print(
        f"adapt on {name}: {done} random kills in {runs} runs, {len(lost)} lost "
        f"({monotonic() - began:.0f} s)",
        flush=True,
    )
    return lost
