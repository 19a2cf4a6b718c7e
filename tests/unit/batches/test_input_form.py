"""The instruction is behind the text, and conversations equal those of the chat template."""

import re

import pytest
from made_cards import card_of, wording_of
from tiny import byte_tokenizer

from clinprompt.batches.encode import make_encoder
from clinprompt.batches.input_form import InputForm, chat_of
from clinprompt.errors import SettingError
from clinprompt.settings.groups import DataSettings
from clinprompt.tasks.card import catalog, find_card
from clinprompt.tasks.kinds import make_example
from clinprompt.tasks.records import Record, Span, SpansAnswer

TEXT = "He took aspirin and ibuprofen."
ANSWER = SpansAnswer((Span(8, 15, "d"),))
# Like that of gpt-oss: a system message with the date, and channels in answers.
HARMONY = (
    "<|im_start|>system<|message|>Date: {{ strftime_now('%Y-%m-%d') }}<|im_end|>"
    "{% for message in messages %}{% if message.role == 'assistant' %}"
    "<|im_start|>assistant<|channel|>final<|message|>{{ message.content }}"
    "{{ '<|return|>' if loop.last and not add_generation_prompt else '<|im_end|>' }}"
    "{% else %}<|im_start|>{{ message.role }}<|message|>{{ message.content }}<|im_end|>{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant{% endif %}"
)


def card_with(template, instruction="Write each drug."):
    wording = wording_of(template) | {"instruction": instruction}
    return card_of("ner", "spans", labels={"d": "drug"}, wording=wording)


DRUGS = card_with("{{ text }}\nDrugs:")


def example_of(card=DRUGS, text=TEXT, answer=ANSWER):
    return make_example(card, Record("1", {"text": text}, answer))


def plain_tokenizer():
    tokenizer = byte_tokenizer()
    tokenizer.chat_template = None
    return tokenizer


def harmony_tokenizer():
    tokenizer = byte_tokenizer()
    tokenizer.add_special_tokens(
        {"additional_special_tokens": ["<|message|>", "<|channel|>", "<|return|>"]}
    )
    tokenizer.eos_token = "<|return|>"
    tokenizer.chat_template = HARMONY
    return tokenizer


@pytest.fixture(params=["plain", "default backbone", "harmony"])
def tokenizer(request):
    """A tokenizer without a chat template, that of the default backbone, and one with channels."""
    if request.param == "default backbone":
        return request.getfixturevalue("smollm2").tokenizer
    return {"plain": plain_tokenizer, "harmony": harmony_tokenizer}[request.param]()


@pytest.fixture(params=["default backbone", "harmony"])
def chatting(request):
    """The tokenizers with a chat template."""
    is_made_up = request.param == "harmony"
    return harmony_tokenizer() if is_made_up else request.getfixturevalue("smollm2").tokenizer


def encoder_of(tokenizer, form=2, **given):
    return make_encoder(tokenizer, DataSettings(input_form=form), **given)


def template_ids(tokenizer, messages, **given):
    """Return the ids of a conversation by the tokenizer itself, at the date that never changes."""
    roles = ("user", "assistant") * len(messages)
    text = tokenizer.apply_chat_template(
        [{"role": role, "content": words} for role, words in zip(roles, messages, strict=False)],
        tokenize=False,
        **given,
    )
    text = re.sub(r"Date: [\d-]+", "Date: 2026-01-01", text)
    return tuple(tokenizer(text, add_special_tokens=False)["input_ids"])


@pytest.mark.parametrize(
    ("template", "shown"),
    [
        ("{{ text }}\nDrugs:", f"{TEXT}\n\nWrite each drug.\nDrugs:"),
        ("Note: {{ text }}\nWho?\n\nDrugs:", f"Note: {TEXT}\nWho?\n\nWrite each drug.\nDrugs:"),
        ("{{ text }} Drugs:", f"{TEXT}\n\nWrite each drug.\nDrugs:"),
        ("{{ text }}:", f"{TEXT}\n\nWrite each drug."),
        ("Drugs of\n{{ text }}", f"Drugs of\n{TEXT}\n\nWrite each drug."),
    ],
)
def test_the_instruction_is_behind_the_text_and_before_the_last_line(template, shown):
    example = example_of(card_with(template, "Write each\ndrug."))
    assert InputForm("behind").shown(example).input == shown


def test_form_1_is_the_template_alone_and_instructed_the_instruction_before_it(tokenizer):
    example = example_of()
    row = encoder_of(tokenizer, 1).encode(example)
    assert row.input_ids == tuple(tokenizer(f"{TEXT}\nDrugs:")["input_ids"])
    expected = tokenizer(" aspirin", add_special_tokens=False)["input_ids"]
    assert row.target_ids == (*expected, tokenizer.eos_token_id)
    text = f"Write each drug.\n\n{TEXT}\nDrugs:"
    asked = encoder_of(tokenizer, 1, instructed=True).encode(example).input_ids
    if tokenizer.chat_template is None:
        assert asked == tuple(tokenizer(text)["input_ids"])
    else:
        expected = template_ids(tokenizer, [text], add_generation_prompt=True)
        assert asked[: len(expected)] == expected


