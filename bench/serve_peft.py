"""The peer in the bench of the server: PEFT behind the same API, one request at a time.

Run: python bench/serve_peft.py STORE ADAPTERS PORT BACKBONE

Reads the same inputs with the same prompts, exported as PEFT adapters, and writes as many tokens as
the request says, so that both servers do the same work.
"""

import sys
import warnings
from pathlib import Path
from threading import Lock
from typing import Any

import torch
import uvicorn
from fastapi import FastAPI
from peft import PeftModel

from clinprompt.jobs.task_table import load_backbone_for, load_tasks
from clinprompt.serving.predict_requests import NoteRequest


class CountedRequest(NoteRequest):
    """A request of the bench, with the number of tokens to write for each part of each answer."""

    tokens: list[list[int]]


def main() -> None:
    """Serve until the process is ended."""
    store, adapters, port, backbone = sys.argv[1:]
    app = make_app(Path(store), Path(adapters), backbone)
    uvicorn.run(app, host="127.0.0.1", port=int(port), access_log=False, log_level="warning")


def make_app(store: Path, adapters: Path, name: str) -> FastAPI:
    """Return the application."""
    backbone = load_backbone_for(store, name)
    table, lock = load_tasks(backbone, store), Lock()
    model = _load(backbone.model, adapters, table.names)
    app = FastAPI()

    @app.get("/readyz")
    def readyz() -> dict[str, str]:
        """Say that questions are accepted."""
        return {"status": "ready"}

    @app.post("/v1/predict")
    def predict(note: CountedRequest) -> dict[str, Any]:
        """Answer the tasks on a note, one after the other."""
        answers = []
        with lock:
            for task, counts in zip(note.tasks, note.tokens, strict=True):
                if model.active_adapter != task:
                    model.set_adapter(task)
                pairs = zip(table[task].question(note.record()).asks, counts, strict=True)
                written = [_generated(model, ask.row.input_ids, count) for ask, count in pairs]
                text = "\n".join(table[task].encoder.decode(ids) for ids in written)
                answers.append({"task": task, "text": text})
        return {"id": note.id, "answers": answers}

    return app


def _load(base: torch.nn.Module, adapters: Path, names: list[str]) -> PeftModel:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = PeftModel.from_pretrained(base, adapters / names[0], adapter_name=names[0])
        for name in names[1:]:
            model.load_adapter(adapters / name, name)
    return model.eval()


@torch.inference_mode()
def _generated(model: PeftModel, input_ids: tuple[int, ...], count: int) -> list[int]:
    ids = torch.tensor([input_ids])
    written = model.generate(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=count,
        do_sample=False,
        eos_token_id=None,
        pad_token_id=0,
    )
    answer: list[int] = written[0, ids.shape[1] :].tolist()
    assert len(answer) == count
    return answer


if __name__ == "__main__":
    main()
