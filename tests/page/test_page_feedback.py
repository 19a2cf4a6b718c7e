"""The page says what happened, what is wrong and where, and what to do next."""

import pytest
from made_workspace import notes_of

pytestmark = pytest.mark.slow

YES_OR_NO = ({"name": "yes"}, {"name": "no"})
SMOKES = {"text": "Smokes a pack a day.", "fields": {"statement": "The patient smokes."}}
RUN = {"run": 1, "state": "running", "phase": "training", "step": 7, "of": 20, "seconds": 31.2}
RUN |= {"seconds_left": 130.0, "corrections": 2, "rows": 2, "left_out": 0, "message": ""}


def given(workspace, number=3, **more):
    """Make a task with notes."""
    workspace.make(**more)
    workspace.post("/tasks/drugs/notes", {"notes": notes_of(number)})


def opened(shown, task="drugs"):
    """Open a task of which a note waits."""
    page = shown.teach(task)
    page.locator(".note-editor[aria-busy=false]").wait_for()
    return page


def answering(values):
    return lambda route: route.fulfill(json=values)


def head(page, words):
    page.locator(".task-head", has_text=words).wait_for()


def has_focus(locator):
    return locator.evaluate("it => it === document.activeElement")


def described(page, locator):
    """Return the texts that describe an input, in order."""
    ids = locator.get_attribute("aria-describedby").split()
    return [page.locator(f"#{one}").text_content() for one in ids]


def test_counts_are_renewed_by_each_action(workspace, teacher):
    given(workspace)
    page = opened(teacher)
    head(page, "0 notes corrected, 3 to correct")
    page.get_by_text("Add notes", exact=True).click()
    page.get_by_label("Text of one note").fill("Takes a statin.")
    page.get_by_role("button", name="Add this note").click()
    head(page, "0 notes corrected, 4 to correct")
    page.locator(".about-note", has_text="4 to go").wait_for()

    waiting = []

    def keep(route):
        waiting.append(route)  # the next note does not come yet

    page.route("**/offers", keep)
    page.get_by_role("button", name="Accept and next").click()
    head(page, "1 note corrected, 3 to correct")
    waiting[0].continue_()
    page.unroute("**/offers")
    page.locator(".about-note", has_text="3 to go").wait_for()
    page.locator(".note-editor[aria-busy=false]").wait_for()
    page.get_by_role("button", name="Skip S").click()
    head(page, "1 note corrected, 2 to correct, 1 skipped")
    page.locator(".about-note", has_text="2 to go").wait_for()
    page.locator(".note-editor[aria-busy=false]").wait_for()
    page.get_by_role("button", name="Undo Z").click()
    head(page, "1 note corrected, 3 to correct ·")
    page.locator(".about-note", has_text="3 to go").wait_for()
    assert workspace.get("/tasks/drugs")["notes"] == {"waiting": 3, "corrected": 1, "skipped": 0}


def states(page):
    return page.locator(".note-rows .note-state")


def test_the_list_of_notes_says_what_was_given(workspace, teacher):
    given(workspace, 4)
    workspace.correct(1)
    workspace.correct(1, answer=lambda _: {"entities": []})
    offer = workspace.post("/tasks/drugs/offers", {"order": "random"})
    workspace.post("/tasks/drugs/skips", {"note": offer["note"]["note"]})
    page = opened(teacher)
    page.get_by_text("Notes: 2 corrected").click()
    states(page).first.wait_for()
    expected = ["corrected: 1 mention", "corrected: no mentions", "skipped", "waiting"]
    assert sorted(states(page).all_inner_texts()) == expected


def test_the_list_of_notes_says_which_label_was_given(workspace, teacher):
    workspace.make("smoking", "nli", labels=YES_OR_NO)
    notes = [{**SMOKES, "id": str(number), "text": f"Note {number}."} for number in range(2)]
    workspace.post("/tasks/smoking/notes", {"notes": notes})
    page = opened(teacher, "smoking")
    page.get_by_text("Notes: 0 corrected").click()
    states(page).first.wait_for()
    page.locator(".editable").press("2")
    page.keyboard.press("Enter")
    page.get_by_text("corrected: no", exact=True).wait_for()


def test_reading_says_the_title_and_whether_a_prompt_is_trained(workspace, teacher):
    workspace.make(title="Drugs in notes")
    workspace.make("others")
    page = teacher.open().page
    page.get_by_role("link", name="Read").click()
    drugs = page.get_by_label("drugs", exact=True)
    assert described(page, drugs) == ["Drugs in notes · untrained prompt (zero-shot)"]
    others = page.get_by_label("others", exact=True)
    assert described(page, others) == ["untrained prompt (zero-shot)"]
    teacher.run(notes_of(1)[0]["text"], "drugs")
    card = page.locator(".card", has=page.get_by_role("heading", name="drugs", exact=True))
    assert "Drugs in notes" in card.inner_text()
    assert "it has seen no example of this task" in card.inner_text()
    tasks = [{**one, "is_trained": True} for one in workspace.client.get("/v1/tasks").json()]
    page.route("**/v1/tasks", answering(tasks))
    page.reload()
    drugs.wait_for()
    assert described(page, drugs) == ["Drugs in notes"]
    assert others.get_attribute("aria-describedby") is None


