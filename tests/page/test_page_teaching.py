"""A task is made, corrected, adapted and used on the page; the server keeps what was done."""

import json
import time
from zipfile import ZipFile

import pytest
from made_workspace import drug_in, notes_of

pytestmark = pytest.mark.slow

DRUG, DOSE = {"name": "DRUG", "word": "drug"}, {"name": "DOSE", "word": "dose"}


def given(workspace, number=3, **more):
    """Make a task with notes; return what the server says of it."""
    workspace.make(labels=(DRUG, DOSE), **more)
    workspace.post("/tasks/drugs/notes", {"notes": notes_of(number)})
    return workspace.get("/tasks/drugs")


def editor(page):
    found = page.get_by_role("application", name="Note to correct")
    found.wait_for()
    return found


def corrections(workspace, task="drugs"):
    return workspace.get(f"/tasks/{task}/corrections")["corrections"]


def happened(page, words):
    page.locator(".note-editor .happened", has_text=words).wait_for()


def mentions(row):
    return [(one["text"], one["type"]) for one in row["answer"]["entities"]]


class Keys:
    """A keyboard, and nothing else, on a page."""

    def __init__(self, page):
        self.page, self.press, self.type = page, page.keyboard.press, page.keyboard.type

    def tab_to(self, locator):
        """Press Tab until an element has the focus, which must then be visible."""
        for _ in range(60):
            self.press("Tab")
            if locator.evaluate("it => it === document.activeElement"):
                style = "getComputedStyle(document.activeElement)"
                assert self.page.evaluate(f"{style}.outlineStyle !== 'none'")
                return
        raise AssertionError(f"Tab does not reach {locator}")

    def use(self, locator):
        self.tab_to(locator)
        self.press("Enter")


def test_the_whole_loop_by_keyboard_alone(workspace, teacher):
    page = teacher.open().page
    keys, role, label = Keys(page), page.get_by_role, page.get_by_label
    role("heading", name="Tasks").wait_for()  # an empty workspace opens here
    keys.use(role("link", name="New task"))
    keys.tab_to(label("Name", exact=True))
    keys.type("drugs")
    keys.tab_to(label("Label 1", exact=True))
    keys.type("DRUG")
    keys.use(role("button", name="Make the task"))
    role("heading", name="drugs", exact=True).wait_for()

    keys.tab_to(label("Text of one note"))
    texts = [note["text"] for note in notes_of(3)]
    for text in texts:
        keys.type(text)
        keys.use(role("button", name="Add this note"))
        page.locator("textarea:focus").wait_for()
    page.get_by_text("3 waiting").wait_for()

    keys.press("Shift+Tab")
    for _ in range(30):
        if editor(page).evaluate("it => it === document.activeElement"):
            break
        keys.press("Shift+Tab")
    for number in range(3):
        keys.press("ArrowRight")
        keys.press("1")
        happened(page, "Marked as DRUG")
        keys.press("Enter")
        page.get_by_text(f"{number + 1} of 16 corrections").wait_for()
        page.locator("[aria-busy=true]").wait_for(state="detached")
    found = corrections(workspace)
    assert {row["text"]: mentions(row) for row in found} == {
        text: [(text.split()[1], "DRUG")] for text in texts
    }

    keys.use(role("button", name="Adapt"))
    page.get_by_text("Adapted to 3 corrections").wait_for()
    page.get_by_role("table", name="Answers").wait_for()
    assert page.get_by_text("trained on").count() > 0
    assert workspace.get("/tasks/drugs")["served"]["version"] == 0
    keys.use(role("button", name="Use the new prompt"))
    page.get_by_text("The new prompt is used.").wait_for()
    served = workspace.get("/tasks/drugs")["served"]
    assert (served["version"], served["corrections"]) == (1, 3)
    keys.use(role("button", name="Undo: use the prompt without training"))
    page.get_by_text("The prompt before is used again.").wait_for()
    assert workspace.get("/tasks/drugs")["served"]["version"] == 0
    keys.use(role("link", name="Read"))
    page.get_by_label("drugs", exact=True).wait_for()  # it is among the tasks that answer


