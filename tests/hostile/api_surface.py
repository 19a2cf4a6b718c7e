"""Bodies of requests to a running server with a tiny model: none is an error of the server."""

import random
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from made_server import running
from made_store import save_store
from mutations import mutate
from surfaces import Surface
from tiny import save_tiny

from clinprompt.backbone.load import load_backbone
from clinprompt.errors import ClinpromptError

_PATHS = ("/v1/predict", "/v1/predict/batch", "/v1/completions", "/v1/chat/completions")
_TASK = "practice-ner-drugs"
_BODIES = (
    b'{"tasks": ["practice-ner-drugs"], "text": "Takes aspirin.", "fields": {}, "id": "1"}',
    b'{"tasks": ["practice-nli-history"], "text": "Well.", "fields": {"statement": "Ill."}}',
    b'{"tasks": ["practice-ner-drugs"]}\n{"text": "x", "tasks": ["practice-sum-plan"]}',
    b'{"model": "practice-ner-drugs", "prompt": "Takes aspirin.", "max_tokens": 3, "stream": true}',
    b'{"model": "practice-ner-drugs", "messages": [{"role": "user", "content": "x"}], "n": 1}',
    b'{"task": "practice-ner-drugs", "format": "brat", "notes": []}',
)


class ServerError(Exception):
    """Raised if the server answers with an error of its own."""


def _requests(draw: random.Random, right: Sequence[bytes], words: Sequence[bytes]) -> bytes:
    """Return a path and a body; one in ten bodies is right."""
    body = draw.choice(right)
    path = draw.choice((*_PATHS, "/v1/export/batch"))
    changed = mutate(draw, body, words) if draw.random() < 0.9 else body
    return path.encode() + b"\n" + changed[:20_000]


@contextmanager
def api_surface() -> Iterator[Surface]:
    """Run a server in this process, and yield how it is sent bodies."""
    root = Path(tempfile.mkdtemp(prefix="hostile-server-"))
    model = save_tiny(root / "model", "llama")
    store = save_store(root / "store", model)
    backbone = load_backbone(str(model), device="cpu")
    with running(backbone, store, text_characters=2000) as server:

        def send(_: Path, content: bytes) -> object:
            path, _, body = content.partition(b"\n")
            headers = {"Content-Type": "application/json"}
            given = server.client.post(path.decode(), content=body, headers=headers)
            if given.status_code >= 500 or server.state.engine.num_failures:
                raise ServerError(f"{given.status_code}: {given.text[:200]}")
            return [ClinpromptError("refused")] if given.status_code >= 400 else [given.text]

        words = (_TASK.encode(), b'"tasks"', b'"text"', b'"messages"', b'"stream"', b'"options"')
        yield Surface(_BODIES, send, words, share=30, make=_requests, may_connect=True)
