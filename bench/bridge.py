"""Time reading and writing with llama.cpp, which takes prompts in front as embeddings.

Run: pip install llama-cpp-python, then: python bench/bridge.py

Both read the same GGUF file: llama.cpp multiplies its 4-bit weights with activations of 8 bits,
clinprompt the same weights in float32. The work is that of ``bench/dtypes.py``: 16 rows of 64
tokens after a prompt of 20 positions, then one token for 1, 16 and 64 rows. In llama.cpp, the
prompt is computed once and its keys are copied to all rows. Compared are the seconds, in turns, and
the first token of each row.

Writes docs/results/bench/llama-cpp.json and llama-cpp.md. What it finds is in docs/performance.md.
"""

import os
from collections.abc import Sequence
from ctypes import memmove
from typing import Any

import llama_cpp
import numpy as np
import torch
from dtypes import (
    PROMPT_POSITIONS,
    READ_ROWS,
    ROW_TOKENS,
    WRITTEN_ROWS,
    Work,
    compared,
    make_rows,
    reader,
    take_turns,
    writer,
)

from clinprompt.backbone.bank import make_bank, read_inputs
from clinprompt.backbone.head import float32_head
from clinprompt.backbone.load import load_backbone
from clinprompt.backbone.stored import find_in_wheel
from clinprompt.prompts.initializers import from_vocabulary

NAME = "smollm2-135m"
ROOM = 512  # positions of each row
_QUIET = llama_cpp.llama_log_callback(lambda *_: None)
Vectors = np.ndarray[tuple[int, int], np.dtype[np.float32]]


class LlamaCpp:
    """A GGUF file in llama.cpp, with room for rows that continue one prompt."""

    def __init__(self, path: str, rows: int) -> None:
        llama_cpp.llama_log_set(_QUIET, None)
        llama_cpp.llama_backend_init()
        self._model = llama_cpp.llama_model_load_from_file(
            path.encode(), llama_cpp.llama_model_default_params()
        )
        options = llama_cpp.llama_context_default_params()
        options.n_ctx = (rows + 1) * ROOM
        options.n_seq_max = rows + 1
        options.n_batch = options.n_ubatch = 1024
        options.n_threads = options.n_threads_batch = torch.get_num_threads()
        options.kv_unified = True
        self._context = llama_cpp.llama_init_from_model(self._model, options)
        self._memory = llama_cpp.llama_get_memory(self._context)
        vocabulary = llama_cpp.llama_model_get_vocab(self._model)
        self._num_tokens = llama_cpp.llama_vocab_n_tokens(vocabulary)
        self._rows = rows

    def read_prompt(self, vectors: Vectors) -> None:
        """Forget everything; compute the keys of a prompt and copy them to all rows."""
        length, width = vectors.shape
        llama_cpp.llama_memory_clear(self._memory, True)
        batch = llama_cpp.llama_batch_init(length, width, 1)
        values = np.ascontiguousarray(vectors)
        memmove(batch.embd, values.ctypes.data, values.nbytes)
        self._place(batch, [(self._rows, position, False) for position in range(length)])
        llama_cpp.llama_batch_free(batch)
        for row in range(self._rows):
            llama_cpp.llama_memory_seq_cp(self._memory, self._rows, row, -1, -1)

    def forget_rows(self, length: int) -> None:
        """Remove all positions of the rows behind the prompt."""
        for row in range(self._rows):
            llama_cpp.llama_memory_seq_rm(self._memory, row, length, -1)

    def read(self, rows: Sequence[Sequence[int]], position: int, first: int = 0) -> list[int]:
        """Read tokens of the rows from number ``first`` on, starting at a position.

        Returns the most likely next token of each.
        """
        tokens = [token for row in rows for token in row]
        places = [
            (first + number, position + place, place == len(row) - 1)
            for number, row in enumerate(rows)
            for place in range(len(row))
        ]
        batch = llama_cpp.llama_batch_init(len(tokens), 0, 1)
        for index, token in enumerate(tokens):
            batch.token[index] = token
        self._place(batch, places)
        llama_cpp.llama_batch_free(batch)
        ends = [index for index, (_, _, is_last) in enumerate(places) if is_last]
        return [self._best(index) for index in ends]

    def _place(self, batch: Any, places: Sequence[tuple[int, int, bool]]) -> None:  # noqa: ANN401
        """Give each entry of a batch its row, its position and whether it has logits; run it."""
        batch.n_tokens = len(places)
        for index, (row, position, has_logits) in enumerate(places):
            batch.pos[index], batch.logits[index] = position, has_logits
            batch.n_seq_id[index], batch.seq_id[index][0] = 1, row
        assert llama_cpp.llama_decode(self._context, batch) == 0

    def _best(self, index: int) -> int:
        logits = llama_cpp.llama_get_logits_ith(self._context, index)
        return int(np.ctypeslib.as_array(logits, (self._num_tokens,)).argmax())


