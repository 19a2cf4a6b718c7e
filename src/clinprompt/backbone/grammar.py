"""Constrain an answer to the lines that its task allows, with llguidance. Knows no kind of task.

Holds mutable state: the lines that are finished, and the parser of the line being written. Each
line has its own grammar, because it depends on the lines before it.
"""

import json
from collections.abc import Collection
from functools import lru_cache

from llguidance import LLMatcher, LLParserLimits, LLTokenizer
from llguidance.hf import from_tokenizer
from transformers import PreTrainedTokenizerBase

from clinprompt.backbone.load import Backbone
from clinprompt.tasks.kinds.allowed import AllowedLines

# Notes of any length: llguidance's own limits refuse the words of about 20,000 tokens.
_LIMITS = LLParserLimits(initial_lexer_fuel=1 << 32, step_lexer_fuel=1 << 32)


class LineConstraint:
    """The tokens that an answer may continue with; see ``backbone.constraint.Constraint``.

    ``start`` is what is written before the answer. If nothing else may come next, the answer ends.
    """

    def __init__(self, tokenizer: LLTokenizer, lines: AllowedLines, *, start: str) -> None:
        self._tokenizer, self._lines, self._start = tokenizer, lines, start
        self._finished: list[str] = []
        self._current: list[int] = []
        self._parser = self._parser_of_line()

    def allowed(self) -> bytes:
        """Return one bit for each id, in order, the lowest bit of a byte first."""
        # llguidance may return one word more than the ids need.
        bits = self._parser.compute_bitmask()[: self._num_bytes] if self._parser else b""
        return bits if any(bits) else self._only_ends()

    def accept(self, token: int) -> None:
        """Continue after a token; one that ends with a line end finishes the line."""
        self._current.append(token)
        if self._tokenizer.decode_bytes([token]).endswith(b"\n"):
            self._finished.append(self._written())
            self._current = []
            self._parser = self._parser_of_line()
        elif self._parser:
            self._parser.consume_token(token)
            # A mask that was not applied must not turn every answer into "nothing" in silence.
            assert not self._parser.is_error(), f"token {token} was not allowed"

    @property
    def text(self) -> str:
        """Return the answer so far, without a last line that is not complete."""
        is_complete = self._current and self._parser and self._parser.is_accepting()
        lines = [*self._finished, self._written()] if is_complete else self._finished
        return "\n".join(lines) or self._lines.nothing

    def _written(self) -> str:
        text = self._tokenizer.decode_bytes(self._current).decode()
        return (text if self._finished else text.removeprefix(self._start)).removesuffix("\n")

    def _parser_of_line(self) -> LLMatcher | None:
        """Return the parser of the next line, or None if the answer must end."""
        definition = self._lines.next_line(self._finished)
        options = ['LINE "\\n"?'] if definition else []
        if not self._finished:
            nothing = json.dumps(self._start + self._lines.nothing, ensure_ascii=False)
            # The start must be in the same terminal: the lexer never goes back.
            first = f"FIRST: {json.dumps(self._start)} LINE" if self._start else "FIRST: LINE"
            options = [nothing, 'FIRST "\\n"?'] if definition else [nothing]
            definition = f"{first}\n{definition}" if definition else ""
        if not options:
            return None
        grammar = LLMatcher.grammar_from_lark(f"start: {' | '.join(options)}\n{definition}")
        parser = LLMatcher(self._tokenizer, grammar, limits=_LIMITS)
        assert not parser.is_error(), parser.get_error()
        return parser

    @property
    def _num_bytes(self) -> int:
        return int(self._tokenizer.vocab_size + 31) // 32 * 4

    def _only_ends(self) -> bytes:
        bits = bytearray(self._num_bytes)
        for end in self._tokenizer.eos_tokens:
            bits[end // 8] |= 1 << end % 8
        return bytes(bits)


def answer_tokenizer(backbone: Backbone, end_ids: Collection[int]) -> LLTokenizer:
    """Return llguidance's form of a backbone's tokenizer; it takes half a second, so it is kept."""
    size = max(backbone.vocabulary_size, len(backbone.tokenizer))
    return _made(backbone.tokenizer, size, tuple(sorted(end_ids)))


@lru_cache(maxsize=4)
def _made(
    tokenizer: PreTrainedTokenizerBase, vocabulary_size: int, end_ids: tuple[int, ...]
) -> LLTokenizer:
    return from_tokenizer(tokenizer, n_vocab=vocabulary_size, eos_token=list(end_ids), slices=[])
