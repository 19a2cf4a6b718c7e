"""Requests in OpenAI's form: what they may say, and what is refused as it changes an answer."""

import json
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from clinprompt.serving.access import Refused
from clinprompt.serving.state import hint_for

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


class _StreamOptions(BaseModel):
    model_config = ConfigDict(extra="ignore")

    include_usage: bool = False


class _Format(BaseModel):
    model_config = ConfigDict(extra="ignore")

    type: Literal["text", "json_object"] = "text"


class Completion(BaseModel):
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
                hint = hint_for(name, {*type(self).model_fields, *_ONLY})
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


class CompletionRequest(Completion):
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


class ChatRequest(Completion):
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
