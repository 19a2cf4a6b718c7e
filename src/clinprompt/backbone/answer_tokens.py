"""Read the tokens of a vocabulary as bytes, to look up which may continue an answer."""

import json
from collections.abc import Collection
from functools import lru_cache
from typing import Any

from llguidance import LLTokenizer
from transformers import PreTrainedTokenizerBase

from clinprompt.backbone.load import Backbone
from clinprompt.errors import BackboneError

_BYTE_LEVEL = {
    "type": "ByteLevel",
    "add_prefix_space": True,
    "trim_offsets": True,
    "use_regex": True,
}
_SAMPLE = "Né: 1.5 mg (aspirin)\n“none” 漢字 🙂"


class AnswerTokens:
    """The tokens of a vocabulary as bytes, those that end an answer, and ids by bytes."""

    def __init__(self, tokenizer: LLTokenizer) -> None:
        size = int(tokenizer.vocab_size)
        special = {token for token in range(size) if tokenizer.is_special_token(token)}
        self.end_ids = tuple(sorted(tokenizer.eos_tokens))
        self.bytes = [tokenizer.decode_bytes([token]) for token in range(size)]
        # Every beginning of a token is a key, so a look-up says when to stop. Several tokens may
        # have the same bytes: a letter and its byte.
        self.ids: dict[bytes, tuple[int, ...]] = {}
        for token, written in enumerate(self.bytes):
            if token in special or not written:
                continue
            for length in range(1, len(written)):
                self.ids.setdefault(written[:length], ())
            self.ids[written] = (*self.ids.get(written, ()), token)


def answer_tokens(backbone: Backbone, end_ids: Collection[int]) -> AnswerTokens:
    """Return the tokens of a backbone; reading them takes half a second, so they are kept.

    Raises:
        BackboneError: the bytes of its tokens are not those of the texts that it writes.
    """
    size = max(backbone.vocabulary_size, len(backbone.tokenizer))
    return _read(backbone.name, backbone.tokenizer, size, tuple(sorted(end_ids)))


@lru_cache(maxsize=4)
def _read(
    name: str, tokenizer: PreTrainedTokenizerBase, size: int, end_ids: tuple[int, ...]
) -> AnswerTokens:
    described = json.loads(tokenizer.backend_tokenizer.to_str()) | {
        "padding": None,
        "truncation": None,
    }
    if _is_byte_level(described["pre_tokenizer"]):
        # transformers 5.17 writes a decoder for all kinds of vocabularies, in which llguidance
        # does not see that letters stand for bytes.
        described["decoder"] = _BYTE_LEVEL
    ends, text = list(end_ids), json.dumps(described)
    tokens = AnswerTokens(LLTokenizer(text, n_vocab=size, eos_token=ends, slices=[]))
    _check(name, tokenizer, tokens)
    return tokens


def _is_byte_level(step: dict[str, Any] | None) -> bool:
    """Return whether a step before the vocabulary, or one of its parts, replaces bytes."""
    if step is None:
        return False
    return step["type"] == "ByteLevel" or any(map(_is_byte_level, step.get("pretokenizers", ())))


def _check(name: str, tokenizer: PreTrainedTokenizerBase, tokens: AnswerTokens) -> None:
    # With wrong bytes no token would continue an answer, and every answer would list nothing.
    ids = tokenizer(_SAMPLE, add_special_tokens=False)["input_ids"]
    expected = tokenizer.decode(ids, clean_up_tokenization_spaces=False).lstrip()
    found = b"".join(tokens.bytes[token] for token in ids).decode(errors="replace").lstrip()
    if found != expected:
        raise BackboneError(
            f"backbone {name!r}: the bytes of its tokens cannot be read: {expected!r} is read as "
            f"{found!r}; use --free (data.constrained = false)"
        )
