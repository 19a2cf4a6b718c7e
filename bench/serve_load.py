"""Ask a server twice as much as it can answer, for 30 minutes, among clients that misbehave.

Requests of well-behaved clients arrive at random moments, at twice the rate that the server was
measured to answer. For every ten of them arrive one client that leaves before its answer, one that
stalls in the middle of its request, and one that sends garbage. Kept is the promise if the server
does not end, every answer equals the offline one, everything else is refused with a documented
status, and memory, open files and the queue are at the end as they were.

Run: python bench/serve_load.py                 (default model, 30 minutes; writes
                                                 docs/results/bench/serve-load.json)
     python bench/serve_load.py --minutes 1
"""

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from time import perf_counter, sleep
from typing import Any

import httpx2
from serve import SERVE, TOKEN, Server, free_port, started_server
from serve_overload import megabytes
from serve_requests import (
    Answered,
    Asked,
    answer_offline,
    is_same,
    is_swapped,
    mixed_requests,
    shipped_store,
)

from clinprompt.jobs.task_table import load_backbone_for, load_tasks
from clinprompt.runs.workspace import environment

RESULTS = Path(__file__).parents[1] / "docs" / "results" / "bench"
ROWS = 32  # that the queue holds, so that twice the capacity fills it
SECONDS = 60  # --max-seconds: a request that waits longer gets 504
TIMES = 2.0  # the load, in units of what the server can answer
CLIENTS = 16  # while the capacity is measured
ODD_SHARE = 0.1  # clients of each kind of misbehavior, for one that behaves
STALL = 5.0  # seconds that a client stops in the middle of its request
KEPT_GROWTH = 0.05  # of memory, from the first tenth of the time to the end
ANSWERED = {"200", "429", "504"}  # 429: the queue is full; 504: --max-seconds have passed
REFUSED = {"400", "401", "404", "408", "413", "422", "closed"}  # how it refuses garbage


