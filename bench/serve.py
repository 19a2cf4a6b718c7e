"""Time the server under mixed requests, against offline answers and against PEFT behind HTTP.

Run: python bench/serve.py                   (1,000 requests for each part; about two hours)
     python bench/serve.py --requests 40     (a short run)

Writes docs/results/bench/serve.json and serve.md, which docs/performance.md sums up. Every answer
is compared with the offline one; each note has a marker, so that swapped answers are found.

The requests are sent in blocks. In each block, offline answers, the server and PEFT take turns, so
that other load on the machine slows all of them alike.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from socket import socket
from time import perf_counter, process_time, sleep
from typing import Any

import httpx2
import numpy as np
import torch
from serve_requests import (
    Answered,
    Asked,
    answer_offline,
    front_store,
    is_same,
    is_swapped,
    mixed_requests,
    shipped_store,
    smallest_gap,
)

from clinprompt.backbone.load import Backbone
from clinprompt.jobs.export import export_prompt
from clinprompt.jobs.task_table import TaskTable, load_backbone_for, load_tasks

BLOCK = 250  # requests
MANY_CLIENTS = 64  # enough to fill the batch of rows being written, as an offline call does
LEVELS = (1, 4, 16, 64)  # clients at a time
TIE = 1e-3  # logits this close may be ordered either way by rounding
# The prompts, and how many tasks each request asks about its note.
PARTS: dict[str, tuple[Callable[[Path], Path], int]] = {
    "prompts of the shipped metaprompt": (shipped_store, 1),
    "prompts of the shipped metaprompt, three tasks a request": (shipped_store, 3),
    "prompts of 100 positions in front": (front_store, 1),
}
TOKEN = "the-secret-of-this-bench"
SERVE = "from clinprompt.cli import main; main()"


@dataclass(frozen=True, slots=True)
class Turn:
    """What one way of answering took for some requests: seconds, also of its process's CPU."""

    requests: int
    seconds: float
    cpu_seconds: float


@dataclass(frozen=True, slots=True)
class Load:
    """What clients saw: seconds until each answer, its status, and its body."""

    turn: Turn
    latencies: list[float]
    statuses: list[int]
    responses: list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Server:
    """A server on this machine, in a process of its own."""

    url: str
    process_id: int

    def load(self, bodies: Sequence[dict[str, Any]], clients: int) -> Load:
        """Send requests from clients; each client sends the next one when it has its answer."""

        def send(body: dict[str, Any]) -> tuple[float, int, dict[str, Any]]:
            sent = perf_counter()
            response = client.post("/v1/predict", json=body)
            return perf_counter() - sent, response.status_code, response.json()

        headers = {"Authorization": f"Bearer {TOKEN}"}
        limits = httpx2.Limits(max_connections=clients, max_keepalive_connections=clients)
        with (
            httpx2.Client(base_url=self.url, headers=headers, timeout=600, limits=limits) as client,
            ThreadPoolExecutor(clients) as pool,
        ):
            cpu, started = _cpu_seconds(self.process_id), perf_counter()
            results = list(pool.map(send, bodies))
            seconds, used = perf_counter() - started, _cpu_seconds(self.process_id) - cpu
        latencies, statuses, responses = map(list, zip(*results, strict=True))
        return Load(Turn(len(bodies), seconds, used), latencies, statuses, responses)


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=1000, help="number of mixed requests")
    parser.add_argument("--clients", type=int, default=16, help="clients at a time")
    parser.add_argument("--only", choices=PARTS, help="one part of the bench, the other as before")
    wanted = parser.parse_args()
    from run import add  # noqa: PLC0415 - loads all other benches

    for part, (make_store, tasks_each) in PARTS.items():
        if wanted.only in (None, part):
            with tempfile.TemporaryDirectory() as folder:
                store = make_store(Path(folder) / "made")
                measured = measure(
                    store,
                    requests=wanted.requests,
                    clients=wanted.clients,
                    tasks_each=tasks_each,
                )
            add("serve", part, measured)


