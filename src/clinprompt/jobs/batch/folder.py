"""The output folder of a batch: what it was started with, its parts, claims and result.

Several processes may share one. Knows nothing of models.
"""

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from clinprompt.errors import RunError, SettingError
from clinprompt.files import Claims, write_text
from clinprompt.version import __version__

TableForm = Literal["jsonl", "csv", "brat", "parquet"]
_RESULTS: dict[TableForm, str] = {
    "jsonl": "answers.jsonl",
    "csv": "answers.csv",
    "brat": "brat",
    "parquet": "answers.parquet",
}
_STARTED, _PARTS, _CLAIMS, _SUMMARY = "batch.json", "parts", "claims", "summary.json"
_VERSION = "code_version"  # kept, but another one may continue


@dataclass(frozen=True, slots=True)
class Summary:
    """How many notes, answers and errors a finished batch has, and the first of the errors."""

    num_notes: int
    num_answers: int
    num_errors: int
    first_errors: Sequence[Mapping[str, Any]]


class BatchFolder:
    """The files of one batch. A part is the answers to one chunk of notes, until all are joined."""

    def __init__(self, path: Path, form: TableForm) -> None:
        self.path = path
        self.result = path / _RESULTS[form]
        self._parts, self._claims = path / _PARTS, Claims(path / _CLAIMS)

    @property
    def is_finished(self) -> bool:
        """Return whether the result is written."""
        return self.result.exists()

    def start(self, description: Mapping[str, Any]) -> None:
        """Keep what the batch is started with, or compare it with what is kept.

        Raises:
            RunError: the folder holds something else, or a batch that was started with other
                notes, tasks or options.
        """
        self._check_is_ours()
        started = self.path / _STARTED
        with self.claim("start", wait=True):
            if started.is_file():
                self._check_same(json.loads(started.read_text()), description)
            else:
                values = {**description, _VERSION: __version__}
                write_text(started, json.dumps(values, indent=2, ensure_ascii=False) + "\n")

    def claim(self, name: object, *, wait: bool) -> AbstractContextManager[bool]:
        """Return a claim on a chunk by number, or on another piece of work; see ``Claims``."""
        return self._claims.claim(str(name), wait=wait)

    def is_done(self, chunk: int) -> bool:
        """Return whether a chunk is answered."""
        # In this order: parts are removed after the result is written.
        return self._part(chunk).is_file() or self.is_finished

    def write_part(self, chunk: int, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write the rows of a chunk completely or not at all.

        Raises:
            RunError: the disk is full or the folder is not writable.
        """
        lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        write_text(self._part(chunk), "".join(lines))

    def parts(self, num_chunks: int) -> Iterator[list[dict[str, Any]]]:
        """Yield the rows of each chunk, in order."""
        for chunk in range(num_chunks):
            with self._part(chunk).open(encoding="utf-8", newline="\n") as stream:
                yield [json.loads(line) for line in stream]

    def clean(self) -> None:
        """Remove the parts, which the result holds now, and drafts of processes that were killed.

        Only for a finished batch, by the process that has its result.
        """
        shutil.rmtree(self._parts, ignore_errors=True)
        for draft in self.path.glob(".*.part"):
            with suppress(OSError):
                draft.unlink(missing_ok=True)

    def write_summary(self, summary: Summary) -> None:
        """Write the summary; this comes before the result.

        Raises:
            RunError: the disk is full or the folder is not writable.
        """
        values = {
            "notes": summary.num_notes,
            "answers": summary.num_answers,
            "errors": summary.num_errors,
            "first_errors": list(summary.first_errors),
        }
        write_text(self.path / _SUMMARY, json.dumps(values, indent=2, ensure_ascii=False) + "\n")

    def summary(self) -> Summary:
        """Return the summary of a finished batch."""
        values = json.loads((self.path / _SUMMARY).read_text())
        return Summary(values["notes"], values["answers"], values["errors"], values["first_errors"])

    def _part(self, chunk: int) -> Path:
        return self._parts / f"{chunk:06d}.jsonl"

    def _check_is_ours(self) -> None:
        if (self.path / _STARTED).is_file() or not self.path.exists():
            return
        # Hidden files are half-written, perhaps by a process that starts this batch right now.
        own = {_CLAIMS, _STARTED, _PARTS}
        if not self.path.is_dir() or any(
            one.name not in own and one.name[0] != "." for one in self.path.iterdir()
        ):
            raise RunError(f"{self.path}: not an empty folder and not a batch; name another output")

    def _check_same(self, kept: Mapping[str, Any], given: Mapping[str, Any]) -> None:
        for name, value in given.items():
            if kept.get(name) != value:
                raise RunError(
                    f"{self.path}: started with another {name.replace('_', ' ')} "
                    f"({_shown(kept.get(name))}, now {_shown(value)}); continue with the same one "
                    "or name another output"
                )


def table_form(word: str) -> TableForm:
    """Return the output format of a word.

    Raises:
        SettingError: the word is unknown.
    """
    match word:
        case "jsonl" | "csv" | "brat" | "parquet":
            return word
    raise SettingError(f"no output format {word!r}; known: {', '.join(get_args(TableForm))}")


def _shown(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {str(one)[:16]}" for name, one in value.items())
    return str(value)
