"""Each prompt is tested by the corrections made while it was served, where that is fair."""

import pytest
from made_workspace import drug_in, metaprompt_in, notes_of, teaching

from clinprompt.serving.teaching import choosing
from clinprompt.serving.teaching.corrections import Made, Offer
from clinprompt.serving.teaching.new_card import NewTask, card_text, parse_card
from clinprompt.serving.teaching.notes import NewNote, Note, Notes
from clinprompt.serving.teaching.scores import Evidence, honest_scores
from clinprompt.serving.teaching.task import Corrected
from clinprompt.tasks.records import LabelAnswer, Span, SpansAnswer


@pytest.fixture
def page(tmp_path, tiny_llama, tiny_llama_folder):
    metaprompt = metaprompt_in(tmp_path, tiny_llama_folder)
    with teaching(tiny_llama, tmp_path / "work", metaprompt) as found:
        found.make()
        yield found


@pytest.fixture
def notes(tmp_path):
    kept = Notes(tmp_path / "notes.jsonl")
    kept.add([NewNote("", {"text": f"note {number}"}) for number in range(200)])
    return list(kept)


def test_a_quarter_of_the_notes_is_kept_for_random_order(notes):
    kept = [note for note in notes if note.is_for_chance]
    assert 30 <= len(kept) <= 70  # 50 expected, standard deviation 6
    assert not any(note.is_for_chance for note in choosing.candidates(notes))
    assert choosing.candidates(kept) == sorted(kept, key=lambda one: one.rank)[:32]


def test_a_random_draw_counts_as_long_as_no_least_sure_note_was_taken_from_its_set(notes):
    taken = {choosing.set_of(notes[0])}
    drawn = choosing.at_random(notes, taken)
    assert drawn.counts
    assert choosing.set_of(drawn.note) not in taken
    rest = [note for note in notes if choosing.set_of(note) in taken]
    assert not choosing.at_random(rest, taken).counts


def test_the_least_sure_note_is_the_one_with_the_lowest_probability(notes):
    among = choosing.candidates(notes)
    sureness = {among[3].number: 0.9, among[7].number: 0.2, among[9].number: 0.4}
    chosen = choosing.least_sure(notes, sureness)
    assert (chosen.note, chosen.compared, chosen.counts) == (among[7], 3, False)
    first = choosing.least_sure(notes, {})
    assert (first.note, first.compared) == (among[0], 1)


def test_a_prompt_is_scored_by_what_it_had_said(page):
    page.post("/tasks/drugs/notes", {"notes": notes_of(12)})
    # As the prompt had said for three notes, something else for the next two.
    for number in range(5):
        offer = page.post("/tasks/drugs/offers", {"order": "random"})
        said = [{**one} for one in offer["suggestion"].get("entities", [])]
        answer = {"entities": said if number < 3 else drug_in(offer["note"])["entities"]}
        body = {"note": offer["note"]["note"], "answer": answer}
        page.post("/tasks/drugs/corrections", body)
    [row] = page.get("/tasks/drugs/scores")["prompts"]
    assert (row["version"], row["num"], row["is_served"]) == (0, 5, True)
    assert row["left_out"] == {"least_sure": 0, "taken_from": 0, "trained": 0}
    made = page.get("/tasks/drugs/corrections")["corrections"]
    assert row["num_right"] == sum(one["is_same"] for one in made)
    right, predicted, gold = 0, 0, 0
    for one in made:
        said = [places(span) for span in one["said"].get("entities", [])]
        true = [places(span) for span in one["answer"]["entities"]]
        right += len(set(said) & set(true))
        predicted += len(said) + len(one["said"].get("ungrounded", []))
        predicted += len(one["said"].get("unparseable", "").splitlines())
        gold += len(true)
    assert row["value"] == pytest.approx(2 * right / (predicted + gold))
    low, high = row["low"], row["high"]
    assert low == high is None or low <= row["value"] <= high


def places(span):
    return span["start"], span["end"], span["type"]


def evidence(kind, pairs, labels=(("a", ""), ("b", ""))):
    """Return what a prompt is scored by, from pairs of what it had said and what is right."""
    card = parse_card(card_text(NewTask("made", kind, labels)))
    rows = []
    for number, (said, answer) in enumerate(pairs, start=1):
        note = Note(number, f"n{number}", {"text": "Takes zinc."}, (), 1)
        offer = Offer(number, "random", True, "abc", 0, {}, 1, 0.0)
        rows.append(Corrected(note, Made(offer, {}, 1.0), answer, said))
    return Evidence(card, tuple(rows), (), (), "abc")


