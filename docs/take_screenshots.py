"""Take the pictures of the page in docs/images/. Run: make screenshots STORE=RUN/store.

The store must have prompts for the practice tasks below; the notes are synthetic.
"""

import json
import sys
from pathlib import Path
from threading import Thread
from time import sleep

from PIL import Image
from playwright.sync_api import Page, sync_playwright

from clinprompt.jobs.task_table import load_backbone_for
from clinprompt.serving.access import Limits
from clinprompt.serving.server import listening, make_server
from clinprompt.serving.state import ServerState

IMAGES = Path(__file__).parent / "images"
PORT = 8099
TASKS = (
    "practice-ner-drugs",
    "practice-ner-problems",
    "practice-re-dose",
    "practice-nli-history",
    "practice-sum-plan",
)
STATEMENT = "The patient smokes."
NOTES = {
    "ward-1": "An older man presents with kidney stones. Home drugs are montelukast 10 mg at "
    "bedtime, azithromycin 500 mg once daily. Past history includes hypertension. Quit smoking 40 "
    "years ago. The plan is to consult urology.",
    "ward-2": "Knee pain is treated with ibuprofen 400 mg. No deep vein thrombosis today. "
    "Nonsmoker. Plan: taper the steroid.",
    "ward-3": "Apixaban 2.5 mg every 12 hours. Still smoking. Denies high cholesterol.",
    "ward-4": "Presents with a cough. Takes meloxicam 15 mg PO as needed. Plan: discharge home.",
}
SHOTS = (("light", 1200, 1300), ("dark", 1200, 1300), ("narrow", 390, 1400))


def main(store: Path) -> None:
    """Start a server on the store, run the notes in the page and take the pictures."""
    state = ServerState(load_backbone_for(store), store, limits=Limits())
    place = listening("127.0.0.1", PORT, token_file=None)
    server = make_server(state, place)
    thread = Thread(target=server.run)
    thread.start()
    while not server.started:
        sleep(0.1)
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path="/usr/bin/chromium", args=["--no-sandbox", "--disable-gpu"]
            )
            page = browser.new_page()
            _run_notes(page, place.page_url)
            _take(page)
            browser.close()
    finally:
        server.should_exit = True
        thread.join()


def _run_notes(page: Page, url: str) -> None:
    page.goto(url)
    for task in TASKS:
        page.get_by_label(task, exact=True).check()
    lines = [
        json.dumps({"id": name, "text": text, "statement": STATEMENT})
        for name, text in NOTES.items()
    ]
    content = "\n".join(lines).encode()
    page.locator("#files").set_input_files(
        [{"name": "notes.jsonl", "mimeType": "", "buffer": content}]
    )
    page.get_by_role("button", name="Run all").click()
    page.get_by_text(f"{len(NOTES)} answered.").wait_for(timeout=300_000)
    page.get_by_label("Order").select_option("unsure")
    page.get_by_role("button", name="ward-1").click()


def _take(page: Page) -> None:
    IMAGES.mkdir(exist_ok=True)
    for name, width, height in SHOTS:
        page.emulate_media(color_scheme="dark" if name == "dark" else "light")
        page.set_viewport_size({"width": width, "height": height})
        if name == "narrow":
            page.locator("#annotated").scroll_into_view_if_needed()
        page.wait_for_timeout(300)  # arcs are drawn again at a new width
        path = IMAGES / f"page-{name}.png"
        page.screenshot(path=path)
        Image.open(path).quantize(128).save(path, optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
