"""The interface of OpenAI's completions and chat completions: the model is the name of a task.

The last user message is the text; ``fields`` gives further fields of the record, ``options`` the
options of a question. What cannot change an answer is ignored; what would change it is refused.
"""

import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterator, Mapping
from functools import partial
from time import perf_counter
from typing import Any, Literal

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from clinprompt.backbone.scheduler import Ask
from clinprompt.errors import DataError, did_you_mean
from clinprompt.evaluation.questions import Prediction
from clinprompt.jobs.task_table import ServedTask
from clinprompt.serving.access import Refused, failed
from clinprompt.serving.engine import Job
from clinprompt.serving.state import ServerState, answer_values
from clinprompt.tasks.records import Record

# What a request may say besides its own fields: without effect, or with these values only.
_IGNORED = frozenset({"user", "seed", "metadata", "store", "safety_identifier", "prompt_cache_key"})
_ONLY: Mapping[str, tuple[Any, ...]] = {
    "temperature": (0,),
    "top_p": (1,),
    "n": (1,),
    "best_of": (1,),
    "stop": ([],),
    "tools": ([],),
    "functions": ([],),
    "tool_choice": ("none",),
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "logit_bias": ({},),
    "logprobs": (False, 0),
    "top_logprobs": (0,),
    "echo": (False,),
    "suffix": ("",),
    "modalities": (["text"],),
    "parallel_tool_calls": (True, False),
    "service_tier": ("auto", "default"),
}
# What OpenAI's interface has besides, and this one does not; other names are not repeated.
_WITHOUT_USE = frozenset(
    {"audio", "function_call", "prediction", "reasoning_effort", "verbosity", "web_search_options"}
)
_LONGEST_NAME = 200  # similar names are searched for at most so many characters


class _StreamOptions(BaseModel):
    model_config = ConfigDict(extra="ignore")

    include_usage: bool = False


class _Format(BaseModel):
    model_config = ConfigDict(extra="ignore")

    type: Literal["text", "json_object"] = "text"


class _Completion(BaseModel):
    """What both kinds of request have."""

    model_config = ConfigDict(extra="allow")

    model: str
    stream: bool = False
    stream_options: _StreamOptions | None = None
    max_tokens: int | None = Field(default=None, ge=1)
    response_format: _Format | None = None
    fields: dict[str, str] = Field(default_factory=dict)
    options: list[str] = Field(default_factory=list)

    def check(self) -> None:
        """Refuse what would change an answer.

        Raises:
            Refused: names the parameter.
        """
        for name, value in (self.model_extra or {}).items():
            if name in _IGNORED or value is None:
                continue
            if name in _WITHOUT_USE:
                raise Refused(400, "unsupported_parameter", f"{name} has no use here", param=name)
            if name not in _ONLY:
                # The name itself is not repeated: it comes from the client.
                hint = did_you_mean(name[:_LONGEST_NAME], {*type(self).model_fields, *_ONLY})
                raise Refused(
                    400, "unsupported_parameter", f"a parameter is not known here; {hint}"
                )
            if value not in _ONLY[name]:
                allowed = " or ".join(json.dumps(one) for one in _ONLY[name])
                raise Refused(
                    400,
                    "unsupported_parameter",
                    f"{name} would change the answer of the task; leave it out or give {allowed}",
                    param=name,
                )


class CompletionRequest(_Completion):
    """A text to answer. ``prompt`` is the text of the record."""

    prompt: str


class _Text(BaseModel):
    model_config = ConfigDict(extra="forbid")

    type: Literal["text"]
    text: str


class _Message(BaseModel):
    model_config = ConfigDict(extra="ignore")

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[_Text] = ""

    @property
    def text(self) -> str:
        """Return the message's text; parts are joined."""
        parts = self.content
        return parts if isinstance(parts, str) else "".join(part.text for part in parts)


class ChatRequest(_Completion):
    """A conversation, whose last user message is the text of the record."""

    messages: list[_Message] = Field(min_length=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)

    @property
    def text(self) -> str:
        """Return the last user message.

        Raises:
            Refused: there is none.
        """
        found = [one.text for one in self.messages if one.role == "user"]
        if not found:
            raise Refused(400, "invalid_request", "messages has no user message", param="messages")
        return found[-1]


def openai_routes(state: ServerState) -> APIRouter:
    """Return the routes of this interface."""
    router = APIRouter(prefix="/v1", tags=["OpenAI"])
    started = int(time.time())

    def model(task: ServedTask) -> dict[str, Any]:
        return {"id": task.name, "object": "model", "created": started, "owned_by": "clinprompt"}

    @router.get("/models")
    def models() -> dict[str, Any]:
        """List the tasks as models."""
        return {"object": "list", "data": [model(task) for task in state.tasks]}

    @router.get("/models/{name:path}")
    def one_model(name: str) -> dict[str, Any]:
        """Return one task as a model."""
        return model(state.task(name))

    @router.post("/completions")
    async def completions(asked: CompletionRequest, request: Request) -> Response:
        """Answer a text."""
        return await _respond(state, asked, asked.prompt, asked.max_tokens, request)

    @router.post("/chat/completions")
    async def chat(asked: ChatRequest, request: Request) -> Response:
        """Answer the last user message."""
        limits = [one for one in (asked.max_tokens, asked.max_completion_tokens) if one]
        return await _respond(state, asked, asked.text, min(limits, default=None), request)

    return router


