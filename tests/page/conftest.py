"""A browser that shows the page of a server with random prompts of a tiny model."""

import shutil
from contextlib import contextmanager
from unittest import mock

import pytest
from made_server import TOKEN, running
from made_store import save_store
from made_workspace import metaprompt_in, teaching

from clinprompt.backbone import constraint

CHROMIUM = shutil.which("chromium") or ""
WORDS = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]


class Shown:
    """A page that is open in a tab of its own, with all that went wrong in it."""

    def __init__(self, page, url):
        self.page, self.url = page, url
        self.faults, self.requested = [], []
        page.on("console", self._note)
        page.on("pageerror", lambda error: self.faults.append(str(error)))
        page.on("request", lambda request: self.requested.append(request.url))

    def _note(self, message):
        if message.type in ("error", "warning"):
            self.faults.append(message.text)

    def open(self, *, token=TOKEN):
        self.page.goto(f"{self.url}/workbench/" + (f"#token={token}" if token else ""))
        if token:
            self.page.get_by_role("navigation").wait_for()
        return self

    def choose(self, *tasks):
        for task in tasks:
            self.page.get_by_label(task, exact=True).check()

    def run(self, text, *tasks):
        """Run tasks on a note and wait for the answers."""
        self.choose(*tasks)
        self.page.get_by_label("Text of the note").fill(text)
        self.page.get_by_role("button", name="Run Ctrl").click()
        self.page.get_by_text("Answered.", exact=True).wait_for()

    def teach(self, task):
        """Open a task of the workspace."""
        self.open()
        self.page.goto(f"{self.url}/workbench/#teach/{task}")
        self.page.get_by_role("heading", name=task, exact=True).wait_for()
        return self.page


@contextmanager
def shown_by(browser, url, **options):
    """Show a page in a browser of a given size and look; the page must be free of faults."""
    context = browser.new_context(**options)
    context.set_default_timeout(30_000)
    shown = Shown(context.new_page(), url)
    yield shown
    context.close()
    assert shown.faults == []
    assert {one for one in shown.requested if not one.startswith(f"{url}/")} <= {
        one for one in shown.requested if one.startswith("blob:")
    }


@pytest.fixture(scope="module")
def browser():
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if not CHROMIUM:
        pytest.skip("chromium is not installed")
    with sync_api.sync_playwright() as playwright:
        found = playwright.chromium.launch(
            executable_path=CHROMIUM, args=[*WORDS, "--no-first-run"]
        )
        yield found
        found.close()


@pytest.fixture(scope="module")
def server(browser, tmp_path_factory, tiny_llama, tiny_llama_folder):
    store = save_store(tmp_path_factory.mktemp("served") / "store", tiny_llama_folder)
    # A random model has little probability on allowed tokens, so its answers would end at once.
    with mock.patch.object(constraint, "MIN_SHARE", 0.0), running(tiny_llama, store) as found:
        yield found


@pytest.fixture
def shown_as(browser, server):
    return lambda **options: shown_by(browser, server.url, **options)


@pytest.fixture
def shown(shown_as):
    with shown_as() as one:
        yield one


@pytest.fixture
def workspace(browser, tmp_path, tiny_llama, tiny_llama_folder):
    """A server with an empty workspace, and a client that knows its routes."""
    metaprompt = metaprompt_in(tmp_path, tiny_llama_folder, routing="all")
    with teaching(tiny_llama, tmp_path / "work", metaprompt) as found:
        yield found


@pytest.fixture
def teacher_as(browser, workspace):
    return lambda **options: shown_by(browser, workspace.server.url, **options)


@pytest.fixture
def teacher(teacher_as):
    with teacher_as() as one:
        yield one
