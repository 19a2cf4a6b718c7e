"""Encoding cuts the right part, and a batch is padded on the right."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny import byte_tokenizer

from clinprompt.batches.encode import IGNORED, Encoder, Row, collate
from clinprompt.batches.input_form import InputForm, chat_of
from clinprompt.errors import SettingError
from clinprompt.tasks.records import Example, Record

TOKENIZER = byte_tokenizer()
END = TOKENIZER.eos_token_id


def example_of(before="Text: ", body="abcdefghij", after="\nAnswer:", target="yes"):
    return Example("mine", Record("1", {"text": body}), (before, body, after), target)


def encode(example, *, limit=1000, target_limit=100, chat=False):
    form = InputForm(chat=chat_of(TOKENIZER) if chat else None)
    return Encoder(TOKENIZER, limit, target_limit, form=form).encode(example, task=3)


def words_of(ids):
    return TOKENIZER.decode(list(ids))


def test_an_encoded_example_is_input_then_target_then_end_token():
    row = encode(example_of())
    assert words_of(row.input_ids) == "Text: abcdefghij\nAnswer:"
    assert words_of(row.target_ids) == " yes<|im_end|>"
    assert (row.task, row.input_was_cut, row.target_was_cut) == (3, False, False)


def test_the_middle_of_the_body_is_cut_and_nothing_else():
    row = encode(example_of(), limit=6 + 4 + 8)
    assert row.input_was_cut
    assert words_of(row.input_ids) == "Text: abij\nAnswer:"


def test_an_input_exactly_at_the_limit_is_not_cut():
    row = encode(example_of(), limit=6 + 10 + 8)
    assert not row.input_was_cut
    assert len(row.input_ids) == 24


def test_the_whole_text_can_be_cut_but_never_the_wording():
    assert words_of(encode(example_of(), limit=14).input_ids) == "Text: \nAnswer:"
    assert words_of(encode(example_of(), limit=3).input_ids) == "Text: \nAnswer:"


def test_an_input_of_which_nothing_can_be_cut_is_not_cut():
    row = encode(example_of(body=""), limit=10)
    assert words_of(row.input_ids) == "Text: \nAnswer:"
    assert not row.input_was_cut


def test_wording_longer_than_the_context_is_refused():
    """Wording has 14 tokens; with room for 10 answer tokens that is over a context of 23."""
    encoder = Encoder(TOKENIZER, 5, 10, context=23)
    with pytest.raises(SettingError, match=r"mine.* 14 tokens"):
        encoder.encode(example_of())
    assert len(Encoder(TOKENIZER, 5, 10, context=24).encode(example_of()).input_ids) == 14


def test_an_uncut_input_without_space_for_its_answer_is_refused():
    encoder = Encoder(TOKENIZER, 100, 10, context=33)
    with pytest.raises(SettingError, match=r"24 tokens.*max_input_tokens"):
        encoder.encode(example_of())
    own = Encoder(TOKENIZER, 100, 10, context=33, target_limits={"mine": 9})
    assert len(own.encode(example_of()).input_ids) == 24


def test_a_task_can_have_its_own_answer_length():
    encoder = Encoder(TOKENIZER, 100, 3, target_limits={"mine": 5})
    assert words_of(encoder.encode(example_of()).target_ids) == " yes<|im_end|>"
    other = Encoder(TOKENIZER, 100, 3, target_limits={"other": 5}).encode(example_of())
    assert other.target_was_cut
    assert len(other.target_ids) == 3


def test_the_longest_field_is_cut_first():
    pieces = ("1: ", "abcdefgh", "\n2: ", "xyz", "\nSame?")
    example = Example("mine", Record("1", {"text": ""}), pieces, "yes")
    cut = {limit: words_of(encode(example, limit=limit).input_ids) for limit in (24, 20, 17)}
    assert cut[24] == example.input
    assert cut[20] == "1: abgh\n2: xyz\nSame?"
    assert cut[17] == "1: ah\n2: xz\nSame?"


@given(
    before=st.text(max_size=8),
    body=st.text(max_size=30),
    after=st.text(max_size=8),
    limit=st.integers(1, 80),
)
def test_a_cut_keeps_wording_and_limit_for_any_text(before, body, after, limit):
    whole = (before + body + after).encode()
    example = example_of(before, body, after)
    wording = len(before.encode()) + len(after.encode())
    ids = encode(example, limit=limit).input_ids
    assert len(ids) == max(wording, min(limit, len(whole)))
    full = encode(example).input_ids
    head, tail = len(before.encode()), len(after.encode())
    assert ids[:head] == full[:head]
    assert ids[len(ids) - tail :] == full[len(full) - tail :]


def test_a_long_target_is_cut_at_its_end():
    row = encode(example_of(target="abcdef"), target_limit=4)
    assert row.target_was_cut
    assert words_of(row.target_ids) == " abc"


def test_a_target_exactly_at_the_limit_keeps_its_end_token():
    row = encode(example_of(target="abc"), target_limit=5)
    assert not row.target_was_cut
    assert row.target_ids[-1] == END


def test_a_note_without_an_answer_has_no_target():
    assert encode(example_of(target=None)).target_ids == ()


def test_a_chat_template_surrounds_the_input_and_is_never_cut():
    head, tail = "<|im_start|>user\nText: ", "\nAnswer:<|im_end|>\n<|im_start|>assistant\n"
    row = encode(example_of(), chat=True)
    assert words_of(row.input_ids) == f"{head}abcdefghij{tail}"
    assert words_of(row.target_ids) == "yes<|im_end|>"
    cut = encode(example_of(), limit=6 + 10 + 8 - 8, chat=True)  # the limit counts the text alone
    assert words_of(cut.input_ids) == f"{head}aj{tail}"


def test_a_decoded_answer_has_no_special_tokens_and_outer_spaces():
    encoder = Encoder(TOKENIZER, 10, 10)
    assert encoder.decode(encoder.encode_target("yes")) == "yes"


def test_a_tokenizer_without_end_token_is_refused():
    tokenizer = byte_tokenizer()
    tokenizer.eos_token = None
    with pytest.raises(SettingError, match="eos_token"):
        Encoder(tokenizer, 100, 10).encode(example_of())


def test_collate_pads_on_the_right_and_labels_targets_only():
    batch = collate([Row(4, (1, 2), (3,)), Row(5, (6,), (7, 8, 9))], pad_id=0)
    assert batch.input_ids.tolist() == [[1, 2, 3, 0], [6, 7, 8, 9]]
    assert batch.attention_mask.tolist() == [[True, True, True, False], [True] * 4]
    assert batch.labels.tolist() == [[IGNORED, IGNORED, 3, IGNORED], [IGNORED, 7, 8, 9]]
    assert batch.tasks.tolist() == [4, 5]
    assert batch.input_ids.dtype == torch.long
