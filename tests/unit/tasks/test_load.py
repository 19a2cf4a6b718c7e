"""A task loads whole and checked: files, checksums, labels, ids and splits."""

import hashlib

import pytest
from made_cards import CARD_TEXT

from clinprompt.errors import DataError, SettingError
from clinprompt.tasks.card import find_card
from clinprompt.tasks.card_parts import Resplit
from clinprompt.tasks.load import load_task, move_groups, without_ignored
from clinprompt.tasks.records import (
    LabelAnswer,
    Record,
    Relation,
    RelationsAnswer,
    Span,
    SpansAnswer,
    TextAnswer,
)


def load(folder, rows="n,t,l\n1,a,1\n2,b,0\n", card=CARD_TEXT, **options):
    (folder / "card.toml").write_text(card)
    (folder / "a.csv").write_text(rows)
    return load_task(find_card(str(folder)), None, **options)


def with_setting(line):
    return CARD_TEXT.replace("files =", f"{line}\nfiles =")


def test_user_folder_loads_without_a_mirror(tmp_path):
    data = load(tmp_path)
    assert [record.answer for record in data.splits["train"]] == [
        LabelAnswer("1"),
        LabelAnswer("0"),
    ]
    assert data.splits["validation"] == data.splits["test"] == ()


def test_files_of_one_name_in_several_folders_give_different_ids(tmp_path):
    card = CARD_TEXT.replace('id = "n", ', "").replace(
        'train = ["a.csv"]', 'train = ["a.csv", "x/b.csv"], test = ["y/b.csv"]'
    )
    for name in ("x", "y"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "b.csv").write_text(f"n,t,l\n1,{name},1\n")
    splits = load(tmp_path, card=card).splits
    assert [one.id for one in splits["train"]] == ["a:2", "a:3", "x/b.csv:2"]
    assert [one.id for one in splits["test"]] == ["y/b.csv:2"]


def test_a_file_that_is_named_twice_is_refused(tmp_path):
    card = CARD_TEXT.replace('["a.csv"]', '["a.csv"], test = ["a.csv"]')
    with pytest.raises(DataError, match=r"card.files names .*a.csv twice; name it once"):
        load(tmp_path, card=card)


def test_practice_task_loads_without_files():
    data = load_task(find_card("practice-ner-drugs"), None)
    assert all(data.splits.values())


def test_catalog_task_without_mirror_says_how_to_set_one(tmp_path):
    with pytest.raises(SettingError, match=r"--mirror DIR or CLINPROMPT_MIRROR"):
        load_task(find_card("nli-mqp"), None)
    with pytest.raises(DataError, match=r"nli-mqp: no such folder.*--mirror DIR"):
        load_task(find_card("nli-mqp"), tmp_path)
    (tmp_path / "nli-mqp").mkdir()
    with pytest.raises(DataError, match=r"mqp\.csv: no such file.*--mirror DIR"):
        load_task(find_card("nli-mqp"), tmp_path)


def test_checksums_are_verified_unless_asked_not_to(tmp_path):
    right = hashlib.sha256(b"n,t,l\n1,a,1\n").hexdigest()
    rows = "n,t,l\n1,a,1\n"
    load(tmp_path, rows, with_setting(f'checksums = {{ "a.csv" = "{right}" }}'))
    wrong = with_setting('checksums = { "a.csv" = "00" }')
    with pytest.raises(DataError, match=rf"a\.csv: sha256 is {right}, but the card has 00; fetch"):
        load(tmp_path, rows, wrong)
    load(tmp_path, rows, wrong, verify_checksums=False)


def test_label_that_is_not_on_the_card_is_named_with_the_known_ones(tmp_path):
    with pytest.raises(DataError, match=r"record 2: label 'no' is not in the card; known: 0, 1"):
        load(tmp_path, "n,t,l\n1,a,1\n2,b,no\n")


def test_a_label_that_is_not_on_the_card_gets_two_remedies_and_can_be_ignored(tmp_path):
    rows = "n,t,l\n1,a,1\n2,b,no\n3,c,0\n"
    words = r"give it a word in \[labels\], or leave it out: ignore = \[\"no\"\] at the beginning"
    with pytest.raises(DataError, match=words):
        load(tmp_path, rows)
    card = CARD_TEXT.replace('title = "Mine"', 'title = "Mine"\nignore = "no"')
    data = load(tmp_path, rows, card)
    assert [record.id for record in data.splits["train"]] == ["1", "3"]
    assert data.card.ignore == ("no",)