def main() -> None:
    """Measure and write."""
    from run import add  # noqa: PLC0415 - loads all other benches

    add("llama-cpp", "llama.cpp and clinprompt", measure(turns=9))


@torch.inference_mode()
def measure(*, turns: int) -> dict[str, Any]:
    """Return tokens a second of both, the ratio of seconds, and how many first tokens agree."""
    backbone = load_backbone(NAME, device="cpu")
    path = find_in_wheel(NAME)
    generator = torch.Generator().manual_seed(0)
    vectors = from_vocabulary(backbone.embeddings, length=PROMPT_POSITIONS, generator=generator)
    rows = make_rows(backbone, max(READ_ROWS, *WRITTEN_ROWS))
    few, ids = rows[:READ_ROWS], [row.input_ids for row in rows]
    hidden, _ = read_inputs(backbone.model, few, make_bank(backbone.model, vectors[None]))
    expected = float32_head(backbone.model)(hidden).argmax(dim=-1).tolist()
    other = LlamaCpp(os.fspath(path), len(rows))
    other.read_prompt(vectors.numpy())
    first = other.read(ids[:READ_ROWS], PROMPT_POSITIONS)

    def read() -> None:
        other.forget_rows(PROMPT_POSITIONS)
        other.read(ids[:READ_ROWS], PROMPT_POSITIONS)

    found: dict[str, Any] = {
        "llama-cpp-python": llama_cpp.__version__,
        "threads": torch.get_num_threads(),
        "prompt positions": PROMPT_POSITIONS,
        "tokens a row": ROW_TOKENS,
        "first tokens that agree": sum(a == b for a, b in zip(first, expected, strict=True)),
        "of rows": READ_ROWS,
        f"read {READ_ROWS} rows": _compared(
            reader(few)(backbone), read, turns, tokens=READ_ROWS * ROW_TOKENS
        ),
    }
    for number in WRITTEN_ROWS:
        other.forget_rows(PROMPT_POSITIONS)
        for start in range(0, number, READ_ROWS):  # a batch takes 1,024 tokens
            other.read(ids[start : min(number, start + READ_ROWS)], PROMPT_POSITIONS, start)
        own = writer(rows[:number])(backbone)
        found[f"write {number} rows"] = _compared(own, _Write(other, number), turns, tokens=number)
    return found


class _Write:
    """Writes one token for each of some rows, at the next position each time."""

    def __init__(self, other: LlamaCpp, rows: int) -> None:
        self._other, self._tokens = other, [(0,)] * rows
        self._position = PROMPT_POSITIONS + ROW_TOKENS

    def __call__(self) -> None:
        self._other.read(self._tokens, self._position)
        self._position += 1


def _compared(own: Work, other: Work, turns: int, *, tokens: int) -> list[dict[str, Any]]:
    return compared(take_turns({"clinprompt": own, "llama.cpp": other}, turns), tokens=tokens)


if __name__ == "__main__":
    main()
