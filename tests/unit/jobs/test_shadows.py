"""Which rows an audit compares, and what is kept of each finished shadow."""

import json
from dataclasses import replace

import pytest
from made_metaprompt import save_metaprompt

import clinprompt
from clinprompt.errors import DataError, RunError
from clinprompt.jobs.adapt_settings import adapt_config
from clinprompt.jobs.fit_method import MethodFit, bank_of, fit_method
from clinprompt.jobs.shadows import SHADOWS_FILE, Pool, ShadowSpec, pool_of, train_shadows
from clinprompt.methods.metaprompts import find_metaprompt
from clinprompt.methods.method import Start
from clinprompt.methods.table import METHODS
from clinprompt.runs.candidates import Candidates
from clinprompt.runs.task_rows import task_rows_of
from clinprompt.runs.workspace import Workspace
from clinprompt.tasks.card import find_card
from clinprompt.tasks.records import Example, Record
from clinprompt.training.row_losses import row_losses

from tiny import random_rows  # isort: skip


def candidates_of(groups):
    """Return candidates whose rows are from notes of these groups."""
    notes = [one or number for number, one in enumerate(groups)]
    rows = [
        replace(row, note=notes.index(note))
        for row, note in zip(random_rows([(4, 2)] * len(groups)), notes, strict=True)
    ]
    records = [Record(str(number), {"text": "a"}, group=one) for number, one in enumerate(groups)]
    examples = tuple(Example("task", record, "a", "b", ()) for record in records)
    return Candidates("task", 9, examples, tuple(rows), ("",) * len(rows))


def test_the_pool_has_the_rows_of_the_prompt_and_as_many_of_other_notes():
    found = candidates_of([str(number // 2) for number in range(80)])
    pool = pool_of(found, 10, seed=4)
    drawn = found.draw(10, seed=4)
    assert tuple(pool.rows[row] for row in pool.drawn) == drawn
    assert len(pool.rows) == 20
    others = [row for row in pool.rows if row not in drawn]
    assert not {row.note for row in others} & {row.note for row in drawn}


def test_the_pool_takes_fewer_others_if_there_are_not_enough():
    assert len(pool_of(candidates_of([""] * 26), 16, seed=0).rows) == 26


@pytest.mark.parametrize(("size", "count", "rest"), [(23, 16, "7 rows"), (40, 7, "33 rows")])
def test_too_few_rows_are_refused_with_a_remedy(size, count, rest):
    with pytest.raises(DataError, match=f"{rest}; an audit needs at least 8 .* --shots"):
        pool_of(candidates_of([""] * size), count, seed=0)


@pytest.fixture
def spec(tmp_path, tiny_llama, tiny_llama_folder):
    """Return how the shadows of an adaptation on a tiny model are trained."""
    metaprompt = str(save_metaprompt(tmp_path / "metaprompt", tiny_llama_folder))
    config = adapt_config(metaprompt)
    card = find_card("practice-nli-social")
    start = Start(config, tiny_llama, card, seed=3, metaprompt=find_metaprompt(metaprompt))
    return ShadowSpec(METHODS["adapted-metaprompt"], start, "key")


POOL = Pool(tuple(random_rows([(9 + n, 2) for n in range(8)])), (0, 2, 5, 7))


def test_shadows_that_are_trained_side_by_side_have_the_same_losses(spec, tmp_path):
    alone, joint = (
        train_shadows(spec, POOL, Workspace(tmp_path / str(count)), num_shadows=4, together=count)
        for count in (1, 3)
    )
    for one, other in zip(alone, joint, strict=True):
        assert (one.number, one.trained, one.held) == (other.number, other.trained, other.held)
        assert one.losses == pytest.approx(other.losses, rel=1e-3)
    assert not list((tmp_path / "1" / "checkpoints").glob("*"))
    assert not list((tmp_path / "3" / "checkpoints").glob("*"))


def test_a_shadow_is_what_an_adaptation_to_its_rows_gives(spec, tmp_path):
    [shadow, _] = train_shadows(spec, POOL, Workspace(tmp_path), num_shadows=2, together=1)
    rows = [POOL.rows[row] for row in shadow.trained]
    assert len(rows) == 4
    start = Start(
        spec.start.config, spec.start.backbone, spec.start.card, rows, 4, spec.start.metaprompt
    )
    with fit_method(MethodFit(spec.method, start, "own"), Workspace(tmp_path / "own")) as fitted:
        bank = bank_of(start.backbone, [fitted.tuner])
        assert list(shadow.losses) == row_losses(start.backbone, bank, POOL.rows)


def test_finished_shadows_are_read_and_not_trained_again(spec, tmp_path):
    first = train_shadows(spec, POOL, Workspace(tmp_path), num_shadows=2, together=1)
    path = tmp_path / SHADOWS_FILE
    text = path.read_text()
    values = json.loads(text.splitlines()[0])
    marked = {**values, "losses": [7.0] * 8}
    others = {**values, "prompt": "another", "losses": [1.0] * 8}
    rest = text.splitlines()[1]
    path.write_text(f"{json.dumps(others)}\n{json.dumps(marked)}\n{rest}\n" + text[:20])
    left = tmp_path / "checkpoints" / "shadows__key__0+0123.safetensors"
    left.parent.mkdir(exist_ok=True)
    left.touch()
    again = train_shadows(spec, POOL, Workspace(tmp_path), num_shadows=3, together=1)
    assert not left.exists()
    assert again[0].losses == (7.0,) * 8
    assert again[1] == first[1]
    assert [shadow.number for shadow in again] == [0, 1, 2]
    assert [json.loads(line)["number"] for line in path.read_text().splitlines()] == [0, 0, 1, 2]


def test_a_damaged_line_is_named(spec, tmp_path):
    (tmp_path / SHADOWS_FILE).write_text('{"prompt": "key", "number": 0}\n')
    with pytest.raises(RunError, match="line 1 is damaged; delete it"):
        train_shadows(spec, POOL, Workspace(tmp_path), num_shadows=2, together=1)


def test_rows_that_only_choose_the_best_state_are_named(spec):
    adapt_settings = spec.start.config.adapt.model_copy(update={"steps": 50, "validate_every": 10})
    config = spec.start.config.model_copy(update={"adapt": adapt_settings})
    start = Start(config, spec.start.backbone, spec.start.card)
    pool = Pool(tuple(random_rows([(3, 1)] * 70)), tuple(range(6, 70)))
    found = ShadowSpec(spec.method, start, "key").division(pool, pool.drawn, seed=0)
    assert (len(found.trained), len(found.held)) == (52, 12)  # a fifth of 64, rounded down
    assert sorted([*found.trained, *found.held]) == list(range(6, 70))


def test_the_rows_of_a_prompt_are_drawn_again_from_its_seed(spec, tiny_llama):
    data = clinprompt.load_task("practice-nli-social")
    task_rows = task_rows_of(spec.start.config, tiny_llama)
    pool = pool_of(task_rows.candidates(data), 12, seed=5)
    assert tuple(pool.rows[row] for row in pool.drawn) == task_rows.shots(data, 12, seed=5)
