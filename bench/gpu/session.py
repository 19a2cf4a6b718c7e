"""What the numbered scripts share: arguments, messages, files that return, MPS, worker processes.

Knows nothing of what the workers compute.
"""

import argparse
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from time import monotonic, time
from typing import Any

GRACE_SECONDS = 8.0  # of the whole time: kept for stopping processes and packing results
_COLLECT_SECONDS = 10.0
_LEFT_OUT = {"checkpoints", "metrics.jsonl", "report", "claims"}
_OF_PROMPTS = {"store", "finished.json"}  # returned only by runs that train teachers


class Lines:
    """A reporter of a job that prints one line a message, with the clock of the session."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._started = float(os.environ.get("SESSION_STARTED", time()))

    def begin(self, what: str, *, total: int, done: int = 0) -> None:
        """Say which phase starts."""
        self.say(f"{what}: step {done} of {total}")

    def advance(self, *, loss: float | None = None, tokens_per_second: float = 0.0) -> None:
        """Say nothing: each step is in the log."""

    def say(self, message: str) -> None:
        """Print a line."""
        print(f"[{time() - self._started:6.1f} s] {self._name}: {message}", flush=True)


class Session:
    """One call of a script. Owns its worker processes and the files in OUT."""

    def __init__(self, out: Path, work: Path, seconds: float) -> None:
        self.out, self.work, self.seconds = out, work, seconds
        self.started = monotonic()
        os.environ["SESSION_STARTED"] = str(time())
        os.environ["OMP_NUM_THREADS"] = os.environ.get("OMP_NUM_THREADS", "1")
        os.environ["TOKENIZERS_PARALLELISM"] = "false"
        os.environ["PYTORCH_CUDA_ALLOC_CONF"] = "expandable_segments:True"
        self._lines = Lines("session")
        self._workers: list[subprocess.Popen[bytes]] = []
        self._is_over = threading.Event()
        out.mkdir(parents=True, exist_ok=True)
        work.mkdir(parents=True, exist_ok=True)
        self.say(f"budget: {seconds:.0f} s, of which the last {GRACE_SECONDS:.0f} s pack results")

    @property
    def seconds_left(self) -> float:
        """Return how long workers may still run."""
        return self.seconds - GRACE_SECONDS - (monotonic() - self.started)

    def say(self, message: str) -> None:
        """Print a line with the time."""
        self._lines.say(message)

    def resume(self, state: Path | None) -> None:
        """Take over what an earlier call returned."""
        if state:
            with tarfile.open(state) as archive:
                archive.extractall(self.work, filter="data")

    def start(self, *words: str) -> None:
        """Start a Python process whose messages go to ``log-NAME.txt`` in OUT, one file for all."""
        with (self.out / "log.txt").open("ab") as log:
            worker = subprocess.Popen(
                [sys.executable, *words], stdout=log, stderr=log, start_new_session=True
            )
        self._workers.append(worker)

    def wait(self) -> bool:
        """Wait for all workers, at most until the time is over; return whether all succeeded."""
        ended = []
        for worker in self._workers:
            with suppress(subprocess.TimeoutExpired):
                ended.append(worker.wait(timeout=max(0.1, self.seconds_left)))
        return len(ended) == len(self._workers) and not any(ended)

    def run(self, *words: str, seconds: float) -> bool:
        """Run one worker, at most for ``seconds``; return whether it succeeded."""
        self.start(*words)
        worker = self._workers.pop()
        try:
            return worker.wait(timeout=max(0.1, min(seconds, self.seconds_left))) == 0
        except subprocess.TimeoutExpired:
            return False
        finally:
            _kill(worker)

    def show_log(self, length: int) -> None:
        """Print the end of what the workers wrote."""
        path = self.out / "log.txt"
        print(path.read_text()[-length:] if path.is_file() else "", flush=True)

    @contextmanager
    def returning(self) -> Iterator[None]:
        """Copy what is finished to OUT every few seconds, and a last time when the block ends."""
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
        write(self.out / "machine.json", json.dumps(machine(), indent=2).encode() + b"\n")
        thread = threading.Thread(target=self._collect_until_over, daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._is_over.set()
            for worker in self._workers:
                _kill(worker)
            thread.join()
            self._collect()

    def _collect_until_over(self) -> None:
        while not self._is_over.wait(_COLLECT_SECONDS):
            self._collect()

    def _collect(self) -> None:
        cells: dict[str, bytes] = {}  # of all lanes
        for path in sorted(self.work.glob("*/cells.jsonl")):
            grid, content = path.parent.name.rpartition("-")[0], path.read_bytes()
            cells[grid] = cells.get(grid, b"") + content[: content.rfind(b"\n") + 1]
        for grid, content in cells.items():
            write(self.out / f"cells-{grid}.jsonl", content)
        for path in sorted(self.work.glob("*/environment.json"))[:1]:
            write(self.out / "environment.json", path.read_bytes())
        for path in self.work.glob("*.json"):
            write(self.out / path.name, path.read_bytes())
        with suppress(OSError):  # a file may vanish meanwhile: the next copy has what it became
            draft = self.out / ".state.tar.gz"
            with tarfile.open(draft, "w:gz", compresslevel=1) as archive:
                for path in sorted(self.work.iterdir()):
                    archive.add(path, path.name, filter=_returned)
            draft.replace(self.out / "state.tar.gz")

    @contextmanager
    def multi_process_service(self, *, is_wanted: bool) -> Iterator[bool]:
        """Let kernels of several processes overlap where CUDA's MPS works; yield whether they do.

        Without it they take turns, which is right but slower. No setting of the card is changed.
        """
        control = shutil.which("nvidia-cuda-mps-control")
        works = bool(is_wanted and control) and self._start_service(str(control))
        self.say(f"MPS: {'on' if works else 'off'}")
        try:
            yield works
        finally:
            if works:
                _quit(str(control))

    def _start_service(self, control: str) -> bool:
        variables = [f"CUDA_MPS_{name}_DIRECTORY" for name in ("PIPE", "LOG")]
        for name in variables:
            folder = self.work / f".{name.lower()}"
            folder.mkdir(parents=True, exist_ok=True)
            os.environ[name] = str(folder)
        check = "import torch; assert torch.ones(8, device='cuda').sum().item() == 8"
        try:
            subprocess.run([control, "-d"], timeout=10, check=False)
            subprocess.run([sys.executable, "-c", check], timeout=40, check=True)
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
            _quit(control)
            for name in variables:
                del os.environ[name]
            return False
        return True


def machine() -> dict[str, Any]:
    """Return what the results are made on; imports no torch, which takes seconds."""
    packages = {}
    for name in ("torch", "transformers", "peft", "numpy", "pydantic", "gguf", "llguidance"):
        with suppress(PackageNotFoundError):
            packages[name] = version(name)
    card = shutil.which("nvidia-smi")
    query = [str(card), "--query-gpu=name,memory.total", "--format=csv,noheader"]
    found = subprocess.run(query, check=False, capture_output=True, text=True) if card else None
    return {
        "device": found.stdout.strip() if found else "cpu",
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "packages": packages,
        "command": sys.argv[1:],
    }


def arguments_of(description: str | None) -> argparse.ArgumentParser:
    """Return a parser of the arguments that all numbered scripts take."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path, help="folder for results")
    parser.add_argument("--work", type=Path, help="folder for runs; best in memory")
    parser.add_argument("--resume", type=Path, help="state.tar.gz of an earlier call")
    parser.add_argument("--seconds", type=float, default=560, help="of the whole call")
    parser.add_argument("--set", action="append", default=[], help="a setting, section.key=value")
    parser.add_argument("--tiny", type=Path, help="folder of a tiny model: a trial of the script")
    parser.add_argument("--worker", default="", help=argparse.SUPPRESS)
    return parser


