"""What the page shows is what the server answered, and nothing leaves the server."""

import csv
import json

import pytest
from made_server import TOKEN, held, wait_until
from made_store import TASKS

from clinprompt.jobs.batch.tables import COLUMNS

pytestmark = pytest.mark.slow

NER, LINKS, LABEL, SUMMARY = TASKS
NOTE = "On warfarin; 😀😀 naproxen 250 mg twice a day for gout."
STATEMENT = "The patient smokes."


def answers(server, text, *tasks):
    body = {"tasks": list(tasks), "text": text, "fields": {"statement": STATEMENT}}
    return server.client.post("/v1/predict", json=body).json()["answers"]


def tasks(server):
    return server.client.get("/v1/tasks").json()


def rows(page, caption):
    """Return the cells of a table, without the mark of what the model is not sure of."""
    found = page.locator(f"table:has(caption:text-is('{caption}')) tbody tr").all()
    return [
        [cell.replace("? unsure", "").strip() for cell in row.locator("td").all_text_contents()]
        for row in found
    ]


def test_the_token_leaves_the_address_bar_and_stays_in_the_tab(shown):
    shown.open()
    assert shown.page.url == f"{shown.url}/workbench/"
    assert TOKEN not in "".join(shown.requested)
    shown.page.reload()
    shown.page.get_by_label("Text of the note").wait_for()
    assert shown.page.evaluate("localStorage.length") == 0
    assert shown.page.context.cookies() == []


def test_without_a_token_the_page_asks_for_it(shown):
    shown.open(token="")
    assert shown.page.get_by_label("Text of the note").is_hidden()
    shown.page.get_by_label("Token").fill(TOKEN)
    shown.page.keyboard.press("Enter")
    shown.page.get_by_label("Text of the note").wait_for()
    assert shown.page.get_by_label("Token").is_hidden()


def test_a_wrong_token_is_asked_for_again(shown):
    shown.open(token="")
    shown.page.get_by_label("Token").fill("not-the-token")
    shown.page.get_by_role("button", name="Continue").click()
    shown.page.get_by_text("The token is missing or wrong").wait_for()
    assert shown.page.evaluate("sessionStorage.length") == 0
    assert all("401" in fault for fault in shown.faults)  # the browser's own report
    shown.faults.clear()


def test_mentions_are_highlighted_where_the_server_found_them(server, shown):
    [answer] = answers(server, NOTE, NER)
    expected = [(one["start"], one["end"], one["text"]) for one in answer["entities"]]
    assert expected
    assert min(start for start, _, _ in expected) > NOTE.index("😀")  # two units, one character
    shown.open().run(NOTE, NER)
    marks = shown.page.locator("#annotated mark").all()
    found = [
        (int(one.get_attribute("data-start")), int(one.get_attribute("data-end")), one.inner_text())
        for one in marks
    ]
    assert found == expected
    assert all(NOTE[start:end] == text for start, end, text in found)
    probability = answer["entities"][0]["probability"]
    assert rows(shown.page, "Mentions")[0] == [expected[0][2], "drug", f"{probability:.2f}", NER]


def entity(start, end, kind, probability):
    values = {"start": start, "end": end, "type": kind, "text": NOTE[start:end]}
    return {**values, "probability": probability}


def test_overlapping_mentions_of_two_tasks_keep_a_line_and_a_name_each(shown):
    """The tiny model cannot be told what to find, so the answer is given by hand."""
    start = NOTE.index("naproxen")
    given = {
        "id": "x",
        "seconds": 1.0,
        "answers": [
            {"task": NER, "entities": [entity(start, start + 8, "drug", 0.9)], "ungrounded": []},
            {
                "task": "other",
                "entities": [entity(start, start + 15, "treatment", 0.2)],
                "ungrounded": [],
            },
        ],
    }
    shown.page.route("**/v1/predict", lambda route: route.fulfill(json=given))
    shown.open().run(NOTE, NER)
    marks = shown.page.locator("#annotated mark")
    assert marks.all_inner_texts() == ["naproxen", " 250 mg"]
    lines = [
        one.evaluate("it => it.style.backgroundPosition.split(', ').length") for one in marks.all()
    ]
    assert lines == [2, 1]
    assert shown.page.locator("#annotated .tag").all_inner_texts() == ["drug", "treatment ? 0.20"]
    text = shown.page.locator("#annotated").inner_text()
    assert text.replace("drug", "", 1).replace("treatment ? 0.20", "", 1) == NOTE
    assert shown.page.locator(".legend li").all_inner_texts() == [f"drug {NER}", "treatment other"]


