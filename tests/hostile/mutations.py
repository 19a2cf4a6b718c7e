"""Change content in ways that a reader does not expect, from a seed. Knows no format by name."""

import json
import random
import re
from collections.abc import Callable, Sequence

MAX_BYTES = 100_000  # of an input, so that many can be tried
NUMBERS = (b"0", b"-1", b"1e999", b"NaN", b"9" * 20, b"9" * 5000, b"2147483648", b"0x10", b"1.5")
TOKENS = (
    *(
        b"\x00",
        b"\xff",
        b"\xed\xa0\x80",
        b"\\ud800",
        b"\xef\xbb\xbf",
        b"\xe2\x80\xae",
        b"\r",
        b"\n",
    ),
    *(b'"', b"'", b"[", b"]", b"{", b"}", b"<", b">", b"&", b"&x;", b"|", b"\t", b"\\", b"!", b"="),
    *(b"null", b"true", b"[]", b"{}", b"''", b"../", b"/", b"*", b"?", b"#", b"%s", b"{0}", b"T1"),
)
VALUES = (None, True, [], {}, -1, 10**30, 1.5, float("nan"), "", "x", "\ud800", [None], {"a": []})


def mutate(draw: random.Random, content: bytes, words: Sequence[bytes] = ()) -> bytes:
    """Return content with one to four changes; ``words`` are tokens of its format."""
    for _ in range(draw.choice((1, 1, 1, 2, 3, 4))):
        content = draw.choice(_CHANGES)(draw, content, words)[:MAX_BYTES]
    return content


def _place(draw: random.Random, content: bytes) -> int:
    return draw.randrange(len(content) + 1)


def _range(draw: random.Random, content: bytes) -> tuple[int, int]:
    start = _place(draw, content)
    return start, min(len(content), start + draw.choice((1, 2, 8, 64, 512)))


def _bit_flipped(draw: random.Random, content: bytes, _: Sequence[bytes]) -> bytes:
    if not content:
        return b"\x80"
    at, bit = draw.randrange(len(content)), 1 << draw.randrange(8)
    return content[:at] + bytes([content[at] ^ bit]) + content[at + 1 :]


def _cut(draw: random.Random, content: bytes, _: Sequence[bytes]) -> bytes:
    return content[: _place(draw, content)]


def _lost(draw: random.Random, content: bytes, _: Sequence[bytes]) -> bytes:
    start, end = _range(draw, content)
    return content[:start] + content[end:]


def _noise(draw: random.Random, content: bytes, _: Sequence[bytes]) -> bytes:
    at = _place(draw, content)
    return content[:at] + draw.randbytes(draw.randrange(1, 20)) + content[at:]


def _token(draw: random.Random, content: bytes, words: Sequence[bytes]) -> bytes:
    start, end = _range(draw, content)
    end = draw.choice((start, end))
    return content[:start] + draw.choice((*TOKENS, *words, *words)) + content[end:]


def _number(draw: random.Random, content: bytes, _: Sequence[bytes]) -> bytes:
    found = list(re.finditer(rb"-?\d+(\.\d+)?", content))
    if not found:
        return content
    one = draw.choice(found)
    return content[: one.start()] + draw.choice(NUMBERS) + content[one.end() :]


def _word(draw: random.Random, content: bytes, words: Sequence[bytes]) -> bytes:
    found = list(re.finditer(rb"\w+", content))
    if not found:
        return content
    one, other = draw.choice(found), draw.choice(found)
    new = draw.choice((other.group(), *TOKENS, *words))
    return content[: one.start()] + new + content[one.end() :]


def _lines(draw: random.Random, content: bytes, _: Sequence[bytes]) -> bytes:
    lines = content.split(b"\n")
    first, second = draw.randrange(len(lines)), draw.randrange(len(lines))
    match draw.randrange(3):
        case 0:
            lines[first], lines[second] = lines[second], lines[first]
        case 1:
            lines.insert(second, lines[first])
        case _:
            del lines[first]
    return b"\n".join(lines)


def _repeated(draw: random.Random, content: bytes, _: Sequence[bytes]) -> bytes:
    """Repeat a part many times, to find what takes more than linear time."""
    start, end = _range(draw, content)
    times = draw.choice((2, 30, 1000, 100_000))
    part = content[start:end]
    return content[:start] + part * min(times, MAX_BYTES // max(1, len(part))) + content[end:]


def _nested(draw: random.Random, content: bytes, _: Sequence[bytes]) -> bytes:
    at = _place(draw, content)
    opened, closed = draw.choice(((b"[", b"]"), (b'{"a":', b"}"), (b"(", b")"), (b"<a>", b"</a>")))
    depth = draw.choice((10, 150, 3000, 30_000))
    return content[:at] + opened * depth + draw.choice((b"1", b"")) + closed * depth + content[at:]


def _value(draw: random.Random, content: bytes, _: Sequence[bytes]) -> bytes:
    """Put a value of another type into JSON, or take one away."""
    try:
        value = json.loads(content)
        holder, key = draw.choice(_places(value))
    except (ValueError, RecursionError, IndexError):
        return content
    if draw.random() < 0.3:
        del holder[key]
    else:
        holder[key] = draw.choice(VALUES)
    return json.dumps(value).encode()


def _places(value: object) -> list[tuple[object, object]]:
    """Return each place in a value of JSON: what holds it, and its key there."""
    found, left = [], [value]
    while left:
        one = left.pop()
        if isinstance(one, dict | list):
            keys = list(one) if isinstance(one, dict) else range(len(one))
            found += [(one, key) for key in keys]
            left += [one[key] for key in keys]
    return found


_Change = Callable[[random.Random, bytes, Sequence[bytes]], bytes]
_CHANGES: tuple[_Change, ...] = (
    *(_bit_flipped, _cut, _lost, _noise, _token, _token, _number, _word, _word),
    *(_lines, _repeated, _nested, _value, _value, _value),
)
