"""What is corrected on the page, by keys and by mouse, is what the server keeps."""

import pytest
from made_workspace import notes_of

pytestmark = pytest.mark.slow

DRUG, DOSE = {"name": "DRUG", "word": "drug"}, {"name": "DOSE", "word": "dose"}


def suggest(shown, answer):
    """Replace the suggestion of the server, because the tiny model gives random ones."""

    def with_answer(route):
        given = route.fetch()
        values = given.json()
        if values.get("note"):
            values["suggestion"] = answer
        route.fulfill(response=given, json=values)

    shown.page.route("**/offers", with_answer)


def opened(workspace, shown, *texts, name="drugs", **task):
    """Make a task with notes and open it; return the page."""
    workspace.make(name=name, **({"labels": (DRUG, DOSE)} | task))
    notes = [text if isinstance(text, dict) else {"text": text} for text in texts]
    workspace.post(f"/tasks/{name}/notes", {"notes": notes})
    page = shown.teach(name)
    page.locator(".note-editor").wait_for()
    return page


def press(page, *keys):
    for key in keys:
        page.keyboard.press(key)


def done(workspace, page, name="drugs", number=1):
    """Wait until so many notes are corrected; return the corrections."""
    page.get_by_text(f"{number} of 16 corrections").wait_for()
    page.locator("[aria-busy=true]").wait_for(state="detached")
    return workspace.get(f"/tasks/{name}/corrections")["corrections"]


def mentions(row):
    return [(one["text"], one["type"]) for one in row["answer"]["entities"]]


def happened(page):
    return page.locator(".note-editor .happened").inner_text()


def marked(page):
    return page.locator(".editable mark").all_inner_texts()


def test_arrows_move_by_word_and_shift_extends(workspace, teacher):
    page = opened(workspace, teacher, "On warfarin; 😀😀 naproxen 250 mg.")
    cursor = page.locator(".editable .cursor")
    assert cursor.inner_text() == "On"
    press(page, "ArrowRight", "1")
    assert marked(page) == ["warfarin"]
    press(page, *["ArrowRight"] * 4)
    assert cursor.inner_text() == "naproxen"
    press(page, "2", "ArrowRight", "Shift+ArrowRight", "2", "Enter")
    [row] = done(workspace, page)
    assert mentions(row) == [("warfarin", "DRUG"), ("naproxen", "DOSE"), ("250 mg", "DOSE")]


def test_a_digit_changes_the_label_of_the_mention_under_the_cursor(workspace, teacher):
    suggest(teacher, {"entities": [{"start": 3, "end": 13, "type": "DRUG", "text": "x"}]})
    page = opened(workspace, teacher, "On insulin 20 mg.")
    press(page, "ArrowRight", "ArrowRight", "2")
    assert happened(page) == "Now DOSE: 20"
    press(page, "Enter")
    [row] = done(workspace, page)
    assert mentions(row) == [("insulin 20", "DOSE")]


def test_a_selection_takes_the_place_of_the_mention_that_it_overlaps(workspace, teacher):
    suggest(teacher, {"entities": [{"start": 0, "end": 10, "type": "DRUG", "text": "x"}]})
    page = opened(workspace, teacher, "On insulin 20 mg.")
    press(page, "ArrowRight", "Shift+ArrowRight", "1", "Enter")
    [row] = done(workspace, page)
    assert mentions(row) == [("insulin 20", "DRUG")]


def test_backspace_deletes_and_z_takes_back_step_by_step(workspace, teacher):
    suggest(teacher, {"entities": [{"start": 3, "end": 10, "type": "DRUG", "text": "x"}]})
    page = opened(workspace, teacher, "On insulin 20 mg.", "On aspirin 5 mg.")
    first = page.locator(".editable").inner_text()
    press(page, "ArrowRight", "Backspace")
    assert marked(page) == []
    press(page, "z")
    assert len(marked(page)) == 1
    press(page, "Backspace", "Enter")
    assert mentions(done(workspace, page)[0]) == []
    assert page.locator(".editable").inner_text() != first
    press(page, "z")  # nothing was changed in this note yet
    page.get_by_text("Taken back: this note is not corrected any more.").wait_for()
    assert page.locator(".editable").inner_text().replace("DRUG", "") == first.replace("DRUG", "")
    assert marked(page) == []  # as it had been corrected
    assert workspace.get("/tasks/drugs")["notes"]["corrected"] == 0