def test_notes_with_nothing_in_them_are_no_score():
    nothing, zinc = SpansAnswer(()), SpansAnswer((Span(6, 10, "a"),))
    [row] = honest_scores(evidence("ner", [(nothing, nothing)] * 6))["prompts"]
    assert (row["num"], row["value"], row["low"], row["high"]) == (6, None, None, None)
    [row] = honest_scores(evidence("ner", [(nothing, nothing)] * 5 + [(zinc, nothing)]))["prompts"]
    assert (row["num"], row["value"]) == (6, 0)  # what it has found is wrong


def test_a_few_notes_that_are_all_right_do_not_look_certain():
    right = LabelAnswer("a"), LabelAnswer("a")
    [row] = honest_scores(evidence("classification", [right] * 5))["prompts"]
    assert row["value"] == row["high"] == 1
    assert row["low"] == pytest.approx(0.5655, abs=1e-4)  # Wilson
    zinc = SpansAnswer((Span(6, 10, "a"),))
    for number in (4, 20):
        [row] = honest_scores(evidence("ner", [(zinc, zinc)] * number))["prompts"]
        assert (row["value"], row["low"], row["high"]) == (1, None, None)


def test_notes_that_were_offered_least_sure_first_are_left_out_and_counted(page):
    page.post("/tasks/drugs/notes", {"notes": notes_of(40)})
    page.correct(4, order="least_sure")
    page.correct(3, order="random")
    offer = page.post("/tasks/drugs/offers", {"order": "random"})
    page.post("/tasks/drugs/skips", {"note": offer["note"]["note"]})
    [row] = page.get("/tasks/drugs/scores")["prompts"]
    assert row["num"] == 3
    assert row["left_out"] == {"least_sure": 4, "taken_from": 0, "trained": 0}
    assert row["skipped"] == 1


def test_a_least_sure_note_that_was_only_offered_is_not_taken(page):
    page.post("/tasks/drugs/notes", {"notes": notes_of(12)})
    page.post("/tasks/drugs/offers", {"order": "least_sure"})
    page.correct(12, order="random")
    [row] = page.get("/tasks/drugs/scores")["prompts"]
    assert row["num"] == 12
    assert row["left_out"] == {"least_sure": 0, "taken_from": 0, "trained": 0}


def test_random_draws_from_what_the_least_sure_left_are_left_out(page):
    page.post("/tasks/drugs/notes", {"notes": notes_of(20)})
    page.correct(19, order="least_sure")  # the notes kept for random order come last
    [made] = page.correct(1, order="random")
    assert made["notes"]["waiting"] == 0
    [row] = page.get("/tasks/drugs/scores")["prompts"]
    assert row["num"] == 0
    assert row["value"] is None
    assert row["left_out"] == {"least_sure": 19, "taken_from": 1, "trained": 0}
    assert page.post("/tasks/drugs/offers", {}) == {"note": None, "waiting": 0}


@pytest.mark.slow
def test_a_note_that_a_prompt_was_trained_on_does_not_count_for_it(page, monkeypatch, tmp_path):
    monkeypatch.setenv("CLINPROMPT_CACHE", str(tmp_path / "cache"))
    page.post("/tasks/drugs/notes", {"notes": notes_of(6)})
    page.correct(3)
    run = page.adapt()
    page.post("/tasks/drugs/prompt", {"version": run["run"]})
    page.post("/tasks/drugs/undo", {})
    while page.get("/tasks/drugs")["notes"]["waiting"]:
        page.correct(1)
    both = page.compared(run)
    assert (both["trained"]["num"], both["not_trained"]["num"]) == (3, 3)
    assert (both["old"]["version"], both["new"]["version"]) == (0, 1)
    first, second = page.get("/tasks/drugs/scores")["prompts"]
    assert (first["version"], first["num"]) == (0, 2)
    assert (second["version"], second["corrections"]) == (1, 3)
    # Four notes were offered while it was served; one of them had been in its training.
    assert (second["num"], second["left_out"]["trained"]) == (3, 1)
