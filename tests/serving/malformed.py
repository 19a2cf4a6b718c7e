"""Make requests that no server may accept, from a seed; for the tests, and by itself at length.

``python tests/serving/malformed.py NUMBER URL TOKEN`` sends so many to a running server.
"""

import json
import random
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import httpx2

PATHS = ("/v1/predict", "/v1/completions", "/v1/chat/completions")
TASK = "practice-ner-drugs"
GOOD = {
    "/v1/predict": {"tasks": [TASK], "text": "Takes aspirin.", "fields": {}, "options": []},
    "/v1/completions": {"model": TASK, "prompt": "Takes aspirin.", "max_tokens": 3},
    "/v1/chat/completions": {"model": TASK, "messages": [{"role": "user", "content": "x"}]},
}
# The members whose type is always wrong if it is a number, a truth value or nested too deep.
TYPED = {
    "/v1/predict": ("tasks", "text", "fields", "options", "id"),
    "/v1/completions": ("model", "prompt", "fields", "options"),
    "/v1/chat/completions": ("model", "messages", "fields", "options"),
}
WORDS = ("", "\x00", "\ud800", "x\udfff", "\U0001f9ec", "null", "k" * 5000, "\u202e", "\r\n", "{}")


@dataclass(frozen=True)
class Malformed:
    """One request, and what is wrong with it."""

    fault: str
    path: str
    body: bytes


def malformed(number: int, *, seed: int) -> Iterator[Malformed]:
    """Return requests that are not valid, from a seed."""
    draw = random.Random(seed)
    faults = list(FAULTS.items())
    for _ in range(number):
        name, make = draw.choice(faults)
        path = draw.choice(PATHS)
        body = make(draw, path)
        yield Malformed(name, path, body if isinstance(body, bytes) else body.encode())


def _whole(path, **changes):
    return json.dumps({**GOOD[path], **changes})


def _cut(draw, path):
    text = _whole(path)
    return text[: draw.randrange(len(text))]


def _noise(draw, path):
    return draw.randbytes(draw.randrange(1, 300)) + b"\x00"


def _one_byte(draw, path):
    data = bytearray(_whole(path).encode())
    data[draw.randrange(len(data))] = draw.choice([0x00, 0x80, 0xFF, 0x1F])
    return bytes(data)


def _wrong_type(draw, path):
    value = draw.choice([None, 1, -1.5, True, 10**400, [[1]], {"x": {"y": []}}, [None], [True]])
    return _whole(path, **{draw.choice(TYPED[path]): value})


def _not_an_object(draw, path):
    return json.dumps(draw.choice([[], [GOOD[path]], "x", 1, None, True, 1e308, [[[]]]]))


def _deep(draw, path):
    depth = draw.choice([150, 1000, 20_000])
    opened, closed = draw.choice([("[", "]"), ('{"a":', "}")])
    nested = opened * depth + "1" + closed * depth
    return _whole(path).replace('"Takes aspirin."', nested).replace('"x"', nested)


def _number(draw, path):
    value = draw.choice(["NaN", "Infinity", "-Infinity", "1e999", "9" * 4301, "-0", "00", "0x1"])
    return _whole(path)[:-1] + f', "{draw.choice(TYPED[path])}": {value}}}'


def _surrogate(draw, path):
    half = draw.choice(["\\ud800", "\\udfff", "a\\ud83d", "\\udc00\\ud800"])
    return _whole(path).replace("Takes aspirin.", half).replace('"x"', f'"{half}"')


def _long_key(draw, path):
    key = draw.choice(["k" * 100_000, "\x00" * 50, "\ud800", "é" * 5000, "", " "])
    return _whole(path, **{key: draw.choice([1, "x", {}])})


def _missing(draw, path):
    needed = {"/v1/predict": ["tasks"], "/v1/completions": ["model", "prompt"]}
    gone = draw.choice(needed.get(path, ["model", "messages"]))
    return json.dumps({key: value for key, value in GOOD[path].items() if key != gone})


def _unknown_task(draw, path):
    name = draw.choice(WORDS) + draw.choice(WORDS)
    return _whole(path, **({"tasks": [name]} if path == "/v1/predict" else {"model": name}))


def _nothing_to_read(draw, path):
    if path == "/v1/predict":
        return _whole(path, tasks=draw.choice([[], [TASK] * 101]))
    if path == "/v1/completions":
        return _whole(path, prompt=draw.choice([["x"], [1, 2], [[1]]]))
    return _whole(path, messages=draw.choice([[], [{"role": "system", "content": "x"}], [{}]]))


def _changed_answer(draw, path):
    if path == "/v1/predict":
        return _whole(path, temperature=0)
    name, value = draw.choice(
        [
            ("temperature", 0.5),
            ("n", 3),
            ("stop", ["\n"]),
            ("tools", [{}]),
            ("max_tokens", 0),
            ("max_tokens", -1),
            ("max_tokens", "many"),
            ("logit_bias", {"5": 1}),
            ("response_format", {"type": "xml"}),
            ("stream", "perhaps"),
            ("stream_options", 5),
            ("top_p", 2),
        ]
    )
    return _whole(path, **{name: value})


def _repeated(draw, path):
    return _whole(path) + draw.choice(["}", "]", ",", "x", _whole(path)])


def _too_large(draw, path):
    return _whole(path, fields={"text": "x" * 200_001})


def _other_encoding(draw, path):
    return _whole(path).encode(draw.choice(["utf-16", "utf-32", "utf-7"])) + b"\xff"


FAULTS = {
    "cut": _cut,
    "noise": _noise,
    "one byte": _one_byte,
    "wrong type": _wrong_type,
    "not an object": _not_an_object,
    "deep": _deep,
    "number": _number,
    "half a character": _surrogate,
    "long key": _long_key,
    "missing": _missing,
    "unknown task": _unknown_task,
    "nothing to read": _nothing_to_read,
    "changed answer": _changed_answer,
    "more than one value": _repeated,
    "too large": _too_large,
    "other encoding": _other_encoding,
}


def main() -> None:
    """Send requests to a running server; print how often each status was answered."""
    number, url, token = int(sys.argv[1]), sys.argv[2], sys.argv[3]
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    found: Counter[tuple[str, int]] = Counter()
    with httpx2.Client(base_url=url, headers=headers, timeout=60) as client:
        for one in malformed(number, seed=1):
            found[one.fault, client.post(one.path, content=one.body).status_code] += 1
        ready = client.get("/readyz").status_code
    for (fault, status), count in sorted(found.items()):
        sys.stdout.write(f"{fault:20} {status} {count}\n")
    bad = sum(count for (_, status), count in found.items() if not 400 <= status < 500)
    sys.stdout.write(f"{found.total()} requests, {bad} not 4xx, /readyz {ready}\n")
    sys.exit(bool(bad))


if __name__ == "__main__":
    main()
