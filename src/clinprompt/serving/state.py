"""What all requests share: the tasks, the engine, limits and metrics."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from clinprompt.backbone.load import Backbone
from clinprompt.errors import ClinpromptError, DataError, SettingError, did_you_mean
from clinprompt.evaluation.questions import Prediction, Question
from clinprompt.jobs.annotate import as_json
from clinprompt.jobs.export import made_up_record
from clinprompt.jobs.task_table import ServedTask, TaskTable, load_tasks
from clinprompt.serving.access import Limits, Refused
from clinprompt.serving.engine import (
    Engine,
    Job,
    QueueFullError,
    StoppedError,
    TooManyRowsError,
)
from clinprompt.tasks.records import Record

Result = TypeVar("Result")
_LONGEST_NAME = 200  # similar names are searched for at most so many characters


class Metrics:
    """Numbers for Prometheus. Labels are names of served tasks and codes of answers only."""

    def __init__(self, engine: Engine) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "clinprompt_answers",
            "Answers by task and code",
            ["task", "code"],
            registry=self.registry,
        )
        self.seconds = Histogram(
            "clinprompt_answer_seconds",
            "Seconds from request to answer",
            ["task"],
            registry=self.registry,
        )
        for name, text, value in [
            ("rows", "Rows that wait or are being answered", lambda: engine.num_rows),
            ("rows_written", "Rows being written", lambda: engine.num_active),
            ("tokens_read", "Input tokens since the start", lambda: engine.num_tokens_read),
            ("failures", "Batches and answers that failed", lambda: engine.num_failures),
        ]:
            Gauge(f"clinprompt_{name}", text, registry=self.registry).set_function(value)


class ServerState:
    """The tasks that are served, and how a question is answered."""

    def __init__(
        self,
        backbone: Backbone,
        folder: Path,
        *,
        limits: Limits,
        free: bool = False,
        may_be_empty: bool = False,
        num_cores: int | None = None,
    ) -> None:
        """Load the tasks of a store; one that ``may_be_empty`` may have none.

        ``num_cores`` are those of the engine; see ``leave_cores_to_engine``.

        Raises:
            ArtifactError: there is no prompt, or one is damaged or was trained on another backbone.
        """
        self._backbone, self._folder = backbone, folder
        self._free, self._may_be_empty = free, may_be_empty
        self.limits = limits
        self.engine = Engine(backbone, max_rows=limits.rows, num_cores=num_cores)
        self.tasks: TaskTable = self._load()
        self.metrics = Metrics(self.engine)
        # One thread: a tokenizer must not be used by two at once.
        self._tokenizing = ThreadPoolExecutor(1, thread_name_prefix="clinprompt-tokenize")

    async def reload(self) -> None:
        """Read the store again; questions asked before keep their prompts.

        Raises:
            Refused: the store is not valid (409), or the server shuts down (503); the tasks stay as
                they were.
        """
        try:
            self.tasks = await asyncio.wrap_future(self.engine.call(self._load))
        except StoppedError as error:
            raise Refused(503, "not_ready", str(error)) from error
        except ClinpromptError as error:
            raise Refused(409, "store_not_valid", f"{error}; the tasks are as before") from error

    def _load(self) -> TaskTable:
        return load_tasks(
            self._backbone, self._folder, free=self._free, may_be_empty=self._may_be_empty
        )

    async def load_prompt(self, folder: Path) -> ServedTask:
        """Load a saved prompt that is not served.

        Raises:
            ArtifactError: the prompt is damaged, or was trained on another backbone.
            StoppedError: the server shuts down, or its engine has ended.
        """
        call = self.engine.call(lambda: load_tasks(self._backbone, folder, free=self._free))
        [task] = await asyncio.wrap_future(call)
        assert isinstance(task, ServedTask)
        return task

    async def tokenizing(self, function: Callable[[], Result]) -> Result:
        """Call a function that uses the tokenizer, and return what it returns."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._tokenizing, function)

    def task(self, name: str) -> ServedTask:
        """Return a task of this moment.

        Raises:
            Refused: there is none of this name (404).
        """
        if name not in self.tasks:
            hint = hint_for(name, self.tasks.names)
            raise Refused(404, "unknown_task", f"no task has this name; {hint}", param="model")
        return self.tasks[name]

    def only_task(self) -> ServedTask:
        """Return the task of this moment if only one is served.

        Raises:
            Refused: several are served, so that a request must name its tasks (422), or none (404).
        """
        names = self.tasks.names
        if not names:
            raise Refused(404, "unknown_task", "no task is served yet; make one", param="tasks")
        if len(names) > 1:
            text = f"tasks: name one or more of the tasks of this server: {', '.join(names)}"
            raise Refused(422, "invalid_request", text, param="tasks")
        return self.tasks[names[0]]

    @contextmanager
    def counted(
        self, tasks: Sequence[ServedTask], *, started: float, counts_success: bool = True
    ) -> Iterator[None]:
        """Count what comes of a request for tasks, with the seconds since ``started``."""
        code = "500"
        try:
            yield
            code = "200"
        except Refused as refused:
            code = str(refused.status)
            raise
        except asyncio.CancelledError:
            code = "499"
            raise
        finally:
            if counts_success or code != "200":
                for task in tasks:
                    self.metrics.requests.labels(task.name, code).inc()
                    self.metrics.seconds.labels(task.name).observe(perf_counter() - started)

    async def question(self, task: ServedTask, record: Record) -> Question:
        """Return the question of a record.

        Raises:
            Refused: the record is too long (413) or lacks a field (400), or the queue is full
                already (429).
        """
        if self.engine.is_full:
            raise Refused(429, "queue_full", "the queue is full: try again later")
        size = sum(map(len, [*record.fields.values(), *record.options]))
        if size > self.limits.text_characters:
            raise Refused(
                413,
                "text_too_long",
                f"the text has {size} characters; the limit is {self.limits.text_characters}",
            )
        try:
            return await self.tokenizing(partial(task.question, record))
        except DataError as error:
            raise Refused(400, "invalid_record", _without_names(error, task, record)) from error
        except SettingError as error:
            raise Refused(413, "text_too_long", str(error)) from error

    def submit(self, jobs: Sequence[Job]) -> None:
        """Add jobs to the queue.

        Raises:
            Refused: the queue is full (429), the request is larger than it (413), or the server
                shuts down (503).
        """
        try:
            self.engine.submit(jobs)
        except QueueFullError as error:
            raise Refused(429, "queue_full", str(error)) from error
        except TooManyRowsError as error:
            raise Refused(413, "too_many_rows", str(error)) from error
        except StoppedError as error:
            raise Refused(503, "not_ready", str(error)) from error

    async def answers(
        self, jobs: Sequence[Job], is_gone: Callable[[], Awaitable[bool]]
    ) -> list[Prediction]:
        """Wait for submitted jobs; cancel them if time runs out or the client leaves.

        Raises:
            Refused: time ran out (504), or answering failed (500).
        """
        waiting = asyncio.gather(*(asyncio.wrap_future(job.future) for job in jobs))
        deadline = perf_counter() + self.limits.seconds
        try:
            while True:
                left = deadline - perf_counter()
                done, _ = await asyncio.wait([waiting], timeout=min(max(left, 0), 0.5))
                if done:
                    return waiting.result()
                if left <= 0:
                    raise Refused(
                        504, "timeout", f"no answer within the limit of {self.limits.seconds:g} s"
                    )
                if await is_gone():
                    raise Refused(499, "client_left", "the client has left")
        except ClinpromptError as error:
            raise Refused(500, "internal_error", str(error)) from error
        finally:
            waiting.add_done_callback(_ignore)
            for job in jobs:
                if not job.future.done():
                    self.engine.cancel(job)


def record_of(fields: Mapping[str, str], options: Sequence[str]) -> Record:
    """Return the record that a request asks about.

    Raises:
        Refused: a field cannot be used (400).
    """
    try:
        return Record("of this request", fields, options=tuple(options))
    except DataError as error:
        raise Refused(400, "invalid_record", str(error)) from error


def hint_for(name: str, known: Iterable[str]) -> str:
    """Return the names most similar to one that a client gave, which is not repeated itself."""
    return did_you_mean(name[:_LONGEST_NAME], known)


def answer_values(task: ServedTask, prediction: Prediction) -> dict[str, Any]:
    """Return an answer as plain values: typed, with character offsets and probabilities."""
    values = {**as_json(task.loaded.card, prediction), "task": task.name}
    del values["id"]  # the request has it
    return values


def _without_names(error: DataError, task: ServedTask, record: Record) -> str:
    """Return what is wrong with a record; names of fields come from the card, not the client."""
    needed = list(made_up_record(task.loaded.card).fields)
    if missing := [name for name in needed if name not in record.fields]:
        return f"{task.name} reads the fields {', '.join(needed)}; missing: {', '.join(missing)}"
    return str(error)


def _ignore(future: "asyncio.Future[Any]") -> None:
    future.exception()
