"""Compare the metaprompt in the package with LoRA and prompt tuning at 512 tokens, on one GPU.

First searches the rates of each method on held-back tasks (search-512.toml), four trials each. Then
fills configs/open21-512.toml (64 examples, three draws) and configs/open21-512-full.toml (all
rows). Methods that train prompts and LoRA run at the same time, in separate processes, and the most
important cells come first. README.md in this folder says what the script needs and returns.

Run, from the root of the repository, with CLINPROMPT_MIRROR set:
     python bench/gpu/1_compare_512.py OUT
     python bench/gpu/1_compare_512.py OUT --resume OUT/state.tar.gz     (after a stop)
     python bench/gpu/1_compare_512.py OUT --tiny MODEL                  (a trial, on any processor)
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
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from time import monotonic, sleep
from typing import Any

from choice import best_trial, trials_of

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
CONFIGS = {
    "search": HERE / "search-512.toml",
    "64": ROOT / "configs" / "open21-512.toml",
    "full": ROOT / "configs" / "open21-512-full.toml",
}
CLINPROMPT = "from clinprompt.cli import main; main()"
PROMPTS = ("adapted-metaprompt", "prompt-tuning", "adapted-factors@factors")
UNTRAINED = ("instruction", "metaprompt")
HELD_BACK = ("ner-vaers", "nli-mqp", "ie-pgxcorpus", "qa-bioasq", "qa-medicationqa")
# Processes that train prompts, those that train LoRA, and tasks of the search: where kernels of
# several processes overlap, and where they take turns.
OVERLAPPING, IN_TURN = (3, 4, 5), (1, 2, 4)
COLLECT_SECONDS = 5.0
GRACE_SECONDS = 8.0  # of the whole time: kept for stopping processes and packing results
NOT_RETURNED = {"store", "checkpoints", "metrics.jsonl", "report"}
TINY = {
    "suite": "practice",
    "metaprompt": "",
    "dtype": "bfloat16",
    "data.max_input_tokens": 80,
    "data.max_target_tokens": 32,
    "data.train_rows": 16,
    "data.test_rows": 4,
    "prompt.length": 4,
    "prompt.placement": "layers",
    "teacher.steps": 1,
    "distill.steps": 1,
    "adapt.steps": 2,
    "compare.targets": ["practice-ner-drugs", "practice-nli-social"],
}


@dataclass(frozen=True, slots=True)
class Stage:
    """A part of one comparison, for one lane of processes: a config and what it is narrowed to.

    ``grid`` names the comparison, ``narrowed`` holds other settings of its [compare].
    """

    grid: str
    methods: tuple[str, ...]
    narrowed: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Lane:
    """Processes that do the same stages, one stage after the other, and share their cells."""

    name: str
    num_processes: int
    searched: tuple[str, ...]
    stages: tuple[Stage, ...]


class Work:
    """Everything that the lanes share. Owns the running processes and the files in OUT."""

    def __init__(self, given: argparse.Namespace) -> None:
        self.given = given
        self.folder: Path = given.work
        self.started = monotonic()
        chosen = self.folder / "chosen" / "rates.json"
        self.rates: dict[str, Any] = json.loads(chosen.read_text()) if chosen.is_file() else {}
        self._running: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.Lock()
        self._collecting = threading.Lock()
        self._is_over = threading.Event()

    @property
    def seconds_left(self) -> float:
        """Return how long processes may still run."""
        return self.given.seconds - GRACE_SECONDS - (monotonic() - self.started)

    def say(self, text: str) -> None:
        """Print a line with the time, and keep it in the log."""
        line = f"[{monotonic() - self.started:6.1f} s] {text}"
        print(line, flush=True)
        with self._lock, (self.folder / "log.txt").open("a", encoding="utf-8") as log:
            log.write(line + "\n")

    def compare(self, lane: str, stage: Stage, overrides: Sequence[str], seconds: float) -> bool:
        """Run ``clinprompt compare`` for a stage; return whether it came to its end."""
        out = self.folder / f"{stage.grid}-{lane}"
        changes = {"compare.methods": list(stage.methods), **stage.narrowed}
        changes |= self._tiny()
        words = [*overrides, *(f"{key}={json.dumps(value)}" for key, value in changes.items())]
        command = [sys.executable, "-c", CLINPROMPT, "compare", str(CONFIGS[stage.grid])]
        command += ["--out", str(out), *(part for word in words for part in ("--set", word))]
        with (self.folder / "log.txt").open("ab") as log:
            process = subprocess.Popen(
                command, cwd=ROOT, stdout=log, stderr=log, start_new_session=True
            )
            with self._lock:
                self._running.add(process)
            try:
                return process.wait(timeout=max(0.1, min(seconds, self.seconds_left))) == 0
            except subprocess.TimeoutExpired:
                _kill(process)
                return False
            finally:
                with self._lock:
                    self._running.discard(process)

    def choose(self, method: str, chosen: dict[str, Any]) -> None:
        """Remember the settings of a method for good: finished cells depend on them."""
        with self._lock:
            self.rates[method] = chosen
            folder = self.folder / "chosen"
            folder.mkdir(exist_ok=True)
            _write(folder / "rates.json", json.dumps(self.rates, indent=2).encode() + b"\n")

    def _tiny(self) -> dict[str, Any]:
        return {**TINY, "backbone": str(self.given.tiny)} if self.given.tiny else {}

    def collect(self) -> None:
        """Copy what is finished so far to OUT, with the state that ``--resume`` takes."""
        out: Path = self.given.out
        for grid in CONFIGS:
            cells = b"".join(_whole_lines(self.folder / f"{grid}-{lane}") for lane in LANE_NAMES)
            _write(out / f"cells-{grid}.jsonl", cells)
        _write(out / "rates.json", json.dumps(self.rates, indent=2).encode() + b"\n")
        for environment in sorted(self.folder.glob("64-*/environment.json"))[:1]:
            _write(out / "environment.json", environment.read_bytes())
        with suppress(FileNotFoundError):
            _write(out / "log.txt", (self.folder / "log.txt").read_bytes()[-8_000_000:])
        with suppress(OSError):  # a file may vanish meanwhile: the next copy has what it became
            draft = out / ".state.tar.gz"
            with tarfile.open(draft, "w:gz", compresslevel=1) as archive:
                for folder in sorted(path for path in self.folder.iterdir() if path.is_dir()):
                    archive.add(folder, folder.name, filter=_returned)
            draft.replace(out / "state.tar.gz")

    def collect_until_over(self) -> None:
        """Copy again and again, so that a sudden end loses little."""
        while not self._is_over.wait(COLLECT_SECONDS):
            with self._collecting:
                self.collect()

    def finish(self) -> None:
        """Stop what still runs, and copy a last time."""
        self._is_over.set()
        with self._lock:
            for process in self._running:
                _kill(process)
        with self._collecting:
            self.collect()


LANE_NAMES = ("prompts", "lora")


def lanes(given: argparse.Namespace) -> list[Lane]:
    """Return what is done side by side, and in which order: the most worth first."""
    first, others = {"compare.seeds": [0]}, {"compare.seeds": [0, 1, 2]}
    if given.tiny:
        first = others = {"compare.seeds": [0], "compare.shots": [4]}
    whole = {"compare.seeds": [0]}

    def in_order(methods: tuple[str, ...]) -> tuple[Stage, ...]:
        own = (Stage("64", methods, first), Stage("full", methods, whole))
        return own if given.tiny else (*own, Stage("64", methods, others))

    untrained = () if given.tiny else (Stage("64", UNTRAINED, first),)
    rank_16 = () if given.tiny else in_order(("lora@rank-16",))
    return [
        Lane(
            "prompts",
            given.prompt_processes,
            ("adapted-metaprompt", "prompt-tuning", "adapted-factors"),
            (*in_order(PROMPTS), *untrained),
        ),
        Lane("lora", given.lora_processes, ("lora",), (*in_order(("lora",)), *rank_16)),
    ]


def fill(work: Work, lane: Lane) -> None:
    """Search the rates of a lane's methods, then fill its part of every comparison."""
    if missing := [name for name in lane.searched if name not in work.rates]:
        _search(work, lane)
        if work.seconds_left < 1:
            return
        cells = _cells(work.folder / f"search-{lane.name}")
        for method in missing:
            work.choose(method, best_trial(method, cells, search=CONFIGS["search"]))
    overrides = []
    for method in lane.searched:
        chosen = work.rates[method]
        work.say(
            f"{method}: {chosen['settings']}, chosen on {', '.join(chosen['tasks']) or 'none'}"
        )
        where = "variants.factors." if method == "adapted-factors" else ""
        overrides += [f"{where}{key}={value}" for key, value in chosen["settings"].items()]
    _side_by_side(work, lane, lane.stages, overrides, work.given.seconds)


