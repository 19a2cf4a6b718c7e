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
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from clinprompt.backbone.scheduler import Ask
from clinprompt.evaluation.questions import Prediction
from clinprompt.jobs.task_table import ServedTask
from clinprompt.serving.access import Refused, failed
from clinprompt.serving.engine import Job
from clinprompt.serving.openai_requests import ChatRequest, Completion, CompletionRequest
from clinprompt.serving.state import ServerState, answer_values, record_of


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
    state: ServerState, asked: Completion, text: str, limit: int | None, request: Request
) -> Response:
    asked.check()
    started = perf_counter()
    task = state.task(asked.model)
    with state.counted([task], started=started, counts_success=not asked.stream):
        job = Job(
            await state.question(task, record_of({"text": text, **asked.fields}, asked.options))
        )
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


def _limit(job: Job, limit: int | None) -> list[Ask]:
    """Lower the limits of an answer's rows; return the rows that write."""
    written = [ask for ask in job.question.asks if not ask.choices]
    for ask in written:
        ask.limit = min(ask.limit, limit or ask.limit)
    return written


class _Shape:
    """How one answer looks in this interface."""

    def __init__(self, asked: Completion, task: ServedTask, job: Job, written: list[Ask]) -> None:
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
        text = self.text_of(prediction)
        if self._is_chat:
            own: dict[str, Any] = {
                "message": {"role": "assistant", "content": text, "refusal": None}
            }
        else:
            own = {"text": text}
        choice = _choice(own, self.finish_reason)
        return {**self._head(is_piece=False), "choices": [choice], "usage": self.usage()}

    def piece(self, text: str, *, is_first: bool = False, is_last: bool = False) -> dict[str, Any]:
        """Return one piece of a streamed answer."""
        if self._is_chat:
            own: dict[str, Any] = {
                "delta": {**({"role": "assistant"} if is_first else {}), "content": text}
            }
        else:
            own = {"text": text}
        choice = _choice(own, self.finish_reason if is_last else None)
        return {**self._head(is_piece=True), "choices": [choice]}

    def usage_piece(self) -> dict[str, Any]:
        """Return the last piece of a stream whose usage was asked for."""
        return {**self._head(is_piece=True), "choices": [], "usage": self.usage()}

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

    def _head(self, *, is_piece: bool) -> dict[str, Any]:
        chat = "chat.completion.chunk" if is_piece else "chat.completion"
        return {
            "id": self._id,
            "object": chat if self._is_chat else "text_completion",
            "created": self._created,
            "model": self._task.name,
        }


def _choice(own: Mapping[str, Any], finish_reason: str | None) -> dict[str, Any]:
    """Return the only choice of an answer; ``own`` holds its text."""
    return {"index": 0, **own, "logprobs": None, "finish_reason": finish_reason}


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
