"""Rows that join and leave a running batch at any time get the answers of each row alone."""

import random
from dataclasses import replace

import pytest
import torch
from tiny import random_prompts, random_rows

from clinprompt.backbone.bank import Bank, make_bank
from clinprompt.backbone.decode import answer_all, generate, score_choices
from clinprompt.backbone.layers import prompt_width
from clinprompt.backbone.scheduler import Ask, Scheduler

ENDS = frozenset({257, 7})


def bank_of(backbone, placement, *, seed, length=4):
    if placement == "none":
        return Bank()
    width = prompt_width(backbone.model, placement)
    with torch.inference_mode():
        prompts = random_prompts(3, length, seed=seed, width=width).double()
        return make_bank(backbone.model, prompts, placement)


def random_asks(banks, *, num, seed):
    """Return rows of any task and bank: some write up to 12 ids, some choose; some share a note."""
    draw = random.Random(seed)
    notes = [random_rows([(40, 0)], seed=100 + number)[0].input_ids for number in range(2)]
    asks = []
    for number in range(num):
        row = random_rows([(draw.randint(1, 20), 0)], seed=1000 * seed + number)[0]
        if draw.random() < 0.5:
            row = replace(row, input_ids=draw.choice(notes) + row.input_ids)
        row = replace(row, task=draw.randrange(3))
        bank = draw.choice(banks)
        if draw.random() < 0.3:
            asks.append(Ask(row, bank, choices=((5,), (6, 7), (6, 9, 11))))
        else:
            asks.append(Ask(row, bank, limit=draw.randint(1, 12), end_ids=ENDS))
    return asks


def alone(backbone, ask):
    """Answer a row by itself; return its ids or scores."""
    if ask.choices:
        return score_choices(backbone, [ask.row], [ask.choices], ask.bank)[0]
    one = generate(backbone, [ask.row], ask.bank, limits=[ask.limit], end_ids=ask.end_ids)
    return list(one[0])


def check_equal_alone(backbone, asks):
    for ask in asks:
        assert ask.is_done
        expected = alone(backbone, ask)
        if ask.choices:
            torch.testing.assert_close(torch.tensor(ask.scores), torch.tensor(expected))
        else:
            assert ask.written.ids == expected


@pytest.mark.parametrize(
    ("max_positions", "patience"), [(1, 0), (200, 3), (500, 0), (4000, 0), (4000, 3)]
)
@pytest.mark.parametrize("placement", ["prefix", "suffix", "layers"])
def test_answers_are_those_of_each_row_alone(precise, placement, max_positions, patience):
    """Rows arrive at random, of tasks whose prompts are replaced by others between the steps."""
    draw = random.Random(max_positions)
    banks = [bank_of(precise, placement, seed=seed, length=3 + seed) for seed in range(2)]
    banks.append(Bank())
    asks = random_asks(banks[:2], num=10, seed=1) + random_asks(banks[1:], num=10, seed=2)
    scheduler = Scheduler(precise, max_positions=max_positions, patience=patience)
    coming = list(asks)
    while coming or not scheduler.is_idle:
        for _ in range(draw.randint(0, 4)):
            if coming:
                scheduler.submit(coming.pop(0))
        scheduler.step()
    check_equal_alone(precise, asks)


def test_canceled_rows_free_their_place_and_change_no_other_answer(precise):
    banks = [bank_of(precise, "suffix", seed=0), bank_of(precise, "layers", seed=1)]
    asks = random_asks(banks, num=24, seed=3)
    draw = random.Random(5)
    canceled = []
    scheduler = Scheduler(precise, max_positions=600)
    for ask in asks:
        scheduler.submit(ask)
    while not scheduler.is_idle:
        scheduler.step()
        open_ones = [ask for ask in asks if not ask.is_done and ask not in canceled]
        if open_ones:
            canceled.append(draw.choice(open_ones))
            scheduler.cancel(canceled[-1])
    assert scheduler._arena.num_rows == 0
    assert scheduler._arena.num_free == 600
    assert len(canceled) > 5
    check_equal_alone(precise, [ask for ask in asks if ask not in canceled])


def test_rows_are_read_first_come_first_served_within_a_limit_of_tokens(tiny_llama):
    """A step reads an eighth of 800 positions: ten rows of 10 tokens, in order."""
    rows = random_rows([(10, 0)] * 25)
    scheduler = Scheduler(tiny_llama, max_positions=800)
    asks = [Ask(row, Bank(), choices=((5,), (6,))) for row in rows]
    for ask in asks:
        scheduler.submit(ask)
    assert scheduler.step() == asks[:10]
    assert scheduler.step() == asks[10:20]
    assert scheduler.step() == asks[20:]


def test_the_positions_of_rows_being_written_stay_within_the_limit(tiny_llama):
    """A row may reach 4 + 5 + 20 = 29 positions, 64 as a line: three lines fit 200 positions."""
    with torch.inference_mode():
        bank = make_bank(tiny_llama.model, random_prompts(1, 4))
    asks = [Ask(row, bank, limit=20) for row in random_rows([(5, 0)] * 7)]
    seen = set()
    scheduler = Scheduler(tiny_llama, max_positions=200)
    for ask in asks:
        scheduler.submit(ask)
    while not scheduler.is_idle:
        scheduler.step()
        seen.add(scheduler.num_active)
    assert max(seen) == 3
    assert all(len(ask.written.ids) == 20 for ask in asks)


def test_a_row_that_is_larger_than_the_limit_is_answered_alone(tiny_llama):
    asks = [Ask(row, Bank(), limit=3) for row in random_rows([(90, 0), (5, 0), (90, 0)])]
    scheduler = Scheduler(tiny_llama, max_positions=64)
    for ask in asks:
        scheduler.submit(ask)
    while not scheduler.is_idle:
        scheduler.step()
    assert [len(ask.written.ids) for ask in asks] == [3, 3, 3]


def test_rows_on_one_note_read_it_once(precise):
    """Two rows share 40 tokens and have 5 of their own and a prompt of 4 each: 58 positions."""
    note, *own = random_rows([(40, 0), (5, 0), (5, 0)])
    rows = [replace(one, input_ids=note.input_ids + one.input_ids) for one in own]
    bank = bank_of(precise, "suffix", seed=0)
    read = []
    hook = precise.model.base_model.layers[0].mlp.register_forward_pre_hook(
        lambda _, args: read.append(args[0].flatten(0, -2).shape[0])
    )
    try:
        answer_all(precise, [Ask(row, bank, choices=((5,), (6,))) for row in rows])
    finally:
        hook.remove()
    assert sum(read) == 58


def test_a_row_waits_for_others_to_be_read_with_it_but_not_for_long(tiny_llama):
    """Of 1,600 positions, 200 tokens are read in a step; 100 of them are worth a pass."""
    rows = [random_rows([(40, 0)], seed=number)[0] for number in range(5)]
    asks = [Ask(row, Bank(), limit=50, end_ids=()) for row in rows]
    scheduler = Scheduler(tiny_llama, max_positions=1600, patience=2)
    num_active = []

    def step():
        scheduler.step()
        num_active.append(scheduler.num_active)

    scheduler.submit(asks[0])
    step()  # nothing else is being written
    scheduler.submit(asks[1])
    for _ in range(3):
        step()
    for ask in asks[2:]:
        scheduler.submit(ask)
    step()  # together they have 120 tokens
    assert num_active == [1, 1, 1, 2, 5]