def test_up_and_down_move_by_line(workspace, teacher):
    lines = ["One two three.", "Four five six.", "Seven."]
    page = opened(workspace, teacher, "\n".join(lines))
    cursor = page.locator(".editable .cursor")
    press(page, "ArrowRight", "ArrowDown")
    assert cursor.inner_text() == "five"
    press(page, "ArrowDown", "ArrowUp")
    assert cursor.inner_text() == "five"  # the column stays
    press(page, "ArrowUp", "ArrowUp")
    assert cursor.inner_text() == "two"


def test_nothing_here_is_a_correction_and_a_skip_is_none(workspace, teacher):
    page = opened(workspace, teacher, *(note["text"] for note in notes_of(3)))
    page.get_by_role("button", name="Skip S").click()
    page.get_by_text("Skipped.", exact=True).wait_for()
    page.locator("[aria-busy=true]").wait_for(state="detached")
    press(page, "n")
    assert [mentions(row) for row in done(workspace, page)] == [[]]
    assert workspace.get("/tasks/drugs")["notes"] == {"waiting": 1, "corrected": 1, "skipped": 1}


def test_words_are_marked_and_unmarked_by_mouse(workspace, teacher):
    page = opened(workspace, teacher, "Takes low dose aspirin daily.")
    word = page.locator(".editable [data-word]")
    word.nth(1).hover()
    page.mouse.down()
    word.nth(3).hover()
    page.mouse.up()
    page.get_by_role("button", name="DRUG").click()
    assert happened(page) == "Marked as DRUG: low dose aspirin"
    word.nth(4).click()
    page.get_by_role("button", name="DOSE").click()
    word.nth(2).click()
    page.get_by_role("button", name="Delete", exact=False).first.click()
    page.get_by_role("button", name="Accept and next").click()
    [row] = done(workspace, page)
    assert mentions(row) == [("daily", "DOSE")]


def ends(row):
    text = row["text"]
    return [
        (
            one["type"],
            *(text[one[end]["start"] : one[end]["end"]] for end in ("head", "tail")),
        )
        for one in row["answer"]["relations"]
    ]


LINKS = {"name": "doses", "kind": "re", "labels": ({"name": "has_dose"}, {"name": "has_form"})}


def test_links_are_made_named_and_deleted_by_keys(workspace, teacher):
    page = opened(workspace, teacher, "Takes 😀 aspirin 81 mg tablets.", **LINKS)
    press(page, "ArrowRight", "ArrowRight", "r", "ArrowRight", "Shift+ArrowRight", "r", "1")
    press(page, "ArrowLeft", "ArrowLeft")  # back on the drug
    press(page, "r", *["ArrowRight"] * 3, "Enter", "2")
    assert page.locator("svg.arcs path.arc").count() == 2
    assert page.locator(".made p").all_inner_texts() == [
        "aspirin → 81 mg (has_dose) Delete",
        "aspirin → tablets (has_form) Delete",
    ]
    press(page, "Backspace")
    press(page, "r", "Escape", "Enter")
    [row] = done(workspace, page, "doses")
    assert ends(row) == [("has_dose", "aspirin", "81 mg")]


def test_a_link_needs_two_ends(workspace, teacher):
    page = opened(workspace, teacher, "Takes aspirin 81 mg.", **LINKS)
    press(page, "r", "1")
    assert "Move to its other end" in happened(page)
    assert page.locator("svg.arcs path.arc").count() == 0


def test_a_digit_chooses_the_label(workspace, teacher):
    note = {"text": "Smokes a pack a day.", "fields": {"statement": "The patient smokes."}}
    labels = ({"name": "yes"}, {"name": "no"})
    page = opened(workspace, teacher, note, name="smoking", kind="nli", labels=labels)
    assert "The patient smokes." in page.locator(".editable").inner_text()
    press(page, "1", "2")
    assert page.get_by_role("button", name="no").get_attribute("aria-pressed") == "true"
    press(page, "z", "Enter")
    [row] = done(workspace, page, "smoking")
    assert row["answer"] == {"label": "yes"}


