"""The page can be used by all: names, contrast, narrow screens, large text."""

import pytest
from made_store import TASKS

pytestmark = pytest.mark.slow

NER, LINKS, LABEL, SUMMARY = TASKS
NOTE = "On warfarin; 😀😀 naproxen 250 mg twice a day for gout."


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


STATES = [asking, empty, answered, failed]


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_violation(shown_as, scheme, state):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not there")
    with shown_as(color_scheme=scheme) as shown:
        state(shown)
        found = axe.Axe().run(shown.page)
        assert found.violations_count == 0, found.generate_report()


@pytest.mark.parametrize("state", STATES)
def test_at_400_percent_nothing_scrolls_sideways(shown_as, state):
    """1280 pixels at 400 % are 320 CSS pixels."""
    with shown_as(viewport={"width": 320, "height": 256}, device_scale_factor=4) as shown:
        state(shown)
        assert shown.page.evaluate("document.documentElement.scrollWidth") == 320
        wide = shown.page.evaluate(
            """[...document.querySelectorAll("#work button, #work textarea, #work .note, h1")]
                .filter((it) => it.getBoundingClientRect().right > 320.5).map((it) => it.outerHTML)
            """
        )
        assert wide == []