def measure(
    store: Path, *, requests: int, clients: int, tasks_each: int = 1, model: str = ""
) -> dict[str, Any]:
    """Return the figures for the prompts of a store, on their backbone or another copy of it."""
    other_load = os.getloadavg()[0]
    backbone = load_backbone_for(store, model)
    table = load_tasks(backbone, store)
    asked = mixed_requests(table, requests, tasks_each=tasks_each)
    with (
        tempfile.TemporaryDirectory() as folder,
        _serving(store, model, Path(folder)) as own,
        _peft_serving(store, model, table, Path(folder)) as peft,
    ):
        blocks = _Blocks(backbone, table, own, peft, clients)
        for start in range(0, requests, BLOCK):
            blocks.run(asked[start : start + BLOCK])
        peak = _peak_megabytes(own.process_id)
        levels = [_level(own, asked, number) for number in LEVELS]
    offline = blocks.offline
    return {
        "requests": requests,
        "clients": clients,
        "tasks": len({task for one in asked for task in one.tasks}),
        "tasks a request": tasks_each,
        "input tokens": statistics.mean(one.num_input_tokens for one in offline.values()),
        "answer tokens": statistics.mean(sum(map(sum, one.tokens)) for one in offline.values()),
        "threads of each process": torch.get_num_threads(),
        "cores": os.cpu_count(),
        "load of the machine before": other_load,
        "peak memory of the server, MB": peak,
        **_checked(backbone, table, blocks),
        "ways to answer": blocks.rows(),
        "rising load": levels,
    }