def test_after_undo_the_model_still_says_what_it_said(workspace, teacher):
    note = {"text": "Quit smoking.", "fields": {"statement": "The patient smokes."}}
    labels = ({"name": "yes"}, {"name": "no"})
    page = opened(workspace, teacher, note, name="smoking", kind="nli", labels=labels)
    said = page.locator(".span-editor .hint").inner_text()
    other = "2" if "says yes" in said else "1"
    press(page, other, "Enter")
    page.get_by_text("1 of 16 corrections").wait_for()
    page.get_by_role("button", name="Undo").click()
    page.locator(".note-editor").wait_for()
    assert page.locator(".span-editor .hint").inner_text() == said
    chosen = page.locator(".tools button[aria-pressed=true]").get_attribute("data-label")
    assert f"says {chosen}" not in said


def test_a_text_is_corrected_in_an_input(workspace, teacher):
    page = opened(workspace, teacher, "Plan: rest.", name="plan", kind="summarization", labels=())
    area = page.get_by_label("Right text")
    area.fill("")
    page.keyboard.press("Control+Enter")
    page.get_by_text("Write a text first").wait_for()
    area.fill("rest s n z 1")  # letters are letters here
    page.keyboard.press("Control+Enter")
    [row] = done(workspace, page, "plan")
    assert row["answer"] == {"text": "rest s n z 1"}


def test_a_reload_loses_at_most_the_note_in_hand(workspace, teacher):
    page = opened(workspace, teacher, *(note["text"] for note in notes_of(4)))
    press(page, "ArrowRight", "1", "Enter")
    before = done(workspace, page)
    press(page, "ArrowRight", "1")
    in_hand = page.locator(".editable").inner_text().replace("DRUG", "")
    page.reload()
    page.locator(".note-editor").wait_for()
    assert page.locator(".editable").inner_text() == in_hand
    page.get_by_text("1 of 16 corrections").wait_for()
    assert workspace.get("/tasks/drugs/corrections")["corrections"] == before
    kept = page.evaluate("JSON.stringify([{...localStorage}, {...sessionStorage}])")
    assert not any(word in kept for word in ("Takes", "aspirin", "metformin", "mg"))


def test_a_correction_that_does_not_arrive_stays_in_hand(workspace, teacher):
    page = opened(workspace, teacher, "Takes aspirin daily.")
    page.route("**/corrections", lambda route: route.abort())
    press(page, "ArrowRight", "1", "Enter")
    page.get_by_text("The server cannot be reached").wait_for()
    page.locator("[aria-busy=true]").wait_for(state="detached")
    page.unroute("**/corrections")
    press(page, "Enter")
    [row] = done(workspace, page)
    assert mentions(row) == [("aspirin", "DRUG")]
    teacher.faults.clear()  # the browser reports the lost request


def test_text_that_looks_like_markup_is_a_note_like_others(workspace, teacher):
    page = opened(workspace, teacher, "<img src=x onerror=alert(1)> takes <b>aspirin</b>")
    assert page.locator(".editable img, .editable b").count() == 0
    assert page.locator(".editable").inner_text().startswith("<img src=x onerror=alert(1)>")


def test_a_note_in_which_the_model_found_nothing_says_so(workspace, teacher):
    words = "The model found nothing here."
    suggest(teacher, {"entities": []})
    page = opened(workspace, teacher, "Takes aspirin daily.")
    assert page.locator(".note-editor .notice").inner_text() == words
    teacher.page.unroute("**/offers")
    aspirin = {"start": 6, "end": 13, "type": "DRUG", "text": "aspirin"}
    suggest(teacher, {"entities": [aspirin]})
    page.reload()
    page.locator(".note-editor mark").wait_for()
    assert page.get_by_text(words).count() == 0
    answer = {"task": "drugs", "entities": [], "ungrounded": []}
    answers = {"id": "x", "seconds": 1.0, "answers": [answer]}
    page.route("**/v1/predict", lambda route: route.fulfill(json=answers))
    page.get_by_role("link", name="Read").click()
    teacher.run("Takes aspirin daily.", "drugs")
    page.get_by_text(words, exact=True).wait_for()
    answer["entities"] = [aspirin]
    teacher.run("Takes aspirin daily.", "drugs")
    page.get_by_text("The mention as a table", exact=True).wait_for()