def test_links_are_a_table_and_arcs(server, shown):
    [answer] = answers(server, NOTE, LINKS)
    links = answer["relations"]
    assert links
    shown.open().run(NOTE, LINKS)
    assert rows(shown.page, "Links") == [
        [one["type"], one["head"]["text"], one["tail"]["text"], f"{one['probability']:.2f}", LINKS]
        for one in links
    ]
    assert shown.page.locator("svg.arcs path.arc").count() == len(links)


def test_labels_have_their_probability_and_summaries_their_text(server, shown):
    label, summary = answers(server, NOTE, LABEL, SUMMARY)
    shown.open().choose(LABEL)
    shown.page.get_by_label("statement").fill(STATEMENT)
    shown.run(NOTE, SUMMARY)
    card = shown.page.locator(".card", has_text=LABEL).inner_text()
    [size] = [row["prompt"] for row in tasks(server) if row["name"] == LABEL]
    assert f"Prompt: 4 positions, {size['bytes'] / 1000:.0f} kB" in card
    assert label["label"] in card
    assert "probability > 0.99" in card
    assert label["probability"] > 0.99
    shown_text = shown.page.locator(".card .summary").text_content()
    assert shown_text.split() == summary["text"].split()


def test_a_task_that_lacks_a_field_is_named_and_the_others_are_answered(shown):
    shown.open().choose(LABEL)
    shown.run(NOTE, NER)
    assert f"{LABEL}: fill in statement" in shown.page.locator("#results").inner_text()
    assert shown.page.locator(".card").count() == 1


def files(*texts):
    lines = [json.dumps({"id": f"n{at}", "text": text}) for at, text in enumerate(texts, 1)]
    return {"name": "notes.jsonl", "mimeType": "", "buffer": "\n".join(lines).encode()}


def lowest(server, text):
    [answer] = answers(server, text, NER)
    return min([one["probability"] for one in answer["entities"]], default=2.0)


TEXTS = ("Aspirin.", "😀 Takes aspirin 81 mg.", NOTE, "😀 aspirin 5 mg", "x y")


def names(page):
    return page.locator("#notes .note-name").all_inner_texts()


def run_all(shown):
    page = shown.open().page
    page.locator("#files").set_input_files(
        [files(*TEXTS), {"name": "last.txt", "mimeType": "text/plain", "buffer": b"Takes iron."}]
    )
    shown.choose(NER)
    page.get_by_role("button", name="Run all").click()
    page.get_by_text("6 answered.", exact=True).wait_for()
    return page


def test_notes_of_files_are_run_and_sorted_by_the_lowest_probability(server, shown):
    page = run_all(shown)
    by_name = {f"n{at}": lowest(server, text) for at, text in enumerate(TEXTS, 1)}
    by_name["last.txt"] = lowest(server, "Takes iron.")
    assert names(page) == list(by_name)
    page.get_by_label("Order").select_option("unsure")
    assert names(page) == sorted(by_name, key=by_name.get)
    assert names(page) != list(by_name)


def test_stop_ends_a_run_and_frees_the_server(server, shown):
    page = shown.open().page
    page.locator("#files").set_input_files([files(*TEXTS)])
    shown.choose(NER)
    with held(server):
        page.get_by_role("button", name="Run all").click()
        wait_until(lambda: server.state.engine.num_rows == 4)  # so many at a time
        page.get_by_role("button", name="Stop").click()
        page.get_by_text("Stopped.", exact=True).wait_for()
        assert page.locator(".note-state").all_inner_texts() == ["not run"] * 5
    wait_until(lambda: server.state.engine.num_rows == 0)


def test_dropped_files_are_opened_and_a_bad_one_is_named(shown):
    page = shown.open().page
    page.evaluate(
        """() => {
            const dataTransfer = new DataTransfer();
            dataTransfer.items.add(new File(["Takes iron."], "one.txt"));
            dataTransfer.items.add(new File(["{"], "two.jsonl"));
            dataTransfer.items.add(new File([new Uint8Array([255])], "three.txt"));
            const options = { dataTransfer, bubbles: true, cancelable: true };
            document.body.dispatchEvent(new DragEvent("drop", options));
        }"""
    )
    page.get_by_text("1 note opened.", exact=True).wait_for()
    assert names(page) == ["one.txt"]
    assert page.get_by_label("Text of the note").input_value() == "Takes iron."
    errors = page.locator("#file-errors").inner_text()
    assert "two.jsonl, line 1 is not JSON" in errors
    assert "three.txt is not UTF-8 text" in errors