def test_wrong_fields_of_a_new_task_are_explained_where_they_are(workspace, teacher):
    page = teacher.open().page
    page.goto(f"{teacher.url}/workbench/#teach/")
    name, label = page.get_by_label("Name", exact=True), page.get_by_label("Label 1", exact=True)
    name.wait_for()
    assert "no spaces" in described(page, name)[0]
    page.get_by_role("button", name="Make the task").click()
    page.get_by_text("Write a name.", exact=True).wait_for()
    assert described(page, name)[-1] == "Write a name."
    assert described(page, label)[-1] == "Write the name of a label."
    assert page.locator("[aria-invalid=true]").count() == 2
    assert has_focus(name)

    label.fill("DRUG")
    name.fill("my drugs")
    page.get_by_role("button", name="Make the task").click()
    page.locator("#new-name-error", has_text="letters (A to Z), digits").wait_for()
    assert "no spaces" in described(page, name)[-1]
    assert described(page, label)[-1] == ""
    assert name.get_attribute("aria-invalid") == "true"
    assert has_focus(name)
    below, above = page.locator("#new-name-error").bounding_box(), name.bounding_box()
    assert 0 < below["y"] - above["y"] < 150  # at the field, not at the end of the form
    assert workspace.get("")["tasks"] == []
    teacher.faults.clear()  # the browser reports the status


def test_the_form_says_what_each_note_needs_if_it_needs_more_than_a_text(workspace, teacher):
    page = teacher.open().page
    page.goto(f"{teacher.url}/workbench/#teach/")
    hint = page.locator("#new-kind-hint")
    hint.wait_for(state="attached")
    assert hint.text_content() == ""
    page.get_by_label("What the model answers").select_option("nli")
    words = "For each note you give its text and a statement about it"
    assert hint.inner_text().startswith(words)
    page.get_by_label("What the model answers").select_option("qa")
    assert (
        hint.inner_text() == "For each note you give a question and the text that has the answer."
    )


def test_what_was_added_is_said_once_until_the_next_file(workspace, teacher):
    given(workspace)
    page = opened(teacher)
    page.get_by_text("Add notes", exact=True).click()
    page.get_by_label("Text of one note").fill("Takes a statin.")
    page.get_by_role("button", name="Add this note").click()
    added = page.get_by_text("1 note added.", exact=True)
    added.first.wait_for()
    assert added.count() == 1
    table = {"name": "n.csv", "mimeType": "text/csv", "buffer": b"id,text\n1,x\n"}
    page.locator("#add-files").set_input_files([table])
    page.get_by_text("n.csv is neither").wait_for()
    assert added.count() == 0
    text = {"name": "n.txt", "mimeType": "text/plain", "buffer": b"Takes a sedative."}
    page.locator("#add-files").set_input_files([text])
    added.first.wait_for()
    assert added.count() == 1
    assert page.get_by_text("n.csv is neither").count() == 0
    page.get_by_text("Add notes", exact=True).click()  # closed, as the file was added
    page.locator("#add-files").set_input_files([table])
    page.get_by_text("n.csv is neither").wait_for()
    assert added.count() == 0


def test_a_score_has_an_interval_only_from_enough_notes(workspace, teacher):
    given(workspace)
    row = {"version": 0, "prompt": "x", "corrections": 0, "is_served": True, "skipped": 0}
    row |= {"left_out": {"least_sure": 0, "taken_from": 0, "trained": 0}}
    shown = {
        "1 of 4 right": {"num": 4, "num_right": 1, "value": 0.4, "low": 0.1, "high": 0.7},
        "F1 0.40 (0.10 to 0.70) on 5 notes": {
            "num": 5,
            "num_right": 1,
            "value": 0.4,
            "low": 0.1,
            "high": 0.7,
        },
        "F1 1.00 (no interval: these notes are all scored alike) on 6 notes": {
            "num": 6,
            "num_right": 6,
            "value": 1.0,
            "low": None,
            "high": None,
        },
        "F1 0.00 (nothing right was found, so there is no interval) on 6 notes": {
            "num": 6,
            "num_right": 2,
            "value": 0.0,
            "low": None,
            "high": None,
        },
        "No score: there is nothing to find in these 7 notes": {
            "num": 7,
            "num_right": 7,
            "value": None,
            "low": None,
            "high": None,
        },
    }
    for words, values in shown.items():
        scores = {"metric": "entity_f1", "scorer": "x", "too_few": 10, "note": "x"}
        page = teacher.page
        page.route("**/scores", answering({**scores, "prompts": [{**row, **values}]}))
        opened(teacher)
        page.locator(".score-rows", has_text=words).wait_for()
        has_interval = "to 0.70" in words
        assert page.locator(".score-rows .interval").count() == int(has_interval)
        assert ("(0.10 to" in page.locator(".score-rows").inner_text()) is has_interval