def test_a_wrong_value_of_a_new_task_is_named_at_its_input(workspace, teacher):
    workspace.make()
    page = teacher.open().page
    page.goto(f"{teacher.url}/workbench/#teach/")
    name = page.get_by_label("Name", exact=True)
    name.fill("drugs")
    page.get_by_label("Label 1", exact=True).fill("DRUG")
    page.get_by_role("button", name="Make the task").click()
    page.locator(".new-task .error", has_text="Name: is that of another task").wait_for()
    assert name.get_attribute("aria-invalid") == "true"
    name.fill("others")
    page.get_by_role("button", name="Add a label").click()
    page.get_by_label("Label 2", exact=True).fill("DRUG")
    page.get_by_role("button", name="Make the task").click()
    page.locator(".new-task .error", has_text="Label 2: is that of another label").wait_for()
    assert name.get_attribute("aria-invalid") is None
    assert page.get_by_label("Label 2", exact=True).evaluate("it => it === document.activeElement")
    teacher.faults.clear()  # the browser reports the statuses


def answering(values):
    return lambda route: route.fulfill(json=values)


def test_the_form_says_whether_the_model_reads_the_instruction(workspace, teacher):
    values = workspace.get("")
    page = teacher.open().page
    hint = page.locator("#new-instruction-hint")
    for is_read in (True, False):
        given = {**values, "reads_instructions": is_read}
        page.route("**/v1/workspace", answering(given))
        page.goto(f"{teacher.url}/workbench/#teach/")
        hint.wait_for()
        assert ("does not read" in hint.inner_text()) is not is_read
        page.goto(f"{teacher.url}/workbench/#teach")
        hint.wait_for(state="detached")


def test_files_of_notes_are_added_once(workspace, teacher):
    workspace.make()
    page = teacher.teach("drugs")
    lines = [json.dumps({**note, "pages": "2"}) for note in notes_of(700)]
    file = {"name": "n.jsonl", "mimeType": "", "buffer": "\n".join(lines).encode()}
    page.locator("#add-files").set_input_files([file])
    happened(page, "700 notes added.")
    page.locator("#add-files").set_input_files([file])
    happened(page, "0 notes added, 700 were there already.")
    rows = workspace.get("/tasks/drugs/notes")["notes"]
    assert [row["text"] for row in rows] == [note["text"] for note in notes_of(700)]
    page.locator("#add-files").set_input_files([{**file, "buffer": b"{"}])
    page.get_by_text("n.jsonl, line 1 is not JSON").wait_for()


def test_adapt_says_why_it_cannot_begin(workspace, teacher):
    given(workspace)
    page = teacher.teach("drugs")
    assert page.get_by_role("button", name="Adapt").is_disabled()
    page.get_by_text("Not yet: correct at least one note first.").wait_for()
    workspace.correct(2)
    page.reload()
    page.get_by_text("fewer usually teach it less").wait_for()
    message = "adapting needs about 3.0 GB of memory"
    error = {"error": {"message": message, "type": "x", "param": None, "code": "x"}}
    page.route("**/runs", lambda route: route.fulfill(status=409, json=error))
    page.get_by_role("button", name="Adapt").click()
    page.get_by_text(message, exact=True).wait_for()
    assert page.get_by_role("button", name="Adapt").is_enabled()
    teacher.faults.clear()  # the browser reports the status


def test_an_adaptation_is_stopped_and_goes_on(workspace, teacher):
    given(workspace)
    workspace.correct(3)
    page = teacher.teach("drugs")
    page.get_by_role("button", name="Adapt").click()
    page.get_by_role("button", name="Stop").click()
    page.get_by_text("Stopped at step").wait_for()
    assert workspace.get("/tasks/drugs/runs/1")["state"] == "stopped"
    page.get_by_role("button", name="Continue to adapt").click()
    page.reload()  # the adaptation belongs to the server, not to the page
    page.get_by_text("Adapted to 3 corrections").wait_for()
    assert [run["run"] for run in workspace.get("/tasks/drugs/runs")["runs"]] == [1]


def test_progress_and_the_time_left_are_shown(workspace, teacher):
    run = {"run": 1, "state": "running", "phase": "training", "step": 7, "of": 20}
    run |= {"seconds": 31.2, "seconds_left": 130.0, "corrections": 16, "rows": 17}
    run |= {"left_out": 0, "message": ""}
    given(workspace)
    workspace.correct(1)
    page = teacher.teach("drugs")
    page.route("**/runs", lambda route: route.fulfill(json=run))
    page.route("**/runs/1", lambda route: route.fulfill(json=run))
    page.get_by_role("button", name="Adapt").click()
    page.get_by_text("step 7 of 20, about 2 minutes left").wait_for()
    bar = page.get_by_role("progressbar", name="Adaptation")
    assert bar.evaluate("it => it.position") == pytest.approx(0.35)
    page.goto(f"{teacher.url}/workbench/#teach")  # ends the asking
    page.get_by_role("heading", name="Tasks").wait_for()
    asked = len(teacher.requested)
    time.sleep(1.5)
    assert len(teacher.requested) == asked


