"""Inputs and answers are measured in tokens, as training reads them."""

from made_cards import card_of
from tiny import byte_tokenizer

from clinprompt.batches.encode import Encoder
from clinprompt.jobs.planning.lengths import Spread, lengths_of, share
from clinprompt.tasks.records import Record, Relation, RelationsAnswer, Span, TextAnswer

TOKENIZER = byte_tokenizer()  # one token a byte


def test_answers_count_with_their_blank_and_their_end():
    card = card_of("summarization", "text", "rouge_l")
    records = [Record(f"n{n}", {"text": "x" * n}, TextAnswer("y" * n)) for n in (1, 2, 9)]
    lengths = lengths_of(card, records, Encoder(TOKENIZER, 5, 4))
    assert lengths.inputs == Spread(median=3, p95=9, max=10)  # 2, 3, 10 with the colon
    assert lengths.answers == Spread(median=4, p95=10, max=11)  # 3, 4, 11
    assert lengths.fitting == 0.6666
    assert (lengths.links, lengths.lost_links) == (None, None)


def test_a_long_note_is_read_in_windows_and_distant_links_are_lost():
    card = card_of("re", "relations", "relation_f1", setting="end-to-end", labels={"t": "time"})
    text = " ".join(f"Took drug{n} today." for n in range(10, 40))
    drugs = [Span(at, at + 6, "") for at in range(len(text)) if text.startswith("drug", at)]
    near = [Relation("t", drug, Span(drug.end + 1, drug.end + 6, "")) for drug in drugs]
    far = Relation("t", drugs[0], drugs[-1])
    record = Record("n", {"text": text}, RelationsAnswer((*near, far)))
    lengths = lengths_of(card, [record], Encoder(TOKENIZER, 120, 200))
    assert (lengths.links, lengths.lost_links) == (31, 1)
    assert lengths.answers.max > 200
    assert lengths.fitting == 1


def test_a_share_is_rounded_down_so_that_only_all_gives_1():
    assert [share(19_999, 20_000), share(3, 3), share(0, 0), share(0, 3)] == [0.9999, 1, 1, 0]