def test_the_comparison_counts_right_answers_of_few_notes(workspace, teacher):
    given(workspace)
    workspace.correct(3)
    found = workspace.compared(workspace.adapt())
    page = teacher.teach("drugs")
    page.get_by_role("button", name="Compare old and new").click()
    table = page.get_by_role("table", name="Scores on corrections")
    table.wait_for()
    right = [sum(one[name] for one in found["notes"]) for name in ("old_is_same", "new_is_same")]
    cells = table.locator("tbody td").all_inner_texts()
    assert cells[1:] == [f"{number} of 3 right" for number in right]
    answers = page.get_by_role("table", name="Answers").locator("tbody td").all_inner_texts()
    verdicts = [words for at, words in enumerate(answers) if at % 4 > 1]
    assert all(words == "✓ right" or words.startswith("✗ wrong: ") for words in verdicts)
    assert verdicts.count("✓ right") == sum(right)


def test_the_list_of_tasks_shows_an_adaptation_and_what_came_of_it(workspace, teacher):
    given(workspace)
    workspace.correct(2)
    run = workspace.adapt()
    assert run["state"] == "done"
    values = workspace.get("")
    values["tasks"][0]["run"] = RUN
    answers = iter([RUN | {"step": 8}, RUN | {"step": 8}])
    page = teacher.page
    page.route("**/v1/workspace", answering(values))
    page.route("**/runs/1", lambda route: route.fulfill(json=next(answers, run)))
    teacher.open()
    page.goto(f"{teacher.url}/workbench/#teach")
    page.get_by_text("step 7 of 20, about 2 minutes left").wait_for()
    page.get_by_text("step 8 of 20").wait_for()
    bar = page.get_by_role("progressbar", name="Adaptation of drugs")
    assert bar.evaluate("it => it.position") == pytest.approx(0.4)
    page.get_by_text("A new prompt waits. Open the task to compare it").wait_for()
    assert bar.is_hidden()
    workspace.post("/tasks/drugs/prompt", {"version": 1})
    page.unroute("**/v1/workspace")
    page.reload()
    page.get_by_text("served, trained on 2 corrections").wait_for()
    assert page.get_by_text("A new prompt waits").count() == 0


def test_an_adaptation_goes_on_only_after_it_has_stopped(workspace, teacher):
    given(workspace)
    workspace.correct(2)
    page, waiting = teacher.page, []
    stopped = RUN | {"state": "stopped"}
    page.route("**/runs", answering(RUN))
    page.route("**/runs/1", answering(stopped))  # before its process has ended

    def keep(route):
        waiting.append(route)

    page.route("**/runs/1/stop", keep)
    page = opened(teacher)
    page.get_by_role("button", name="Adapt").click()
    with page.expect_response("**/runs/1"):
        page.get_by_role("button", name="Stop").click()
    page.get_by_text("Stopping …").wait_for()
    page.wait_for_timeout(200)  # the page has read the response
    assert page.get_by_role("button", name="Stop").is_disabled()
    assert page.get_by_role("button", name="Adapt").is_disabled()
    waiting[0].fulfill(json=stopped)
    page.get_by_text("Stopped at step 7 of 20.").wait_for()
    again = page.get_by_role("button", name="Continue to adapt")
    assert again.is_enabled()
    assert has_focus(again)


def test_an_empty_test_offers_the_order_that_fills_it(workspace, teacher):
    given(workspace, 12)
    page = opened(teacher)
    page.get_by_text("Only notes in random order fill this test").wait_for()
    page.get_by_role("button", name="Switch to random order").click()
    page.locator(".about-note", has_text="drawn at random · counts for the test").wait_for()
    assert page.get_by_label("Order of notes").input_value() == "random"
    page.get_by_text("Each note in random order that you correct fills it.").wait_for()
    assert page.get_by_role("button", name="Switch to random order").count() == 0
    page.locator(".note-editor[aria-busy=false]").wait_for()
    assert has_focus(page.locator(".editable"))
    page.get_by_label("Order of notes").select_option("least_sure")
    page.get_by_role("button", name="Switch to random order").wait_for()


