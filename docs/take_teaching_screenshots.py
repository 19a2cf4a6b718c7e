"""Take the pictures of teaching in docs/images/. Run: make screenshots STORE=RUN/store.

A task is made in a new workspace, corrected on synthetic notes, adapted and used. The first sixteen
corrections are sent by this script, the rest is done on the page.
"""

import re
import tempfile
from pathlib import Path
from threading import Thread
from time import sleep
from typing import Any

import httpx2
from PIL import Image
from playwright.sync_api import Page, sync_playwright

from clinprompt.serving.access import Limits
from clinprompt.serving.server import listening, make_server
from clinprompt.serving.state import ServerState
from clinprompt.serving.teaching.opening import backbone_for, open_tasks, recipe_of
from clinprompt.serving.teaching.teacher import Teacher
from clinprompt.settings.defaults import SHIPPED

IMAGES = Path(__file__).parent / "images"
PORT = 8098
DRUGS = ("metformin", "lisinopril", "aspirin", "warfarin", "furosemide", "apixaban", "sertraline")
FRAMES = (
    "An older woman presents with chest pain. Home drugs are [{one}|DRUG] [500 mg|DOSE] twice a "
    "day and [{other}|DRUG] [10 mg|DOSE] at bedtime. Quit smoking 10 years ago.",
    "Seen for follow-up. Started on [{one}|DRUG] [20 mg|DOSE]; [{other}|DRUG] was stopped.",
    "Takes [{one}|DRUG] [2.5 mg|DOSE] every 12 hours for gout. Denies fever or chills.",
    "Will recheck labs in two weeks, since [{one}|DRUG] was stopped in spring.",
)
NUM_NOTES, NUM_CORRECTED = 24, 16
SHOTS = (("light", 1200, 1250), ("dark", 1200, 1250), ("narrow", 390, 1400))


def main() -> None:
    """Start a server on an empty workspace, teach a task on it and take the pictures."""
    with tempfile.TemporaryDirectory() as folder:
        workspace = Path(folder)
        recipe = recipe_of(SHIPPED, ["device=cpu"])
        model = backbone_for(recipe, workspace / "store", "", device="cpu")
        tasks = open_tasks(workspace, workspace / "store", model, recipe)
        state = ServerState(model, workspace / "store", limits=Limits(), may_be_empty=True)
        place = listening("127.0.0.1", PORT, token_file=None)
        server = make_server(state, place, Teacher(state, model, tasks, recipe))
        thread = Thread(target=server.run)
        thread.start()
        while not server.started:
            sleep(0.1)
        try:
            headers = {"Authorization": f"Bearer {place.token}"}
            with httpx2.Client(base_url=place.url, headers=headers, timeout=300) as client:
                _correct(client)
                _show(place.page_url)
        finally:
            server.should_exit = True
            thread.join()


def marked() -> dict[str, list[dict[str, Any]]]:
    """Return the notes with their right mentions, which are marked in the frames."""
    found = {}
    for number in range(NUM_NOTES):
        one, other = (DRUGS[(number * step + step) % len(DRUGS)] for step in (1, 3))
        parts = re.split(
            r"\[(.+?)\|(\w+)\]", FRAMES[number % len(FRAMES)].format(one=one, other=other)
        )
        text, mentions = parts[0], []
        for words, kind, rest in zip(parts[1::3], parts[2::3], parts[3::3], strict=True):
            mentions.append({"start": len(text), "end": len(text) + len(words), "type": kind})
            text += words + rest
        found[text] = mentions
    return found


def _correct(client: httpx2.Client) -> None:
    root, right = "/v1/workspace/tasks", marked()
    labels = [{"name": "DRUG", "word": "drug"}, {"name": "DOSE", "word": "dose"}]
    task = {"name": "drugs", "kind": "ner", "title": "Drugs and doses", "labels": labels}
    client.post(root, json=task).raise_for_status()
    notes = [{"id": f"ward-{at}", "text": text} for at, text in enumerate(right, 1)]
    client.post(f"{root}/drugs/notes", json={"notes": notes}).raise_for_status()
    for _ in range(NUM_CORRECTED):
        offered = client.post(f"{root}/drugs/offers", json={"order": "random"}).json()["note"]
        body = {"note": offered["note"], "answer": {"entities": right[offered["text"]]}}
        client.post(f"{root}/drugs/corrections", json=body).raise_for_status()


def _show(url: str) -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path="/usr/bin/chromium", args=["--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page()
        page.goto(url)
        page.get_by_role("link", name="Teach").click()
        page.get_by_role("link", name="drugs").click()
        page.locator(".note-editor").wait_for(timeout=60_000)
        page.get_by_role("button", name="Adapt").click()
        page.get_by_role("table", name="Answers").wait_for(timeout=900_000)
        page.get_by_role("button", name="Use the new prompt").click()
        page.get_by_text("The new prompt is used.").wait_for(timeout=60_000)
        page.locator("[aria-busy=true]").wait_for(state="detached", timeout=60_000)
        page.locator(".editable").focus()
        for key in ("ArrowRight", "ArrowRight", "Shift+ArrowRight"):
            page.keyboard.press(key)
        _take(page)
        browser.close()


def _take(page: Page) -> None:
    for name, width, height in SHOTS:
        page.emulate_media(color_scheme="dark" if name == "dark" else "light")
        page.set_viewport_size({"width": width, "height": height})
        page.evaluate("scrollTo(0, 0)")
        page.wait_for_timeout(300)
        path = IMAGES / f"teach-{name}.png"
        page.screenshot(path=path)
        Image.open(path).quantize(128).save(path, optimize=True)


if __name__ == "__main__":
    main()
