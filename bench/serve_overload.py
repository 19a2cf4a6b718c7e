"""Ask a server more than its queue holds; count the answers by status, and weigh the process.

Run: python bench/serve_overload.py STORE [--backbone FOLDER]
"""

import argparse
import json
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import suppress
from http.client import HTTPConnection
from itertools import count
from pathlib import Path
from socket import socket
from typing import Any

TEXT = "Takes metformin 500 mg daily. No nausea. Aspirin was stopped last week."


def main() -> None:
    """Measure; print the figures, and fail if they break the promise."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("store", type=Path)
    parser.add_argument("--backbone", default="", help="folder of the backbone, if it was moved")
    parser.add_argument("--rows", type=int, default=16, help="rows that the queue holds")
    parser.add_argument("--times", type=int, default=4, help="clients for each row of the queue")
    parser.add_argument("--requests", type=int, default=10_000)
    wanted = parser.parse_args()
    found = measure(
        wanted.store,
        backbone=wanted.backbone,
        rows=wanted.rows,
        clients=wanted.times * wanted.rows,
        requests=wanted.requests,
    )
    sys.stdout.write(json.dumps(found, indent=1) + "\n")
    is_kept = set(found["answers"]) == {"200", "429"} and found["growth"] <= 0.05
    sys.exit(0 if is_kept else "only 200 and 429, and at most 5 % more memory, are promised")


def measure(
    store: Path, *, backbone: str, rows: int, clients: int, requests: int
) -> dict[str, Any]:
    """Return the number of answers of each status, and the memory after 1,000 and at the end."""
    with socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    command = [str(Path(sys.executable).with_name("clinprompt")), "serve", str(store)]
    command += ["--port", str(port), "--max-rows", str(rows), "--device", "cpu"]
    command += ["--backbone", backbone] if backbone else []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            token = _token(server)
            _wait(port)
            load = _Load(port, token, requests, server.pid)
            started = time.perf_counter()
            threads = [threading.Thread(target=load.run) for _ in range(clients)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            seconds = time.perf_counter() - started
            after, end = load.megabytes_after_1000, megabytes(server.pid)
        finally:
            server.terminate()
    return {
        "requests": requests,
        "clients": clients,
        "rows": rows,
        "answers": {str(status): load.found[status] for status in sorted(load.found)},
        "seconds": round(seconds, 1),
        "MB after 1,000": round(after, 1),
        "MB at the end": round(end, 1),
        "growth": round(end / after - 1, 4),
    }


class _Load:
    """What all clients share: the numbers of requests left, and of answers."""

    def __init__(self, port: int, token: str, requests: int, pid: int) -> None:
        self._port, self._requests, self._pid = port, requests, pid
        self._headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        self._numbers, self._lock = count(), threading.Lock()
        self.found: Counter[int] = Counter()
        self.megabytes_after_1000 = 0.0
        connection = HTTPConnection("127.0.0.1", port)
        connection.request("GET", "/v1/tasks", headers=self._headers)
        self._bodies = [_body(task) for task in json.loads(connection.getresponse().read())]

    def run(self) -> None:
        """Send requests, each as soon as the one before is answered."""
        connection = HTTPConnection("127.0.0.1", self._port, timeout=300)
        while (number := next(self._numbers)) < self._requests:
            body = self._bodies[number % len(self._bodies)]
            connection.request("POST", "/v1/predict", body, self._headers)
            answer = connection.getresponse()
            answer.read()
            with self._lock:
                self.found[answer.status] += 1
                if self.found.total() == 1000:
                    self.megabytes_after_1000 = megabytes(self._pid)


def _body(task: dict[str, Any]) -> str:
    fields = dict.fromkeys(task["fields"], TEXT)
    return json.dumps({"tasks": [task["name"]], "fields": fields, "options": ["yes", "no"]})


def _token(server: subprocess.Popen[str]) -> str:
    assert server.stdout is not None
    for line in server.stdout:
        if line.startswith("token of this run: "):
            return line.rpartition(" ")[2].strip()
    sys.exit("the server did not start")


def _wait(port: int) -> None:
    while True:
        with suppress(OSError):
            connection = HTTPConnection("127.0.0.1", port)
            connection.request("GET", "/readyz")
            if connection.getresponse().status == 200:
                return
        time.sleep(0.1)


def megabytes(pid: int) -> float:
    """Return the memory that a process holds (Linux)."""
    [line] = [one for one in Path(f"/proc/{pid}/status").read_text().splitlines() if "VmRSS" in one]
    return int(line.split()[1]) / 1024


if __name__ == "__main__":
    main()
