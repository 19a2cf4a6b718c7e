"""Time the server's queue at the shape of Llama 3.1 8B, under rising load.

Weights, prompts and notes are random: the cost does not depend on them. Clients are threads that
put rows into the engine of the server, without HTTP; each sends the next row when it has an answer.
Every answer has the same number of tokens. The peer is transformers' ``generate``, which answers
one row after the other with the same prompts. Knows nothing of sessions.

Axes: K tasks, P prompt positions.
"""

import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from random import Random
from time import monotonic, perf_counter
from typing import Any

import numpy as np
import torch
from transformers import DynamicCache

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # what other benches have

from gpu import LLAMA_8B, TINY, random_backbone
from rows import random_ids

from clinprompt.backbone.bank import Bank, make_bank
from clinprompt.backbone.layers import to_layer_prompts
from clinprompt.backbone.load import Backbone
from clinprompt.backbone.scheduler import Ask, max_cached_positions
from clinprompt.batches.encode import Row
from clinprompt.serving.engine import Engine, FailedError, Job, StoppedError

TASKS, LENGTH, PLACEMENT = 4, 20, "layers"  # of the prompts; as the metaprompt in the package
ROUNDS, FEWEST, MOST = 3, 6, 512  # requests of a client, and of all clients at one level
WARM_UP_ROWS, WARM_UP_TOKENS = 64, 2

Save = Callable[[dict[str, Any]], object]


@dataclass(frozen=True, slots=True)
class LoadSize:
    """Notes of ``shortest`` to ``longest`` tokens, answers of ``written`` tokens, the levels.

    ``alone`` rows are answered one at a time by the peer.
    """

    shortest: int = 200
    longest: int = 400
    written: int = 32
    clients: tuple[int, ...] = (1, 16, 64, 256)
    alone: int = 12


TINY_SIZE = LoadSize(shortest=10, longest=20, written=4, clients=(1, 4), alone=2)


@dataclass(frozen=True, slots=True)
class Tokens:
    """A question of one row, whose answer is the tokens that it wrote."""

    ask: Ask

    @property
    def asks(self) -> tuple[Ask, ...]:
        """Return the row."""
        return (self.ask,)

    def prediction(self) -> list[int]:
        """Return the answer."""
        return self.ask.written.ids


def time_queue(device: str, ends: float, save: Save, *, is_tiny: bool) -> dict[str, Any]:
    """Return speed, latency and peak memory for each number of clients, and those of the peer.

    ``save`` is called with what is known after each of them. No row is sent after ``ends`` (as
    ``monotonic`` counts seconds).
    """
    size = TINY_SIZE if is_tiny else LoadSize()
    if is_tiny:
        LLAMA_8B.update(TINY)
    backbone = random_backbone(LLAMA_8B, torch.device(device))
    bank = _random_bank(backbone)
    rows = _random_rows(max(MOST, size.alone), size)
    found: dict[str, Any] = {
        "prompts": f"{LENGTH} positions, {PLACEMENT}",
        "tokens of a note": f"{size.shortest} to {size.longest}",
        "tokens of an answer": size.written,
        "weights, GB": sum(one.nbytes for one in backbone.model.parameters()) / 1e9,
        "positions that rows being written reserve, at most": max_cached_positions(backbone),
    }
    alone, answers = _time_alone(backbone, bank, rows[: size.alone], size, ends)
    found["generate, one row at a time"] = alone
    save(found)
    with _Queue(backbone, bank, size) as queue:
        for clients in size.clients:
            if monotonic() > ends:
                return found | {"stopped": f"before {clients} clients: the time was over"}
            own = queue.level(rows[: min(max(ROUNDS * clients, FEWEST), MOST)], clients, ends)
            found[f"queue, {clients} clients"] = own
            if "failed" in own:
                break
            pairs = zip(own.pop("answers"), answers, strict=False)
            same = [written == other for written, other in pairs if written is not None]
            own["share of answers equal to those of generate"] = float(np.mean(same))
            own["times as many as generate"] = own["requests a second"] / alone["requests a second"]
            save(found)
    return found


