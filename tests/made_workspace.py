"""Run a server with a workspace for a tiny model and a made metaprompt, and teach on it."""

import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

from made_metaprompt import save_metaprompt
from made_server import serving

from clinprompt.serving.access import Limits
from clinprompt.serving.state import ServerState
from clinprompt.serving.teaching import adapting
from clinprompt.serving.teaching.opening import open_tasks, recipe_of
from clinprompt.serving.teaching.teacher import Teacher

ADAPT = {"steps": 4, "rows": 2, "warmup_steps": 0, "checkpoint_every": 1}
# The servers of one user take turns to adapt; those of tests in other processes do not.
_LOCKS = tempfile.TemporaryDirectory()
adapting.lock_file = lambda: Path(_LOCKS.name) / "adapting.lock"
DRUGS = ("aspirin", "metformin", "lisinopril", "insulin")


def notes_of(number, *, first=0):
    """Return notes, each with a drug at the offsets 6 to 6 + its length."""
    drugs = [DRUGS[at % len(DRUGS)] for at in range(first, first + number)]
    return [
        {"id": f"n{first + at}", "text": f"Takes {drug} {first + at} mg daily."}
        for at, drug in enumerate(drugs)
    ]


def drug_in(note):
    """Return the right answer to a note of ``notes_of``."""
    end = note["text"].index(" ", 6)
    return {"entities": [{"start": 6, "end": end, "type": "DRUG"}]}


def metaprompt_in(folder, model, **adapt):
    """Save a metaprompt for a model, with few steps of adaptation; return its folder."""
    return save_metaprompt(folder / "metaprompt", model, adapt=ADAPT | adapt)


def open_workspace(backbone, folder, metaprompt, *, store=None, **limits):
    """Return the state of a server with a workspace, and its teacher."""
    changes = [f"backbone={backbone.name}", "device=cpu"]
    store = store or folder / "store"
    recipe = recipe_of(str(metaprompt), changes)
    tasks = open_tasks(folder, store, backbone, recipe)
    state = ServerState(backbone, store, limits=Limits(**limits), may_be_empty=True)
    return state, Teacher(state, backbone, tasks, recipe)


@contextmanager
def teaching(backbone, folder, metaprompt, *, store=None, **limits):
    """Run a server with a workspace; yield a client that knows its routes."""
    state, teacher = open_workspace(backbone, folder, metaprompt, store=store, **limits)
    with serving(state, store or folder / "store", teacher) as server:
        yield Page(server, teacher, folder)


class Page:
    """What a page does with the routes of a workspace."""

    def __init__(self, server, teacher, folder):
        self.server, self.teacher, self.folder = server, teacher, folder
        self.client = server.client

    def get(self, path, status=200, **query):
        return self._checked(self.client.get(f"/v1/workspace{path}", params=query), status)

    def file(self, path, **query):
        given = self.client.get(f"/v1/workspace{path}", params=query)
        assert given.status_code == 200, given.text
        return given

    def post(self, path, body, status=200):
        return self._checked(self.client.post(f"/v1/workspace{path}", json=body), status)

    def delete(self, path, status=200):
        return self._checked(self.client.delete(f"/v1/workspace{path}"), status)

    def _checked(self, given, status):
        assert given.status_code == status, given.text
        values = given.json()
        return values["error"] if status >= 400 else values

    def make(self, name="drugs", kind="ner", labels=({"name": "DRUG"},), **more):
        return self.post("/tasks", {"name": name, "kind": kind, "labels": list(labels), **more})

    def correct(self, number, *, task="drugs", order="random", answer=drug_in):
        """Correct so many notes as they are offered; return the answers of the server."""
        found = []
        for _ in range(number):
            offer = self.post(f"/tasks/{task}/offers", {"order": order})
            note = offer["note"]
            body = {"note": note["note"], "answer": answer(note)}
            found.append(self.post(f"/tasks/{task}/corrections", body))
        return found

    def adapt(self, task="drugs"):
        """Adapt a task and wait until that is done; return the run."""
        return self.wait(self.post(f"/tasks/{task}/runs", {}), task)

    def wait(self, run, task="drugs", seconds=120):
        deadline = time.monotonic() + seconds
        while run["state"] == "running":
            assert time.monotonic() < deadline
            time.sleep(0.1)
            run = self.get(f"/tasks/{task}/runs/{run['run']}")
        return run

    def compared(self, run, task="drugs"):
        found = {"state": "comparing"}
        while found["state"] == "comparing":
            found = self.get(f"/tasks/{task}/runs/{run['run']}/comparison")
        return found

    def predict(self, text, task="drugs"):
        given = self.client.post("/v1/predict", json={"tasks": [task], "text": text})
        assert given.status_code == 200, given.text
        [answer] = given.json()["answers"]
        return answer