def _search(work: Work, lane: Lane) -> None:
    trials = tuple(one for name in lane.searched for one in trials_of(name))
    narrowed: dict[str, Any] = {"compare.targets": list(HELD_BACK[: work.given.search_tasks])}
    search = Stage("search", trials, {"compare.shots": [4]} if work.given.tiny else narrowed)
    _side_by_side(work, lane, (search,), (), work.given.search_seconds)


def _side_by_side(
    work: Work, lane: Lane, stages: Sequence[Stage], overrides: Sequence[str], seconds: float
) -> None:
    def one(number: int) -> None:
        ends = monotonic() + seconds
        for stage in stages:
            for _ in range(2):  # once more after an error: memory may have been short
                is_done = work.compare(lane.name, stage, overrides, ends - monotonic())
                if is_done or min(ends - monotonic(), work.seconds_left) < 1:
                    break
            word = "done" if is_done else "stopped"
            work.say(f"{lane.name} {number}: {stage.grid} {', '.join(stage.methods)} {word}")
            if work.seconds_left < 1:
                return

    threads = [threading.Thread(target=one, args=(n,)) for n in range(lane.num_processes)]
    for thread in threads:
        thread.start()
        sleep(0 if work.given.tiny else 0.5)
    for thread in threads:
        thread.join()