def test_keys_reach_the_note_after_files_were_opened(workspace, teacher):
    workspace.make()
    page = teacher.teach("drugs")
    page.get_by_label("Text of one note").fill("Takes a statin.")
    page.get_by_role("button", name="Add this note").click()
    page.locator(".note-editor[aria-busy=false]").wait_for()
    text = {"name": "n.txt", "mimeType": "text/plain", "buffer": b"Takes a sedative."}
    page.locator("#add-files").set_input_files([text])
    page.locator(".note-editor", has_text="1 note added.").wait_for()
    assert has_focus(page.locator(".editable"))
    page.keyboard.press("ArrowRight")
    assert page.locator(".editable .cursor").inner_text() == "a"


def test_keys_reach_the_note_after_a_prompt_is_used(workspace, teacher):
    given(workspace)
    workspace.correct(2)
    assert workspace.adapt()["state"] == "done"
    page = opened(teacher)
    page.get_by_role("button", name="Use the new prompt").click()
    page.get_by_text("The new prompt is used.", exact=True).wait_for()
    page.locator(".note-editor[aria-busy=false]").wait_for()
    page.locator(".editable:focus").wait_for()


def test_another_adaptation_is_waited_for_without_a_reload(workspace, teacher):
    given(workspace)
    workspace.correct(1)
    values = workspace.get("")
    busy = {**values, "adapting": {"task": "others", "run": 1}}
    page = teacher.page
    page.route("**/v1/workspace", answering(busy))
    opened(teacher)
    reason = page.get_by_text("Not now: others is being adapted.")
    reason.wait_for()
    assert "load" not in reason.inner_text()
    adapt = page.get_by_role("button", name="Adapt", exact=True)
    with page.expect_response("**/v1/workspace"):  # it asks again
        assert adapt.is_disabled()
    assert reason.is_visible()
    page.unroute("**/v1/workspace")
    reason.wait_for(state="hidden")
    assert adapt.is_enabled()
    asked = teacher.requested.count(f"{teacher.url}/v1/workspace")
    assert asked > 2
    page.wait_for_timeout(1500)
    assert teacher.requested.count(f"{teacher.url}/v1/workspace") == asked


def test_reading_without_a_task_says_where_to_make_one(workspace, teacher):
    page = teacher.open().page
    page.get_by_role("link", name="Read").click()
    page.get_by_label("Text of the note").fill("Takes a statin.")
    page.get_by_role("button", name="Run Ctrl").click()
    page.get_by_text("No task yet: make one under Teach.").wait_for()
    page.get_by_role("button", name="Run Ctrl").click()
    page.get_by_text("The note was not answered.").wait_for()
    assert page.get_by_role("button", name="CSV").is_disabled()
    assert page.get_by_role("button", name="JSON Lines").is_disabled()
    workspace.make()
    workspace.make("others")
    page.reload()
    page.get_by_label("drugs", exact=True).wait_for()
    page.get_by_label("Text of the note").fill("Takes a statin.")
    page.get_by_role("button", name="Run Ctrl").click()
    page.get_by_text("Choose at least one task.").wait_for()
    assert page.get_by_role("button", name="CSV").is_disabled()


def test_more_corrections_than_advised_are_counted(workspace, teacher):
    given(workspace)
    values = workspace.get("")
    page = teacher.page
    for number, words in {16: "16 of 16 corrections", 25: "25 corrections (16 advised)"}.items():
        values["tasks"][0]["notes"]["corrected"] = number
        page.route("**/v1/workspace", answering(values))
        opened(teacher)
        page.locator(".progress-line", has_text=words).wait_for()
        page.get_by_role("link", name="All tasks").click()
        page.locator(".cards", has_text=words).wait_for()


def test_old_and_new_prompt_are_told_apart(workspace, teacher):
    given(workspace)
    workspace.correct(2)
    assert workspace.adapt()["state"] == "done"
    workspace.post("/tasks/drugs/prompt", {"version": 1})
    workspace.correct(1)
    page = teacher.teach("drugs")
    page.get_by_role("button", name="Undo: use the prompt without training").wait_for()
    assert workspace.adapt()["state"] == "done"
    page.reload()
    page.get_by_role("button", name="Compare old and new").click()
    table = page.get_by_role("table", name="Scores on corrections")
    table.wait_for()
    words = "3 that the new prompt was trained on (the old prompt was trained on 2 of them)"
    assert table.locator("tbody td").first.inner_text() == words
    page.get_by_role("button", name="Use the new prompt").click()
    page.get_by_role("button", name="Undo: use the prompt trained on 2 corrections").click()
    page.get_by_text("The prompt before is used again.").wait_for()
    assert workspace.get("/tasks/drugs")["served"]["version"] == 1


def test_each_order_of_notes_says_what_it_is_for(workspace, teacher):
    given(workspace)
    page = opened(teacher)
    [words] = described(page, page.get_by_label("Order of notes"))
    assert words.startswith("Least sure first is for teaching")
    assert "random order is for the test on unseen notes" in words