def test_without_a_chat_template_form_2_is_plain_text():
    tokenizer = plain_tokenizer()
    row = encoder_of(tokenizer).encode(example_of())
    assert tokenizer.decode(row.input_ids) == f"{TEXT}\n\nWrite each drug.\nDrugs:"
    assert tokenizer.decode(row.target_ids) == " aspirin<|im_end|>"


def test_an_input_and_its_answer_are_the_conversation_of_the_chat_template(chatting):
    row = encoder_of(chatting).encode(example_of())
    text = f"{TEXT}\n\nWrite each drug.\nDrugs:"
    whole = template_ids(chatting, [text, "aspirin"])
    own = row.input_ids + row.target_ids
    assert own == whole[: len(own)]
    assert chatting.decode(whole[len(own) :]).strip() == ""
    asked = template_ids(chatting, [text], add_generation_prompt=True)
    assert row.input_ids[: len(asked)] == asked
    opened = chatting.decode(row.input_ids[len(asked) :])
    assert opened == ("<|channel|>final<|message|>" if chatting.eos_token == "<|return|>" else "")


def test_solved_examples_are_earlier_turns_of_one_conversation(chatting):
    """The system message is there once, and every answer is a turn of the assistant."""
    encoder, instruction = encoder_of(chatting), "\n\nWrite each drug.\nDrugs:"
    ids = [*encoder.encode_solved(example_of(), is_first=True)]
    second = example_of(text="No drug here.", answer=SpansAnswer(()))
    ids += encoder.encode_solved(second, is_first=False)
    ids += encoder.after_solved().encode(example_of(text="Stop it.", answer=None)).input_ids
    messages = [TEXT + instruction, "aspirin", "No drug here." + instruction, "none"]
    expected = template_ids(
        chatting, [*messages, "Stop it." + instruction], add_generation_prompt=True
    )
    assert tuple(ids[: len(expected)]) == expected
    assert chatting.decode(ids).count("system") == 1
    assert chatting.decode(ids[len(expected) :]) in ("", "<|channel|>final<|message|>")


def test_solved_examples_without_a_chat_template_end_with_the_end_token():
    tokenizer = plain_tokenizer()
    ids = encoder_of(tokenizer).encode_solved(example_of(), is_first=False)
    expected = f"{TEXT}\n\nWrite each drug.\nDrugs: aspirin<|im_end|>"
    assert tokenizer.decode(ids) == expected


def test_inputs_do_not_depend_on_the_day():
    chat = chat_of(harmony_tokenizer())
    assert "Date: 2026-01-01" in chat.opening


def test_a_template_that_drops_messages_is_refused():
    tokenizer = byte_tokenizer()
    tokenizer.chat_template = "{{ messages[-1].content }}"
    with pytest.raises(SettingError, match=r"chat template.*input_form = 1"):
        chat_of(tokenizer)


def test_tasks_on_one_note_share_the_start_of_their_inputs(tokenizer):
    """Up to the last token of the note, which may be joined with the line end behind it."""
    cards = [find_card(name) for name in catalog() if find_card(name).wording.cut == ("text",)]
    cards = [card for card in cards if card.wording.template.strip().startswith("{{ text }}")]
    assert len(cards) > 40
    encoder = encoder_of(tokenizer)
    others = {"statement": "a", "question": "b", "first": "c", "second": "d", "mentions": "e"}
    inputs = [
        encoder.encode(make_example(card, Record("1", {"text": TEXT, **others}))).input_ids
        for card in cards
        if "options" not in card.wording.template
    ]
    opening = encoder.form.chat.opening if encoder.chat else ""
    note = len(tokenizer(opening + TEXT, add_special_tokens=False)["input_ids"])
    assert {ids[: note - 1] for ids in inputs} == {inputs[0][: note - 1]}
    assert all(ids[note - 1] == inputs[0][note - 1] for ids in inputs)


def test_the_limit_counts_the_text_alone_and_cuts_the_same_words_in_both_forms(tokenizer):
    data = {"max_input_tokens": 30, "long_inputs": "cut"}
    example = example_of(text=TEXT + " and so on, day by day" * 9, answer=None)
    rows, added = [], []
    for form in (1, 2):
        encoder = make_encoder(tokenizer, DataSettings(input_form=form, **data))
        rows.append(encoder.encode(example))
        added.append(encoder.added_tokens(example))
    assert [row.input_was_cut for row in rows] == [True, True]
    assert len(rows[0].input_ids) == 30
    assert added[0] == 0 < added[1]
    assert len(rows[1].input_ids) == 30 + added[1]


def test_instruction_and_chat_template_count_for_the_context():
    tokenizer = plain_tokenizer()  # one token a byte
    text, target = len(f"{TEXT}\n\nWrite each drug.\nDrugs:"), 128
    encoder_of(tokenizer, context=text + target).encode(example_of())
    with pytest.raises(SettingError, match="longer than the backbone supports"):
        encoder_of(tokenizer, context=text + target - 1).encode(example_of())