def test_mentions_and_links_with_ignored_labels_are_left_out():
    drug, dose = Span(0, 1, "DRUG"), Span(2, 3, "DOSE")
    links = (Relation("of", dose, drug), Relation("to", drug, dose))
    card = find_card("practice-ner-drugs").model_copy(update={"ignore": ("DOSE", "to")})
    answers = (SpansAnswer((drug, dose)), RelationsAnswer(links), TextAnswer("to"))
    records = [Record(str(n), {"text": "a b"}, answer) for n, answer in enumerate(answers)]
    kept = [record.answer for record in without_ignored(card, records)]
    assert kept == [SpansAnswer((drug,)), RelationsAnswer(links[:1]), TextAnswer("to")]


def test_letter_beyond_the_options_is_refused(tmp_path):
    card = CARD_TEXT.replace('"nli"', '"qa"').replace('"label"', '"choice"')
    card = card.replace('labels = { 1 = "yes", 0 = "no" }\n', "")
    card = card.replace('label = "l"', 'label = "l", options = ["t", "n"]')
    assert load(tmp_path, "n,t,l\n1,a,B\n", card).splits["train"][0].options == ("a", "1")
    with pytest.raises(DataError, match="label 'C' is not in the card; known: A, B"):
        load(tmp_path, "n,t,l\n1,a,C\n", card)


def test_answer_of_another_kind_is_refused(tmp_path):
    with pytest.raises(DataError, match="reader gives a TextAnswer, but the card has answer"):
        load(tmp_path, card=CARD_TEXT.replace('label = "l"', 'text = "l"'))


def test_repeated_ids_are_refused(tmp_path):
    with pytest.raises(DataError, match="1 record id is not unique"):
        load(tmp_path, "n,t,l\n1,a,1\n1,b,0\n")


def test_empty_split_is_refused(tmp_path):
    with pytest.raises(DataError, match="mine: split train is empty"):
        load(tmp_path, "n,t,l\n")
    with pytest.raises(DataError, match="mine: split test is empty"):
        load(tmp_path, card=with_setting("resplit = { test = 0.000001 }"))


def test_a_split_may_have_a_different_reader(tmp_path):
    (tmp_path / "b.csv").write_text("3;c;1\n")
    shape = '{ id = "0", fields = { text = "1" }, label = "2" }'
    own = f'{{ name = "table", header = false, delimiter = "semicolon", row = {shape} }}'
    card = with_setting(f"readers.test = {own}").replace('["a.csv"]', '["a.csv"], test = ["b.csv"]')
    assert load(tmp_path, card=card).splits["test"][0].text == "c"


def records(num_groups, group_size):
    return tuple(
        Record(f"{group}-{row}", {"text": f"{group} {row}"}, group=f"group {group}")
        for group in range(num_groups)
        for row in range(group_size)
    )


def test_resplit_keeps_groups_whole_and_is_deterministic():
    splits = {"train": records(1000, 3), "validation": (), "test": ()}
    resplit = Resplit(validation=0.1, test=0.2)
    moved = move_groups(splits, resplit)
    groups = {split: {record.group for record in rows} for split, rows in moved.items()}
    assert sum(len(found) for found in groups.values()) == 1000
    assert all(len(rows) == 3 * len(groups[split]) for split, rows in moved.items())
    # binomial, 1000 draws: standard deviations of 9.5 and 12.6 groups
    assert abs(len(groups["validation"]) - 100) < 40
    assert abs(len(groups["test"]) - 200) < 52
    assert move_groups(splits, resplit) == moved
    assert move_groups(splits, Resplit(validation=0.1, test=0.2, seed=1)) != moved


def test_resplit_does_not_depend_on_the_other_rows():
    resplit = Resplit(test=0.5)
    splits = {"train": records(50, 1), "validation": (), "test": ()}
    fewer = {**splits, "train": splits["train"][:20]}
    moved = move_groups(splits, resplit)["test"]
    expected = tuple(record for record in moved if record in fewer["train"])
    assert move_groups(fewer, resplit)["test"] == expected
    assert expected


def test_rows_of_the_same_text_stay_together_without_a_group():
    rows = tuple(Record(str(n), {"text": f"same {n // 2}"}) for n in range(200))
    moved = move_groups({"train": rows, "validation": (), "test": ()}, Resplit(test=0.5))
    texts = {split: {record.text for record in found} for split, found in moved.items()}
    assert not texts["train"] & texts["test"]
    assert texts["test"]


def test_a_label_that_looks_like_a_note_is_not_shown(tmp_path):
    """If a label column is set to the text by mistake, no error may show the text."""
    with pytest.raises(DataError) as caught:
        load(tmp_path, "n,t,l\n1,a,Seen today with chest pain and fever\n")
    assert "chest" not in str(caught.value)
    assert "a label of 36 characters" in str(caught.value)