class _Queue:
    """An engine that answers random rows. Owns its thread."""

    def __init__(self, backbone: Backbone, bank: Bank, size: LoadSize) -> None:
        self._backbone, self._bank, self._size = backbone, bank, size
        self._engine = Engine(backbone, max_rows=max(size.clients))
        self._most = 0

    def __enter__(self) -> "_Queue":
        self._engine.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._engine.stop()

    def level(self, rows: Sequence[Row], clients: int, ends: float) -> dict[str, Any]:
        """Return figures and answers of rows from a number of clients, or that it failed."""
        try:
            self._send(rows[: min(clients, WARM_UP_ROWS)], WARM_UP_TOKENS, clients, ends)
            self._most = 0
            _start_clock(self._backbone)
            started = perf_counter()
            sent = self._send(rows, self._size.written, clients, ends)
            _wait(self._backbone)
            seconds = perf_counter() - started
        except (FailedError, StoppedError) as error:  # such as too little memory
            return {"failed": str(error)}
        answered = [(row, one[0]) for row, one in zip(rows, sent, strict=True) if one]
        if not answered:
            return {"failed": "no row was sent in time"}
        figures = _figures(*map(list, zip(*answered, strict=True)), seconds, self._size)
        figures["rows written at a time, at most"] = self._most
        answers = [one[1] if one else None for one in sent]
        return figures | _peak(self._backbone) | {"answers": answers}

    def _send(
        self, rows: Sequence[Row], tokens: int, clients: int, ends: float
    ) -> list[tuple[float, list[int]] | None]:
        """Return the seconds and the answer of each row; None if it was not sent.

        Raises:
            FailedError, StoppedError: a step failed.
        """

        def send(row: Row) -> tuple[float, list[int]] | None:
            if monotonic() > ends:
                return None
            sent = perf_counter()
            job = Job(Tokens(Ask(row, self._bank, limit=tokens)), on_token=self._watch)
            self._engine.submit([job])
            answer = job.future.result()
            return perf_counter() - sent, answer

        with ThreadPoolExecutor(clients) as pool:
            return list(pool.map(send, rows))

    def _watch(self) -> None:
        self._most = max(self._most, self._engine.num_active)


def _time_alone(
    backbone: Backbone, bank: Bank, rows: Sequence[Row], size: LoadSize, ends: float
) -> tuple[dict[str, Any], list[list[int]]]:
    """Return figures and answers of ``generate``, which has one row at a time."""
    _generated(backbone, bank, rows[0], size.written)
    _start_clock(backbone)
    latencies, answers = list[float](), list[list[int]]()
    for row in rows:
        if latencies and monotonic() > ends:
            break
        started = perf_counter()
        answers.append(_generated(backbone, bank, row, size.written))
        _wait(backbone)
        latencies.append(perf_counter() - started)
    figures = _figures(rows[: len(latencies)], latencies, sum(latencies), size)
    return figures | _peak(backbone), answers


@torch.inference_mode()
def _generated(backbone: Backbone, bank: Bank, row: Row, count: int) -> list[int]:
    """Return the answer to a row that continues the keys and values of its prompt."""
    cache = DynamicCache()
    for layer, (keys, values) in enumerate(bank.keys_values):
        cache.update(keys[row.task, None], values[row.task, None], layer)
    # ``generate`` leaves out as many ids as are in the cache: those of the prompt.
    ids = torch.tensor([(0,) * bank.num_positions + row.input_ids], device=backbone.device)
    written = backbone.model.generate(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        past_key_values=cache,
        max_new_tokens=count,
        do_sample=False,
        eos_token_id=None,
        pad_token_id=0,
    )
    answer: list[int] = written[0, ids.shape[1] :].tolist()
    assert len(answer) == count
    return answer


def _figures(
    rows: Sequence[Row], latencies: Sequence[float], seconds: float, size: LoadSize
) -> dict[str, Any]:
    return {
        "requests": len(rows),
        "seconds": seconds,
        "requests a second": len(rows) / seconds,
        "tokens read a second": sum(len(row.input_ids) for row in rows) / seconds,
        "tokens written a second": len(rows) * size.written / seconds,
        "median latency, seconds": float(np.percentile(latencies, 50)),
        "95th percentile of latency, seconds": float(np.percentile(latencies, 95)),
    }


def _random_bank(backbone: Backbone) -> Bank:
    """Return the prompts of K tasks in every layer, made of random words."""
    draw = Random(0)
    ids = torch.tensor([random_ids(LENGTH, draw) for _ in range(TASKS)], device=backbone.device)
    with torch.inference_mode():
        prompts = to_layer_prompts(backbone.model, backbone.embeddings[ids])
        return make_bank(backbone.model, prompts, PLACEMENT)


def _random_rows(count: int, size: LoadSize) -> list[Row]:
    draw = Random(1)
    return [
        Row(number % TASKS, random_ids(draw.randint(size.shortest, size.longest), draw))
        for number in range(count)
    ]


def _start_clock(backbone: Backbone) -> None:
    """Wait for the device, and forget its peak of memory."""
    _wait(backbone)
    if backbone.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()


def _wait(backbone: Backbone) -> None:
    if backbone.device.type == "cuda":
        torch.cuda.synchronize()


def _peak(backbone: Backbone) -> dict[str, float]:
    on_gpu = backbone.device.type == "cuda"
    return {"peak GB": torch.cuda.max_memory_allocated() / 1e9} if on_gpu else {}
