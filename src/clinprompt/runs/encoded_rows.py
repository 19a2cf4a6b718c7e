"""Keep encoded rows of tasks as one compressed file each, to start quickly on another machine.

A file is found by a hash of all that the rows depend on: the tokenizer, the settings, the card and
the records. So rows that would be encoded differently are never read. The files hold text of
records: protect them like the data.
"""

import hashlib
import json
import lzma
from pathlib import Path
from typing import TypeVar

from pydantic import TypeAdapter
from transformers import PreTrainedTokenizerBase

from clinprompt.errors import DataError
from clinprompt.files import write_bytes
from clinprompt.settings.groups import OF_ANSWERS, DataSettings
from clinprompt.tasks.load import TaskData
from clinprompt.tasks.records import Record

Value = TypeVar("Value")

_RECORDS = TypeAdapter(tuple[Record, ...])
# Settings of evaluation, and of how many records other splits have: training rows are independent.
_NOT_OF_ROWS = OF_ANSWERS | {"validation_rows"}
_PROBE = (
    " Pt. is a 54yo woman\u2014s/p CABG x3 (2019); BP 120/80,\tT 38.5\u00b0C.\n\nPlan:  naproxen "
    "500 mg b.i.d., \u2265 2 \u03bcg\u00b7L; d\u00e9j\u00e0-vu? \u201cn\u00e3o\u201d <b>"
)


def tokenizer_hash(tokenizer: PreTrainedTokenizerBase) -> str:
    """Return a hash of a tokenizer: its vocabulary, chat template, and the ids of a sample text.

    The serialized form is not used, because it changes between versions of the libraries.
    """
    parts = [
        sorted(tokenizer.get_vocab().items()),
        str(tokenizer.chat_template),
        [tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id],
        list(tokenizer(_PROBE, verbose=False)["input_ids"]),
        list(tokenizer(_PROBE, add_special_tokens=False, verbose=False)["input_ids"]),
    ]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def rows_hash(
    data: TaskData, settings: DataSettings, *, tokenizer: str, context: int, seed: int
) -> str:
    """Return a hash of all that the encoded training rows of a task depend on.

    ``tokenizer`` is its ``tokenizer_hash``, ``context`` the maximum tokens of a row with its
    answer.
    """
    used = settings.model_dump_json(exclude=_NOT_OF_ROWS)
    digest = hashlib.sha256(f"{tokenizer} {context} {seed} {data.copies} {used}".encode())
    digest.update(data.card.model_dump_json().encode())
    digest.update(_RECORDS.dump_json(data.splits["train"]))
    return digest.hexdigest()


def save_rows(path: Path, value: Value, kind: TypeAdapter[Value]) -> int:
    """Write encoded rows; return the bytes of the file."""
    content = lzma.compress(kind.dump_json(value), preset=4)
    write_bytes(path, content)
    return len(content)


def load_rows(path: Path, kind: TypeAdapter[Value]) -> Value | None:
    """Return encoded rows, or None if there is no such file.

    Raises:
        DataError: the file is damaged.
    """
    if not path.is_file():
        return None
    try:
        return kind.validate_json(lzma.decompress(path.read_bytes()))
    except (OSError, lzma.LZMAError, ValueError) as error:
        raise DataError(f"{path}: damaged; pack the tasks again") from error


def rows_file(folder: Path, task: str, what: str, key: str) -> Path:
    """Return the file of the rows of a task: ``what`` is ``training`` or ``candidates``."""
    return folder / f"{task}.{what}.{key[:16]}.rows.xz"
