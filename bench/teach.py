"""Teach a task on the page as a person would, by keys, and say how long each step takes.

Starts ``clinprompt serve`` with an empty workspace and the default backbone, opens the page in
chromium, makes a task, adds practice notes, corrects sixteen of them, presses Adapt and uses the
new prompt. Then both prompts answer notes that were not corrected. The hands are a program: the
time of a person is that of the keys that it pressed.

Run: python bench/teach.py     (needs chromium and playwright: make test-page)
Writes docs/results/bench/teach.json.
"""

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any

import httpx2
from playwright.sync_api import Page, Response, sync_playwright
from serve import SERVE, TOKEN, free_port, started_server

import clinprompt
from clinprompt.tasks.records import Record, SpansAnswer

SOURCE = "practice-ner-drugs"  # notes with known mentions
RESULTS = Path(__file__).resolve().parents[1] / "docs" / "results" / "bench"
CORRECTED, NOT_SEEN = 16, 100
WORDS_IN = "async text => (await import('/workbench/words.js')).wordsIn(text)"
PATIENCE = 300_000  # milliseconds, of a wait


class Hands:
    """Presses keys on a page and counts them; notes how long each step took."""

    def __init__(self, page: Page) -> None:
        self.page, self.keys = page, 0
        self.steps: list[dict[str, Any]] = []
        self._offers: list[Response] = []
        page.on("response", self._heard)

    def _heard(self, response: Response) -> None:
        if response.url.endswith("/offers") and response.ok:
            self._offers.append(response)

    def press(self, key: str, times: int = 1) -> None:
        """Press a key."""
        for _ in range(times):
            self.page.keyboard.press(key)
        self.keys += times

    @contextmanager
    def step(self, what: str) -> Iterator[None]:
        """Note the seconds and keys of a step."""
        started, before = perf_counter(), self.keys
        yield
        seconds = perf_counter() - started
        self.steps.append({"what": what, "seconds": seconds, "keys": self.keys - before})
        print(f"{what}: {seconds:.1f} s, {self.keys - before} keys", flush=True)

    def correct(self, gold: dict[str, Record]) -> bool:
        """Correct the note that is shown and accept it; return whether it was right already."""
        offer = self._offers[-1].json()
        note = offer["note"]
        wanted = _places(gold[note["text"]])
        said = {(one["start"], one["end"]) for one in offer["suggestion"]["entities"]}
        words = self.page.evaluate(WORDS_IN, note["text"])
        at = 0
        for start, end in sorted(said - wanted):
            at = self._go(words, at, start, end, extend=False)
            self.press("Backspace")
        for start, end in sorted(wanted - said):
            at = self._go(words, at, start, end, extend=True)
            self.press("1")
        self.press("Enter")
        return said == wanted

    def _go(
        self, words: Sequence[dict[str, int]], at: int, start: int, end: int, *, extend: bool
    ) -> int:
        inside = [n for n, one in enumerate(words) if start < one["end"] and one["start"] < end]
        first, last = inside[0], inside[-1]
        self.press("ArrowRight" if first >= at else "ArrowLeft", abs(first - at))
        if extend:
            self.press("Shift+ArrowRight", last - first)
            return last
        return first


def main() -> None:
    """Teach and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=RESULTS / "teach.json")
    wanted = parser.parse_args()
    chromium = shutil.which("chromium")
    assert chromium, "chromium is missing: make test-page installs it"
    records = clinprompt.load_task(SOURCE).splits
    with tempfile.TemporaryDirectory() as folder:
        token, port = Path(folder) / "token", free_port()
        token.write_text(TOKEN)
        words = [sys.executable, "-c", SERVE, "serve", "--workspace", str(Path(folder) / "desk")]
        words += ["--port", str(port), "--token-file", str(token)]
        with started_server(words, port) as server, sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=chromium, args=["--headless=new", "--no-sandbox"]
            )
            found = teach(browser.new_page(), server.url, records["train"], records["test"])
            browser.close()
    wanted.out.write_text(json.dumps(found, indent=2) + "\n")


def teach(
    page: Page, url: str, notes: Sequence[Record], others: Sequence[Record]
) -> dict[str, Any]:
    """Do the whole loop on the page; return the steps and the scores on notes not seen."""
    page.set_default_timeout(PATIENCE)
    hands, role, label = Hands(page), page.get_by_role, page.get_by_label
    few = [note for note in notes if note.text][: 2 * CORRECTED]
    gold = {note.text: note for note in few}
    begun = perf_counter()
    with hands.step("open the page and make the task"):
        page.goto(f"{url}/workbench/#token={TOKEN}")
        role("link", name="New task").click()
        label("Name", exact=True).fill("drugs")
        label("Label 1", exact=True).fill("drug")
        role("button", name="Make the task").click()
        role("heading", name="drugs", exact=True).wait_for()
    before = _answers(url, others)
    with hands.step(f"open a file of {len(few)} notes, and wait for the first suggestion"):
        lines = "".join(json.dumps({"id": n.id, "text": n.text}) + "\n" for n in few)
        file = {"name": "notes.jsonl", "mimeType": "text/plain", "buffer": lines.encode()}
        page.set_input_files("input[type=file]:visible", file)
        page.get_by_text(f"{len(few)} waiting").wait_for()
        page.locator(".note-editor").wait_for()
    num_right = 0
    with hands.step(f"correct {CORRECTED} notes"):
        page.locator(".editable").focus()
        for number in range(CORRECTED):
            num_right += hands.correct(gold)
            page.get_by_text(f"{number + 1} of {CORRECTED} corrections").wait_for()
            page.locator("[aria-busy=true]").wait_for(state="detached")
    with hands.step("adapt"):
        role("button", name="Adapt").click()
        page.get_by_text(f"Adapted to {CORRECTED} corrections").wait_for()
    with hands.step("compare the old and the new prompt on the corrections"):
        role("table", name="Answers").wait_for()
    with hands.step("use the new prompt"):
        role("button", name="Use the new prompt").click()
        page.get_by_text("The new prompt is used.").wait_for()
    total = perf_counter() - begun
    return {
        "steps": hands.steps,
        "seconds in all": total,
        "suggestions that were right": num_right,
        "notes not seen": len(others[:NOT_SEEN]),
        "entity F1 before": _score(others, before),
        "entity F1 after": _score(others, _answers(url, others)),
    }


def _answers(url: str, records: Sequence[Record]) -> dict[str, Any]:
    """Return the served answers to notes by their ids."""
    lines = "".join(
        json.dumps({"id": one.id, "tasks": ["drugs"], "text": one.text}) + "\n"
        for one in records[:NOT_SEEN]
    )
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/x-ndjson"}
    response = httpx2.post(
        f"{url}/v1/predict/batch", content=lines, headers=headers, timeout=PATIENCE / 1000
    )
    found = map(json.loads, response.text.splitlines())
    return {one["id"]: one["answers"][0]["entities"] for one in found}


def _places(record: Record) -> set[tuple[int, int]]:
    assert isinstance(record.answer, SpansAnswer)
    return {(span.start, span.end) for span in record.answer.spans}


def _score(records: Sequence[Record], answers: dict[str, Any]) -> float:
    num_right = num_said = num_gold = 0
    for one in records[:NOT_SEEN]:
        gold = _places(one)
        said = {(entity["start"], entity["end"]) for entity in answers[one.id]}
        num_right += len(gold & said)
        num_said += len(said)
        num_gold += len(gold)
    return 2 * num_right / (num_said + num_gold)


if __name__ == "__main__":
    main()