def main() -> None:
    """Measure; print and write the figures, and fail if they break the promise."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--requests", type=int, default=240, help="different requests")
    parser.add_argument("--json", type=Path, default=RESULTS / "serve-load.json")
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        store = shipped_store(Path(folder) / "made")
        found = measure(store, minutes=wanted.minutes, requests=wanted.requests)
    text = json.dumps(found, indent=2) + "\n"
    wanted.json.write_text(text)
    sys.stdout.write(text)
    sys.exit("; ".join(broken(found)) or 0)


def broken(found: dict[str, Any]) -> list[str]:
    """Return what breaks the promise, in words."""
    wrong = {
        "a client that behaves got an undocumented status": set(found["statuses"]) - ANSWERED,
        "answers differ from the offline ones": found["different"],
        "answers were swapped": found["swapped"],
        "garbage got an undocumented status": set(found["garbage"]) - REFUSED,
        "stalled requests got an undocumented status": set(found["clients that stalled"])
        - REFUSED
        - ANSWERED,
        "memory grew": found["growth"] > KEPT_GROWTH,
        "files stay open": found["open files at the end"] > found["open files before"] + 2,
        "rows stay in the queue": found["rows at the end"],
        "the server failed on a request": found["failures"],
    }
    return [what for what, is_so in wrong.items() if is_so]


def measure(
    store: Path, *, minutes: float, requests: int, model: str = "", seconds: int = SECONDS
) -> dict[str, Any]:
    """Return what a server on the prompts of a store did under the load."""
    backbone = load_backbone_for(store, model)
    table = load_tasks(backbone, store)
    asked = mixed_requests(table, requests)
    offline = answer_offline(backbone, table, asked)
    with tempfile.TemporaryDirectory() as folder:
        token = Path(folder) / "token"
        token.write_text(TOKEN)
        port = free_port()
        options = ["--port", str(port), "--token-file", str(token), "--backbone", model]
        options += ["--max-rows", str(ROWS), "--max-seconds", str(seconds)]
        words = [sys.executable, "-c", SERVE, "serve", str(store), *options]
        with started_server(words, port) as server:
            few = [one.body() for one in asked[: max(len(asked) // 2, 2 * CLIENTS)]]
            server.load(few[:CLIENTS], CLIENTS)  # the first requests are slower
            turn = server.load(few, CLIENTS).turn
            capacity = turn.requests / turn.seconds
            before = _open_files(server)
            crowd = Crowd(port, asked, offline, rate=TIMES * capacity)
            samples = asyncio.run(crowd.run(minutes * 60, lambda: megabytes(server.process_id)))
            after = _figures_when_idle(server)
            at_end = _open_files(server)
    return {
        "environment": environment(backbone),
        "minutes": minutes,
        "requests a second that the server can answer": capacity,
        "requests a second that came": crowd.statuses.total() / (minutes * 60),
        "requests a second that were answered": crowd.statuses["200"] / (minutes * 60),
        "statuses": dict(sorted(crowd.statuses.items())),
        "different": crowd.different,
        "swapped": crowd.swapped,
        "seconds to an answer, median": statistics.median(crowd.seconds),
        "clients that left": crowd.left,
        "clients that stalled": dict(sorted(crowd.stalled.items())),
        "garbage": dict(sorted(crowd.garbage.items())),
        "MB after a tenth": samples[len(samples) // 10],
        "MB at the end": samples[-1],
        "growth": samples[-1] / samples[len(samples) // 10] - 1,
        "open files before": before,
        "open files at the end": at_end,
        "rows at the end": after["clinprompt_rows"],
        "failures": after["clinprompt_failures"],
    }


@dataclass(slots=True)
class Crowd:
    """Clients of all kinds, and what each kind was answered."""

    port: int
    asked: Sequence[Asked]
    offline: dict[str, Answered]
    rate: float
    statuses: Counter[str] = field(default_factory=Counter)
    stalled: Counter[str] = field(default_factory=Counter)
    garbage: Counter[str] = field(default_factory=Counter)
    left: int = 0
    different: int = 0
    swapped: int = 0
    seconds: list[float] = field(default_factory=list)
    draw: Random = field(default_factory=lambda: Random(0))

    async def run(self, seconds: float, weigh: Callable[[], float]) -> list[float]:
        """Send clients for a time and wait for the last; return the memory every 100th of it."""
        kinds: list[Callable[[], Awaitable[None]]] = [
            self._behave,
            self._leave,
            self._stall,
            self._send_garbage,
        ]
        weights = [1.0, ODD_SHARE, ODD_SHARE, ODD_SHARE]
        started, comes_at, samples = perf_counter(), 0.0, [weigh()]
        async with asyncio.TaskGroup() as group:
            while (passed := perf_counter() - started) < seconds:
                [kind] = self.draw.choices(kinds, weights)
                group.create_task(kind())
                if passed > len(samples) * seconds / 100:
                    samples.append(weigh())
                comes_at += self.draw.expovariate(self.rate * sum(weights))
                await asyncio.sleep(comes_at - (perf_counter() - started))
        samples.append(weigh())
        return samples

    async def _behave(self) -> None:
        """Ask, wait, and compare the answer with the offline one."""
        one, sent = self.draw.choice(self.asked), perf_counter()
        status, body = await self._exchange(_post(json.dumps(one.body()).encode()))
        self.statuses[status] += 1
        if status != "200":
            return
        self.seconds.append(perf_counter() - sent)
        response, expected = json.loads(body), self.offline[one.marker]
        self.different += not is_same(response["answers"], expected)
        self.swapped += is_swapped(one, response, expected)

    async def _leave(self) -> None:
        """Ask, and close the connection before the answer."""
        request = _post(json.dumps(self.draw.choice(self.asked).body()).encode())
        _, writer = await asyncio.open_connection("127.0.0.1", self.port)
        with suppress(ConnectionError):
            writer.write(request)
            await writer.drain()
            await asyncio.sleep(self.draw.uniform(0, 3))
        writer.transport.abort()
        self.left += 1

    async def _stall(self) -> None:
        """Send a part of a request, wait, and then send the rest or leave."""
        one = self.draw.choice(self.asked)
        request = _post(json.dumps(one.body()).encode())
        cut, goes_on = self.draw.randrange(1, len(request)), self.draw.random() < 0.5
        parts = [request[:cut], request[cut:] if goes_on else b""]
        status, body = await self._exchange(*parts)
        self.stalled[status] += 1
        if status == "200":
            self.different += not is_same(json.loads(body)["answers"], self.offline[one.marker])

    async def _send_garbage(self) -> None:
        """Send what is no request of this server, and note how it was refused."""
        right = json.dumps(self.draw.choice(self.asked).body()).encode()
        garbage = [
            self.draw.randbytes(300) + b"\r\n\r\n",  # no HTTP
            _post(self.draw.randbytes(300)),  # no JSON
            _post(b"[" * 20_000),  # nested too deeply
            _post(right, length=10 * len(right)),  # shorter than it says
            _post(right, token="another"),
            _post(b'{"tasks": [1], "text": {}}'),
            _post(b'{"tasks": ["no-such-task"], "text": "x"}'),
            _post(b"x" * 3_000_000),  # longer than allowed
            _post(right, path="/v1/none"),
            _post(right[:-1]),
        ]
        status, _ = await self._exchange(self.draw.choice(garbage))
        self.garbage[status] += 1

    async def _exchange(self, *parts: bytes) -> tuple[str, bytes]:
        """Send the parts of a request with a pause between; return the status and the body.

        The status is "closed" if the server closes the connection without one.
        """
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        answer = b""
        with suppress(ConnectionError):
            for number, part in enumerate(parts):
                if number > 0:
                    await asyncio.sleep(STALL)
                writer.write(part)
                await writer.drain()
            if not parts[-1]:
                writer.write_eof()
        with suppress(ConnectionError):
            answer = await reader.read()
        writer.close()
        head, _, body = answer.partition(b"\r\n\r\n")
        return (head.split()[1].decode() if head else "closed"), body


def _post(
    body: bytes, *, path: str = "/v1/predict", token: str = TOKEN, length: int | None = None
) -> bytes:
    lines = [
        f"POST {path} HTTP/1.1",
        "Host: 127.0.0.1",
        f"Authorization: Bearer {token}",
        "Content-Type: application/json",
        f"Content-Length: {len(body) if length is None else length}",
        "Connection: close",
    ]
    return "\r\n".join([*lines, "", ""]).encode() + body


def _figures_when_idle(server: Server) -> dict[str, float]:
    """Return the figures of /metrics once no row is in the queue, at the latest after a minute."""
    for _ in range(60):
        if not (found := _figures(server))["clinprompt_rows"]:
            break
        sleep(1)
    return found


def _figures(server: Server) -> dict[str, float]:
    """Return the figures of /metrics by name, with their labels."""
    headers = {"Authorization": f"Bearer {TOKEN}"}
    lines = httpx2.get(f"{server.url}/metrics", headers=headers).text.splitlines()
    pairs = [line.rsplit(" ", 1) for line in lines if line[:1] != "#"]
    return {name: float(value) for name, value in pairs}


def _open_files(server: Server) -> int:
    """Return the number of files and connections that the server holds (Linux)."""
    return len(list(Path(f"/proc/{server.process_id}/fd").iterdir()))


if __name__ == "__main__":
    main()