def test_the_test_on_unseen_notes_grows_with_notes_in_random_order(workspace, teacher):
    given(workspace, 12)
    page = teacher.teach("drugs")
    page.get_by_text("Empty. Only notes in random order fill this test").wait_for()
    page.get_by_label("Order of notes").select_option("random")
    page.locator(".about-note", has_text="drawn at random").wait_for()
    editor(page).press("ArrowRight")
    page.keyboard.press("1")
    page.keyboard.press("Enter")
    page.get_by_text("too few to tell").wait_for()
    [score] = workspace.get("/tasks/drugs/scores")["prompts"]
    shown = f"{score['num_right']} of 1 right"
    assert page.locator(".score-rows").get_by_text(shown, exact=True).count() == 1
    page.reload()
    assert page.get_by_label("Order of notes").input_value() == "random"


def test_corrections_are_taken_out_as_the_server_gives_them(workspace, teacher, tmp_path):
    given(workspace)
    workspace.correct(2)
    page = teacher.teach("drugs")
    paths = {
        "JSON Lines": "corrections/file?form=jsonl",
        "CSV": "corrections/file?form=csv",
        "brat": "corrections/file?form=brat",
        "Label Studio": "corrections/file?form=label_studio",
        "Folder": "folder",
        "Served prompt": "artifact",
    }
    names = set()
    for words, path in paths.items():
        with page.expect_download() as download:
            page.get_by_role("button", name=words, exact=True).click()
        download.value.save_as(tmp_path / words)
        names.add(download.value.suggested_filename)
        content = workspace.client.get(f"/v1/workspace/tasks/drugs/{path}").content
        assert (tmp_path / words).read_bytes() == content
    assert len(names) == len(paths)
    assert all(name.startswith("drugs") for name in names)


def test_a_note_is_corrected_again_and_deleted(workspace, teacher):
    given(workspace)
    workspace.correct(1, answer=lambda _: {"entities": []})
    [row] = corrections(workspace)
    page = teacher.teach("drugs")
    editor(page)
    page.get_by_text("Notes: 1 corrected").click()
    page.get_by_role("button", name=f"Correct {row['id']} again").click()
    happened(page, "Correct this note again.")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("1")
    page.keyboard.press("Enter")
    happened(page, "Saved")
    assert [mentions(one) for one in corrections(workspace)] == [[(row["text"].split()[1], "DRUG")]]
    delete = page.get_by_role("button", name=f"Delete {row['id']}")
    delete.click()
    assert len(corrections(workspace)) == 1  # it has to be pressed twice
    delete.click()
    page.get_by_text("Notes: 0 corrected, 2 waiting").wait_for()
    assert corrections(workspace) == []


def test_a_task_is_removed(workspace, teacher):
    given(workspace)
    page = teacher.teach("drugs")
    page.get_by_text("Remove the task").click()
    page.get_by_role("button", name="Remove drugs for good").click()
    page.get_by_role("heading", name="Tasks").wait_for()
    assert workspace.get("")["tasks"] == []


def test_answers_of_the_reading_part_are_taken_out_as_brat(workspace, teacher, tmp_path):
    given(workspace)
    page = teacher.open().page
    answer = {"task": "drugs", **drug_in(notes_of(1)[0]), "ungrounded": []}
    answers = {"id": "x", "seconds": 1.0, "answers": [answer]}
    page.route("**/v1/predict", lambda route: route.fulfill(json=answers))
    teacher.run(notes_of(1)[0]["text"], "drugs")
    with page.expect_download() as download:
        page.get_by_role("button", name="brat").click()
    download.value.save_as(tmp_path / "brat.zip")
    with ZipFile(tmp_path / "brat.zip") as found:
        [name] = [one for one in found.namelist() if one.endswith(".ann")]
        assert found.read(name).decode().splitlines() == ["T1\tDRUG 6 13\taspirin"]


def test_without_a_workspace_the_page_says_how_to_start_the_server(shown):
    page = shown.open().page
    page.get_by_role("link", name="Teach").click()
    page.get_by_text("clinprompt serve --workspace").wait_for()
    page.get_by_role("link", name="Read").click()
    page.get_by_label("Text of the note").wait_for()
    assert all("404" in fault for fault in shown.faults)  # the browser's own report
    shown.faults.clear()
