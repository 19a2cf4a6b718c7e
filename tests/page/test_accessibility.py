"""The page can be used by all: names, contrast, narrow screens, large text."""

import pytest
from made_store import TASKS
from made_workspace import notes_of

pytestmark = pytest.mark.slow

NER, LINKS, LABEL, SUMMARY = TASKS
NOTE = "On warfarin; 😀😀 naproxen 250 mg twice a day for gout."
SCHEMES = ["light", "dark"]
AT_400_PERCENT = {"viewport": {"width": 320, "height": 256}, "device_scale_factor": 4}


def empty(shown):
    shown.open()


def asking(shown):
    shown.open(token="")


def answered(shown):
    shown.open().choose(LABEL)
    shown.page.get_by_label("statement").fill("The patient smokes.")
    shown.run(NOTE, NER, LINKS, SUMMARY)
    shown.page.get_by_label("Mark answers").fill("1")
    shown.page.locator("summary").click()


def failed(shown):
    shown.open().page.keyboard.press("Control+Enter")
    shown.page.locator("#results .error").wait_for()


def tasks(workspace, shown):
    workspace.make(title="Drugs in notes")
    shown.open().page.get_by_role("link", name="Teach").click()
    shown.page.get_by_role("link", name="drugs").wait_for()


def new_task(workspace, shown):
    workspace.make()
    shown.open().page.goto(f"{shown.url}/workbench/#teach/")
    shown.page.get_by_label("Name", exact=True).fill("drugs")
    shown.page.get_by_label("Label 1", exact=True).fill("DRUG")
    shown.page.get_by_role("button", name="Make the task").click()
    shown.page.locator("[aria-invalid=true]").wait_for()
    shown.faults.clear()  # the browser reports the status


def correcting(workspace, shown):
    labels = [{"name": name, "word": name * 3} for name in ("DRUG", "DOSE", "PROBLEM")]
    workspace.make(labels=labels)
    workspace.post("/tasks/drugs/notes", {"notes": [{"text": NOTE}, *notes_of(12)]})
    workspace.correct(11)
    page = shown.teach("drugs")
    page.locator(".note-editor").wait_for()
    for key in ("1", "ArrowRight", "ArrowRight", "Shift+ArrowRight"):
        page.keyboard.press(key)
    page.locator(".score-rows li").first.wait_for()
    for one in page.locator("summary").all():
        if not one.evaluate("it => it.parentElement.open"):
            one.click()
    page.get_by_role("button", name="Delete all that").click()
    page.get_by_role("button", name="Correct n1 again").wait_for()


def linking(workspace, shown):
    workspace.make("doses", "re", labels=[{"name": "has_dose"}])
    workspace.post("/tasks/doses/notes", {"notes": notes_of(2)})
    page = shown.teach("doses")
    page.locator(".note-editor").wait_for()
    for key in ("ArrowRight", "r", "ArrowRight", "r", "ArrowRight", "r"):
        page.keyboard.press(key)
    page.locator(".made p").first.wait_for()


def labeling(workspace, shown):
    workspace.make("smoking", "nli", labels=[{"name": "yes"}, {"name": "no", "word": "not"}])
    note = {"text": "Smokes.", "fields": {"statement": "The patient smokes."}}
    workspace.post("/tasks/smoking/notes", {"notes": [note]})
    shown.teach("smoking").locator(".note-editor").wait_for()
    shown.page.keyboard.press("2")


def compared(workspace, shown):
    workspace.make()
    workspace.post("/tasks/drugs/notes", {"notes": notes_of(4)})
    workspace.correct(3)
    workspace.adapt()
    page = shown.teach("drugs")
    page.get_by_role("button", name="Compare old and new").click()
    page.get_by_role("table", name="Answers").wait_for()
    page.get_by_role("button", name="Use the new prompt").click()
    page.get_by_text("The new prompt is used.").wait_for()


READING = [asking, empty, answered, failed]
TEACHING = [tasks, new_task, correcting, linking, labeling, compared]


def assert_no_violation(page):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not there")
    found = axe.Axe().run(page)
    assert found.violations_count == 0, found.generate_report()


def assert_nothing_scrolls_sideways(page):
    assert page.evaluate("document.documentElement.scrollWidth") == 320
    wide = page.evaluate(
        """[...document.querySelectorAll("main button, main textarea, main .note, h1, main input")]
            .filter((it) => it.getBoundingClientRect().right > 320.5).map((it) => it.outerHTML)
        """
    )
    assert wide == []


@pytest.mark.parametrize("state", READING)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_axe_finds_no_violation(shown_as, scheme, state):
    with shown_as(color_scheme=scheme) as shown:
        state(shown)
        assert_no_violation(shown.page)


@pytest.mark.parametrize("state", TEACHING)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_axe_finds_no_violation_while_teaching(workspace, teacher_as, scheme, state):
    with teacher_as(color_scheme=scheme) as shown:
        state(workspace, shown)
        assert_no_violation(shown.page)


@pytest.mark.parametrize("state", READING)
def test_at_400_percent_nothing_scrolls_sideways(shown_as, state):
    """1280 pixels at 400 % are 320 CSS pixels."""
    with shown_as(**AT_400_PERCENT) as shown:
        state(shown)
        assert_nothing_scrolls_sideways(shown.page)


@pytest.mark.parametrize("state", TEACHING)
def test_at_400_percent_nothing_scrolls_sideways_while_teaching(workspace, teacher_as, state):
    with teacher_as(**AT_400_PERCENT) as shown:
        state(workspace, shown)
        assert_nothing_scrolls_sideways(shown.page)