def _whole_lines(folder: Path) -> bytes:
    path = folder / "cells.jsonl"
    content = path.read_bytes() if path.is_file() else b""
    return content[: content.rfind(b"\n") + 1]


def _cells(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in _whole_lines(folder).splitlines()]


def _write(path: Path, content: bytes) -> None:
    draft = path.with_name(f".{path.name}")
    draft.write_bytes(content)
    draft.replace(path)


def _returned(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
    parts = Path(entry.name).parts
    return None if NOT_RETURNED & set(parts) or parts[-1].startswith(".") else entry


def _kill(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@contextmanager
def _multi_process_service(work: Work, *, is_wanted: bool) -> Iterator[bool]:
    """Let kernels of several processes run at the same time, where CUDA's MPS is installed.

    Yields whether they do. Without it they take turns, which is right but slower. No setting of the
    card is changed.
    """
    control = shutil.which("nvidia-cuda-mps-control")
    if not is_wanted or control is None:
        work.say(f"MPS: {'not asked for' if not is_wanted else 'not installed'}")
        yield False
        return
    for name in ("PIPE", "LOG"):
        folder = work.folder / f".mps-{name.lower()}"
        folder.mkdir(parents=True, exist_ok=True)
        os.environ[f"CUDA_MPS_{name}_DIRECTORY"] = str(folder)
    with suppress(subprocess.TimeoutExpired):
        subprocess.run([control, "-d"], timeout=10, check=False)
    check = "import torch; assert torch.ones(8, device='cuda').sum().item() == 8"
    works = True
    try:
        subprocess.run([sys.executable, "-c", check], timeout=30, check=True)
        work.say("MPS: on")
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
        work.say("MPS: does not work here; processes take turns")
        works = False
        _quit(control)
        for name in ("PIPE", "LOG"):
            del os.environ[f"CUDA_MPS_{name}_DIRECTORY"]
    try:
        yield works
    finally:
        _quit(control)


def _quit(control: str) -> None:
    with suppress(subprocess.TimeoutExpired):
        subprocess.run([control], input=b"quit\n", timeout=5, check=False, capture_output=True)


def machine() -> dict[str, Any]:
    """Return what the results were made on."""
    import torch  # noqa: PLC0415 - --help needs no package

    packages = {}
    for name in ("torch", "transformers", "peft", "numpy", "pydantic", "gguf"):
        with suppress(PackageNotFoundError):
            packages[name] = version(name)
    has_gpu = torch.cuda.is_available()
    return {
        "device": torch.cuda.get_device_name() if has_gpu else "cpu",
        "device memory GB": torch.cuda.get_device_properties(0).total_memory / 1e9
        if has_gpu
        else 0,
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "packages": packages,
        "command": sys.argv[1:],
    }


def _start_unpacking(given: argparse.Namespace) -> subprocess.Popen[bytes] | None:
    """Start to unpack the default backbone once, before many processes look for it."""
    code = "from clinprompt.backbone.load import load_tokenizer as load; load('smollm2-135m')"
    return None if given.tiny else subprocess.Popen([sys.executable, "-c", code])


def _wait_for(unpacking: subprocess.Popen[bytes] | None, work: Work) -> None:
    if unpacking is None:
        return
    if unpacking.wait() != 0:
        sys.exit("the default backbone cannot be unpacked; the reason is above")
    work.say("backbone unpacked")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path, help="folder for results")
    parser.add_argument("--work", type=Path, help="folder for runs; fast, best in memory")
    parser.add_argument("--resume", type=Path, help="state.tar.gz of an earlier call")
    parser.add_argument("--seconds", type=float, default=560, help="of the whole call")
    parser.add_argument("--search-seconds", type=float, default=170, help="of the search")
    parser.add_argument("--prompt-processes", type=int, help="3 with MPS, else 1")
    parser.add_argument("--lora-processes", type=int, help="4 with MPS, else 2")
    parser.add_argument("--search-tasks", type=int, help="5 with MPS, else 4")
    parser.add_argument("--mps", action="store_true", help="try CUDA's multi-process service")
    parser.add_argument("--tiny", type=Path, help="folder of a tiny model: a trial of the script")
    given = parser.parse_args()
    memory = Path("/dev/shm")
    given.work = given.work or (memory if memory.is_dir() else given.out) / "clinprompt-512"
    return given


def main() -> None:
    """Search, compare, and leave in OUT what was finished, however the call ends."""
    given = _arguments()
    given.out.mkdir(parents=True, exist_ok=True)
    given.work.mkdir(parents=True, exist_ok=True)
    if given.resume:
        with tarfile.open(given.resume) as archive:
            archive.extractall(given.work, filter="data")
    os.environ["OMP_NUM_THREADS"] = os.environ.get("OMP_NUM_THREADS", "2")
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    os.environ["PYTORCH_CUDA_ALLOC_CONF"] = "expandable_segments:True"
    os.environ["COLUMNS"] = "160"
    work = Work(given)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    threading.Thread(target=work.collect_until_over, daemon=True).start()
    _write(given.out / "machine.json", json.dumps(machine(), indent=2).encode() + b"\n")
    unpacking = _start_unpacking(given)  # takes longer than the start of MPS
    with _multi_process_service(work, is_wanted=given.mps) as overlaps:
        sizes = OVERLAPPING if overlaps else IN_TURN
        given.prompt_processes = given.prompt_processes or sizes[0]
        given.lora_processes = given.lora_processes or sizes[1]
        given.search_tasks = given.search_tasks or sizes[2]
        try:
            _wait_for(unpacking, work)
            threads = [
                threading.Thread(target=fill, args=(work, lane), daemon=True)
                for lane in lanes(given)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            work.say("all stages ended")
        finally:
            work.finish()
    counts = {grid: len(_all_cells(work, grid)) for grid in CONFIGS}
    print(json.dumps(counts), flush=True)
    sys.exit(0 if all(counts.values()) else 1)


def _all_cells(work: Work, grid: str) -> list[dict[str, Any]]:
    return [cell for name in LANE_NAMES for cell in _cells(work.folder / f"{grid}-{name}")]


if __name__ == "__main__":
    main()