class _Blocks:
    """Blocks of requests, each answered in every way in turn. Holds what was measured so far."""

    def __init__(
        self, backbone: Backbone, table: TaskTable, own: Server, peft: Server, clients: int
    ) -> None:
        self._backbone, self._table = backbone, table
        self._own, self._peft, self._clients = own, peft, clients
        self.offline: dict[str, Answered] = {}
        self.answered: list[tuple[Asked, int, dict[str, Any]]] = []
        self._turns: dict[str, list[Turn]] = {}

    def run(self, asked: Sequence[Asked]) -> None:
        """Answer a block in every way; PEFT answers a fifth of it."""
        if not self._turns:
            self._warm_up(asked[: len(self._table.names)])
        cpu, started = process_time(), perf_counter()
        self.offline |= answer_offline(self._backbone, self._table, asked)
        offline = Turn(len(asked), perf_counter() - started, process_time() - cpu)
        bodies = [one.body() for one in asked]
        loads = {
            f"server, {clients} clients": self._own.load(bodies, clients)
            for clients in (self._clients, MANY_CLIENTS)
        }
        for load in loads.values():
            self.answered += zip(asked, load.statuses, load.responses, strict=True)
        few = asked[: max(len(asked) // 5, self._clients)]
        peft = self._peft.load([self._counted(one) for one in few], self._clients)
        assert set(peft.statuses) == {200}
        turns = {
            **{name: load.turn for name, load in loads.items()},
            "offline predict": offline,
            f"PEFT generate behind HTTP, one at a time, {self._clients} clients": peft.turn,
        }
        for name, turn in turns.items():
            self._turns.setdefault(name, []).append(turn)

    def rows(self) -> list[dict[str, Any]]:
        """Return a row for each way; ratios are medians over blocks, above 1 if it is slower."""
        own = next(iter(self._turns.values()))
        return [
            {
                "what": name,
                "requests": sum(turn.requests for turn in turns),
                "requests a second": sum(t.requests for t in turns) / sum(t.seconds for t in turns),
                "CPU seconds a request": _each(turns, "cpu_seconds"),
                "ratio of seconds": _ratio(turns, own, "seconds"),
                "ratio of CPU seconds": _ratio(turns, own, "cpu_seconds"),
            }
            for name, turns in self._turns.items()
        ]

    def _warm_up(self, asked: Sequence[Asked]) -> None:
        self.offline |= answer_offline(self._backbone, self._table, asked)
        self._own.load([one.body() for one in asked], self._clients)
        self._peft.load([self._counted(one) for one in asked], self._clients)

    def _counted(self, asked: Asked) -> dict[str, Any]:
        """Return the body of a request to PEFT, which writes as many tokens as our answer has."""
        return asked.body() | {"tokens": self.offline[asked.marker].tokens}


def _each(turns: Sequence[Turn], what: str) -> float:
    """Return the seconds of a request."""
    total: float = sum(getattr(turn, what) for turn in turns)
    return total / sum(turn.requests for turn in turns)


def _ratio(turns: Sequence[Turn], own: Sequence[Turn], what: str) -> float:
    pairs = zip(turns, own, strict=True)
    return statistics.median(_each([one], what) / _each([base], what) for one, base in pairs)


def _checked(backbone: Backbone, table: TaskTable, blocks: _Blocks) -> dict[str, Any]:
    """Count errors, swapped answers, and answers that differ from the offline ones."""
    answered = [
        (one, body, blocks.offline[one.marker])
        for one, status, body in blocks.answered
        if status == 200
    ]
    other = [one for one, body, known in answered if not is_same(body["answers"], known)]
    num_ties = sum(smallest_gap(backbone, table, one) <= TIE for one in other)
    return {
        "answers": len(blocks.answered),
        "errors": len(blocks.answered) - len(answered),
        "swapped answers": sum(is_swapped(*one) for one in answered),
        "answers that name their marker": sum(
            one.marker in json.dumps(body["answers"]) for one, body, _ in answered
        ),
        "same as offline": len(answered) - len(other),
        "different, with a tie of logits": num_ties,
        "different, without a tie": len(other) - num_ties,
    }


def _level(server: Server, asked: Sequence[Asked], clients: int) -> dict[str, Any]:
    """Measure the server with a number of clients, on some of the requests."""
    few = asked[: max(len(asked) // 10, 2 * clients)]
    load = server.load([one.body() for one in few], clients)
    quantiles = np.percentile(load.latencies, [50, 95, 99])
    return {
        "clients": clients,
        "requests": len(few),
        "errors": sum(status != 200 for status in load.statuses),
        "requests a second": load.turn.requests / load.turn.seconds,
        **{
            f"p{p}, seconds": float(value) for p, value in zip((50, 95, 99), quantiles, strict=True)
        },
    }


@contextmanager
def _serving(store: Path, model: str, folder: Path) -> Iterator[Server]:
    token = folder / "token"
    token.write_text(TOKEN)
    port = free_port()
    options = ["--port", str(port), "--token-file", str(token), "--backbone", model]
    with started_server(
        [sys.executable, "-c", SERVE, "serve", str(store), *options], port
    ) as server:
        yield server


@contextmanager
def _peft_serving(store: Path, model: str, table: TaskTable, folder: Path) -> Iterator[Server]:
    for name in table.names:
        path = store if (store / "manifest.json").is_file() else store / name
        export_prompt(path, folder / "adapters" / name, base="the/backbone", backbone=model)
    port = free_port()
    script = Path(__file__).with_name("serve_peft.py")
    words = [sys.executable, str(script), str(store), str(folder / "adapters"), str(port), model]
    with started_server(words, port) as server:
        yield server


@contextmanager
def started_server(words: Sequence[str], port: int) -> Iterator[Server]:
    """Start a server, wait until it is ready, and end it afterwards."""
    url = f"http://127.0.0.1:{port}"
    with subprocess.Popen(words, stdout=subprocess.DEVNULL) as process:
        try:
            while not _is_ready(url):
                assert process.poll() is None, "the server has ended"
                sleep(0.2)
            yield Server(url, process.pid)
        finally:
            process.terminate()


def _is_ready(url: str) -> bool:
    try:
        return httpx2.get(f"{url}/readyz").status_code == 200
    except httpx2.ConnectError:
        return False


def free_port() -> int:
    """Return a port of this machine that no server listens on."""
    with socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


def _cpu_seconds(process_id: int) -> float:
    """Return the CPU time of a process so far (Linux)."""
    fields = Path(f"/proc/{process_id}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _peak_megabytes(process_id: int) -> float:
    """Return the most memory that a process has held so far (Linux)."""
    [line] = [
        one
        for one in Path(f"/proc/{process_id}/status").read_text().splitlines()
        if one.startswith("VmHWM:")
    ]
    return int(line.split()[1]) * 1024 / 1e6


if __name__ == "__main__":
    main()