async def _respond(
    state: ServerState, asked: _Completion, text: str, limit: int | None, request: Request
) -> Response:
    asked.check()
    started = perf_counter()
    task = state.task(asked.model)
    with state.counted([task], started=started, counts_success=not asked.stream):
        job = Job(await state.question(task, _record(asked, text)))
        shape = _Shape(asked, task, job, _limit(job, limit))
        if not asked.stream:
            state.submit([job])
            [prediction] = await state.answers([job], request.is_disconnected)
            return JSONResponse(shape.whole(prediction))
        loop, written = asyncio.get_running_loop(), asyncio.Event()
        job.on_token = partial(loop.call_soon_threadsafe, written.set)
        state.submit([job])

    async def answer() -> Prediction:
        with state.counted([task], started=started):
            [prediction] = await state.answers([job], request.is_disconnected)
            return prediction

    # It begins at once, so that the job is canceled also if the client leaves before the answer.
    waiting = asyncio.create_task(answer())
    waiting.add_done_callback(lambda _: written.set())
    return StreamingResponse(_stream(shape, waiting, written), media_type="text/event-stream")


def _record(asked: _Completion, text: str) -> Record:
    try:
        return Record(
            "of this request", {"text": text, **asked.fields}, options=tuple(asked.options)
        )
    except DataError as error:
        raise Refused(400, "invalid_record", str(error)) from error


def _limit(job: Job, limit: int | None) -> list[Ask]:
    """Lower the limits of an answer's rows; return the rows that write."""
    written = [ask for ask in job.question.asks if not ask.choices]
    for ask in written:
        ask.limit = min(ask.limit, limit or ask.limit)
    return written


class _Shape:
    """How one answer looks in this interface."""

    def __init__(self, asked: _Completion, task: ServedTask, job: Job, written: list[Ask]) -> None:
        self._task, self._job, self._written = task, job, written
        self._is_chat = isinstance(asked, ChatRequest)
        self.is_json = bool(asked.response_format and asked.response_format.type == "json_object")
        self.has_usage = bool(asked.stream_options and asked.stream_options.include_usage)
        self._id = f"{'chatcmpl' if self._is_chat else 'cmpl'}-{uuid.uuid4().hex}"
        self._created = int(time.time())

    def text_of(self, prediction: Prediction) -> str:
        """Return the answer's text, or the typed answer as JSON if that was asked for."""
        if self.is_json:
            return json.dumps(answer_values(self._task, prediction), ensure_ascii=False)
        return prediction.text

    def text_so_far(self) -> str:
        """Return what is certain to be the start of the answer's text while it is written.

        Of lists these are the finished lines; long inputs and typed answers come at the end.
        """
        if self.is_json or len(self._job.question.asks) > 1 or not self._written:
            return ""
        text = self._task.encoder.decode(self._written[0].written.ids)
        if self._job.question.rules[0] is not None:
            return text[: text.rfind("\n")] if "\n" in text else ""
        return text.rstrip("\N{REPLACEMENT CHARACTER} \n")

    def whole(self, prediction: Prediction) -> dict[str, Any]:
        """Return the answer in one piece."""
        text, reason = self.text_of(prediction), self.finish_reason
        if self._is_chat:
            message = {"role": "assistant", "content": text, "refusal": None}
            choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": reason}
        else:
            choice = {"index": 0, "text": text, "logprobs": None, "finish_reason": reason}
        kind = "chat.completion" if self._is_chat else "text_completion"
        return {**self._head(kind), "choices": [choice], "usage": self.usage()}

    def piece(self, text: str, *, is_first: bool = False, is_last: bool = False) -> dict[str, Any]:
        """Return one piece of a streamed answer."""
        reason = self.finish_reason if is_last else None
        if self._is_chat:
            delta = {**({"role": "assistant"} if is_first else {}), "content": text}
            choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        else:
            choice = {"index": 0, "text": text, "logprobs": None, "finish_reason": reason}
        kind = "chat.completion.chunk" if self._is_chat else "text_completion"
        return {**self._head(kind), "choices": [choice]}

    def usage_piece(self) -> dict[str, Any]:
        """Return the last piece of a stream whose usage was asked for."""
        kind = "chat.completion.chunk" if self._is_chat else "text_completion"
        return {**self._head(kind), "choices": [], "usage": self.usage()}

    @property
    def finish_reason(self) -> str:
        """Return "length" if an answer was stopped by its limit."""
        was_cut = any(len(ask.written.ids) == ask.limit for ask in self._written)
        return "length" if was_cut else "stop"

    def usage(self) -> dict[str, int]:
        """Return the numbers of positions read and tokens written."""
        asks = self._job.question.asks
        read, written = sum(one.length for one in asks), sum(len(one.written.ids) for one in asks)
        return {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}

    def _head(self, kind: str) -> dict[str, Any]:
        return {
            "id": self._id,
            "object": kind,
            "created": self._created,
            "model": self._task.name,
        }


async def _stream(
    shape: _Shape, waiting: "asyncio.Task[Prediction]", written: asyncio.Event
) -> AsyncIterator[str]:
    """Yield the pieces of an answer as it is written, as server-sent events."""
    sent = ""
    try:
        yield _event(shape.piece("", is_first=True))
        while not waiting.done():
            await written.wait()
            written.clear()
            text = shape.text_so_far()
            if not waiting.done() and len(text) > len(sent):
                yield _event(shape.piece(text[len(sent) :]))
                sent = text
        text = shape.text_of(waiting.result())
        yield _event(shape.piece(text[len(sent) :], is_last=True))
        if shape.has_usage:
            yield _event(shape.usage_piece())
        yield "data: [DONE]\n\n"
    except Refused as refused:
        yield _event(refused.content())
    except Exception as error:
        yield _event(failed(error).content())
    finally:
        waiting.cancel()


def _event(values: Mapping[str, Any]) -> str:
    return f"data: {json.dumps(values, ensure_ascii=False)}\n\n"