def test_a_changed_note_forgets_its_answers(shown):
    shown.open().run(NOTE, NER)
    shown.page.get_by_label("Text of the note").press_sequentially("x")
    assert shown.page.locator("#annotated").count() == 0
    assert shown.page.locator(".note-state").inner_text() == "not run"


def test_the_threshold_marks_answers_with_words(shown):
    shown.open().run(NOTE, NER)
    slider, tags = shown.page.get_by_label("Mark answers"), shown.page.locator("#annotated .tag")
    slider.fill("0")
    assert not [text for text in tags.all_inner_texts() if "?" in text]
    slider.fill("1")
    assert all("?" in text for text in tags.all_inner_texts())
    assert shown.page.locator(".note-state").inner_text().startswith("done, ? lowest")


def test_answers_are_taken_out_as_the_server_gave_them(server, shown, tmp_path):
    page = run_all(shown)
    for form in ("JSON Lines", "CSV"):
        with page.expect_download() as download:
            page.get_by_role("button", name=form).click()
        download.value.save_as(tmp_path / form)
    lines = [json.loads(line) for line in (tmp_path / "JSON Lines").read_text().splitlines()]
    assert [line["id"] for line in lines] == ["n1", "n2", "n3", "n4", "n5", "last"]
    assert lines[2]["answers"] == answers(server, NOTE, NER)
    with (tmp_path / "CSV").open(newline="") as stream:
        table = list(csv.DictReader(stream))
    assert list(table[0]) == list(COLUMNS)  # as `clinprompt predict` writes them
    [found] = [row for row in table if row["id"] == "n3"]
    [entity] = lines[2]["answers"][0]["entities"]
    assert (found["label"], found["text"]) == (entity["type"], entity["text"])
    assert (int(found["start"]), float(found["probability"])) == (
        entity["start"],
        entity["probability"],
    )


def test_a_note_is_run_by_keyboard_alone(shown):
    page = shown.open().page
    keys, reached = page.keyboard, set()

    def tab_to(selector):
        for _ in range(30):
            keys.press("Tab")
            if page.evaluate("it => document.activeElement.matches(it)", selector):
                assert page.evaluate(
                    "getComputedStyle(document.activeElement).outlineStyle !== 'none'"
                )
                reached.add(selector)
                return
        raise AssertionError(f"Tab does not reach {selector}")

    tab_to("#text")
    keys.type(NOTE)
    tab_to(f"input[value={NER}]")
    keys.press("Space")
    keys.press("Control+Enter")
    page.get_by_text("Answered.", exact=True).wait_for()
    assert page.locator("#annotated mark").count() > 0
    tab_to("#threshold")
    keys.press("End")
    tab_to("summary")
    keys.press("Enter")
    assert rows(page, "Mentions")


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (413, "too long. Split it"),
        (503, "starting or shutting down. Try again"),
        (504, "Choose fewer tasks"),
        (500, "failed on this note"),
    ],
)
def test_errors_say_what_to_do(shown, status, words):
    refused = {"error": {"message": "of the server", "code": "x", "type": "x", "param": None}}
    shown.page.route("**/v1/predict", lambda route: route.fulfill(status=status, json=refused))
    shown.open().choose(NER)
    shown.page.get_by_label("Text of the note").fill(NOTE)
    shown.page.keyboard.press("Control+Enter")
    error = shown.page.locator("#results .error")
    error.wait_for()
    assert words in error.inner_text()
    assert "of the server" in error.inner_text()
    shown.faults.clear()  # the browser reports the status


def test_text_that_looks_like_markup_is_shown_as_it_is(shown):
    note = "<img src=x onerror=alert(1)> takes <b>aspirin</b>"
    shown.open().run(note, NER)
    assert shown.page.locator("#annotated img, #annotated b").count() == 0
    shown.page.locator("#annotated .tag").evaluate_all("tags => tags.forEach(tag => tag.remove())")
    assert note in shown.page.locator("#annotated").inner_text()
