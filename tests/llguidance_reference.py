"""What llguidance allows next in an answer: the reference of ``LineConstraint``."""

import json
from itertools import pairwise

import numpy as np
from llguidance import LLMatcher, LLParserLimits
from llguidance.hf import from_tokenizer

_LIMITS = LLParserLimits(initial_lexer_fuel=1 << 32, step_lexer_fuel=1 << 32)
_NO_BLANK_AT_ENDS = "/[^ ]((?s:.*)[^ ])?/"
_HAS_WORD = r"/(?s:.*)[\p{L}\p{N}](?s:.*)/"


def llguidance_tokenizer(tokenizer, size, end):
    return from_tokenizer(tokenizer, n_vocab=size, eos_token=[end], slices=[])


class Reference:
    """The same lines as one grammar a line, in llguidance's form of Lark."""

    def __init__(self, tokenizer, lines, *, start, symbols=True):
        self.forms = [_NO_BLANK_AT_ENDS] if symbols else [_NO_BLANK_AT_ENDS, _HAS_WORD]
        self.tokenizer, self.lines, self.start = tokenizer, lines, start
        self.finished, self.current = [], []
        self.matcher = self._matcher()

    def allowed(self):
        if self.matcher:
            bits = np.frombuffer(self.matcher.compute_bitmask(), dtype=np.uint8)
            if bits.any():
                return np.flatnonzero(np.unpackbits(bits, bitorder="little")).tolist()
        return sorted(self.tokenizer.eos_tokens)

    def accept(self, token):
        self.current.append(token)
        if self.tokenizer.decode_bytes([token]).endswith(b"\n"):
            line = self.tokenizer.decode_bytes(self.current).decode().removesuffix("\n")
            self.finished.append(line if self.finished else line.removeprefix(self.start))
            self.current, self.matcher = [], self._matcher()
        else:
            assert self.matcher.consume_token(token)

    def _matcher(self):
        line, rules = self.lines.next_line(self.finished), []
        listed = [_sequence(option, rules, self.forms) for option in line.options]
        if line.without:
            rules.append(f"ANY: {' | '.join(listed)}")
            without = " | ".join(json.dumps(one) for one in sorted(line.without))
            listed = [f"(ANY & ~({without}))"] if listed else []
        if listed:
            rules.append(f"LINE: {' | '.join(listed)}")
        options = ['LINE "\\n"?'] if listed else []
        if not self.finished:
            if listed and self.start:
                rules.append(f"FIRST: {json.dumps(self.start)} LINE")
                options = ['FIRST "\\n"?']
            options = [json.dumps(self.start + self.lines.nothing), *options]
        if not options:
            return None
        lark = "\n".join((f"start: {' | '.join(options)}", *rules))
        matcher = LLMatcher(self.tokenizer, LLMatcher.grammar_from_lark(lark), limits=_LIMITS)
        assert not matcher.is_error(), matcher.get_error()
        return matcher


def _sequence(option, rules, forms):
    parts = []
    for piece in option:
        if isinstance(piece, str):
            parts.append(json.dumps(piece))
            continue
        bounds = sorted({*piece.starts, *piece.ends, len(piece.text)})
        chunks = [piece.text[one:other].decode() for one, other in pairwise(bounds)]
        name = f"WORDS{len(rules)}"
        rules.append(f"{name}: {' & '.join([f'{name}_CHUNKS', *forms])}")
        rules.append(f"{name}_CHUNKS: %regex {json.dumps({'substring_chunks': chunks})}")
        parts.append(name)
    return " ".join(parts)
