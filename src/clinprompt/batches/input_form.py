"""Put an example's instruction and the chat template of a backbone around its text.

Knows tokenizers only as the owners of a chat template.
"""

import re
from dataclasses import dataclass, replace
from typing import Literal

from transformers import PreTrainedTokenizerBase

from clinprompt.errors import SettingError
from clinprompt.tasks.records import Example, one_line

# Some templates show the date. It must not change what a model reads from day to day.
_SAME_DATE = "{% macro strftime_now(_) %}2026-01-01{% endmacro %}"
_MESSAGES = ("\ue000", "\ue001", "\ue002", "\ue003")
_HAS_WORD = re.compile(r"\w")


@dataclass(frozen=True, slots=True)
class Chat:
    """The words of a chat template around the messages of user and assistant.

    ``opening`` is before the first message of the user, ``next_turn`` between an answer and the
    next message. ``reply`` is between a message and the answer to it, ``earlier_reply`` the same
    in a turn that is not the last one.
    """

    opening: str
    earlier_reply: str
    next_turn: str
    reply: str


@dataclass(frozen=True, slots=True)
class InputForm:
    """What the input has in addition to the text of an example.

    ``instruction`` says where the instruction is: ``behind`` the text, before the last line of the
    template, so that tasks on one note share the start of their inputs. With ``chat``, the input
    is a message of the user and the answer one of the assistant. If ``is_first`` is False, the
    input continues solved examples. ``is_solved`` says that the example itself is such a one.
    """

    instruction: Literal["none", "before", "behind"] = "none"
    chat: Chat | None = None
    is_first: bool = True
    is_solved: bool = False

    @property
    def is_plain(self) -> bool:
        """Return whether the input is the text of the example and nothing else."""
        return self.instruction == "none" and self.chat is None

    def shown(self, example: Example) -> Example:
        """Return the example with the whole input in its pieces; fields stay as they are."""
        *most, last = example.pieces
        if self.instruction == "behind":
            last = _instruct_behind(last, one_line(example.instruction))
        if self.chat:
            last += self.chat.earlier_reply if self.is_solved else self.chat.reply
        first, *others = (*most, last)
        if self.instruction == "before":
            first = f"{example.instruction}\n\n{first}"
        if self.chat:
            first = (self.chat.opening if self.is_first else self.chat.next_turn) + first
        return replace(example, pieces=(first, *others))


PLAIN = InputForm()


def chat_of(tokenizer: PreTrainedTokenizerBase) -> Chat | None:
    """Return the words of the tokenizer's chat template; None: it has no template.

    The words before an answer are those of a finished conversation. So a model that can think
    before it answers (gpt-oss, Qwen 3) answers at once.

    Raises:
        SettingError: the template does not show the messages of two turns in their order.
    """
    if tokenizer.chat_template is None:
        return None
    opening, earlier_reply, next_turn, _, _ = _around(tokenizer, _MESSAGES)
    _, reply, _ = _around(tokenizer, _MESSAGES[:2])
    return Chat(opening, earlier_reply, next_turn, reply)


def _around(tokenizer: PreTrainedTokenizerBase, messages: tuple[str, ...]) -> list[str]:
    """Return the parts of a conversation around its messages, which user and assistant write."""
    roles = ("user", "assistant") * len(messages)
    text = tokenizer.apply_chat_template(
        [{"role": role, "content": words} for role, words in zip(roles, messages, strict=False)],
        tokenize=False,
        chat_template=_SAME_DATE + tokenizer.get_chat_template(),
    )
    assert isinstance(text, str)
    parts = re.split("|".join(messages), text)
    if re.findall("|".join(messages), text) != list(messages):
        raise SettingError(
            "the chat template of the backbone's tokenizer does not show each message of a "
            "conversation once; set data.input_form = 1"
        )
    return parts


def _instruct_behind(last: str, instruction: str) -> str:
    """Return the last words of a template with the instruction before their last line.

    A last line without a letter, such as a colon, is left out.
    """
    before, _, cue = last.rpartition("\n")
    lines = [instruction, cue.strip()] if _HAS_WORD.search(cue) else [instruction]
    return before.rstrip() + "\n\n" + "\n".join(lines)