def read_arguments(parser: argparse.ArgumentParser, name: str) -> argparse.Namespace:
    """Return the arguments; runs are kept in memory by default, because their files are small."""
    given = parser.parse_args()
    memory = Path("/dev/shm")
    given.work = given.work or (memory if memory.is_dir() else given.out) / f"clinprompt-{name}"
    return given


def write(path: Path, content: bytes) -> None:
    """Write a file completely or not at all."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_bytes(content)
    draft.replace(path)


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Return the whole lines of a JSON Lines file that another process may be writing."""
    if not path.is_file():
        return []
    return [json.loads(line) for line in path.read_text().rpartition("\n")[0].splitlines()]


def overrides(values: Sequence[tuple[str, Any]]) -> list[str]:
    """Return changed settings as texts, as ``--set`` takes them."""
    return [f"{key}={json.dumps(value)}" for key, value in values]


def _returned(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
    parts = Path(entry.name).parts
    left_out = _LEFT_OUT | (set() if parts[0].startswith("teachers-") else _OF_PROMPTS)
    return None if left_out & set(parts) or parts[-1].startswith(".") else entry


def _kill(worker: subprocess.Popen[bytes]) -> None:
    if worker.poll() is None:
        with suppress(ProcessLookupError):
            os.killpg(worker.pid, signal.SIGKILL)
    worker.wait()


def _quit(control: str) -> None:
    with suppress(subprocess.TimeoutExpired):
        subprocess.run([control], input=b"quit\n", timeout=5, check=False, capture_output=True)
