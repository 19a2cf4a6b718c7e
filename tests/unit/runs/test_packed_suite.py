"""Packed tasks: a run reads from them what it would read from the data sets."""

import pytest

from clinprompt.errors import DataError
from clinprompt.runs.examples import examples_of
from clinprompt.runs.packed_suite import is_packed, load_packed, pack_tasks
from clinprompt.runs.suite_data import load_apart, load_suite
from clinprompt.settings.run import check_config

DATA = {"train_rows": 7, "validation_rows": 3, "test_rows": 5}


@pytest.fixture
def packed(tmp_path):
    config = check_config({"name": "t", "suite": "practice", "data": DATA}, source="test")
    suite = load_suite("practice", config.data, None)
    pack_tasks(tmp_path, suite.sources, config, splits=2)
    pack_tasks(tmp_path, suite.targets, config, splits=3)
    return tmp_path, config, suite


def test_a_run_draws_the_same_examples_from_packed_tasks(packed):
    folder, config, suite = packed
    same = load_suite("practice", config.data, folder)
    assert [d.card for d in same.sources + same.targets] == [
        d.card for d in suite.sources + suite.targets
    ]
    limits = {"train": 7, "validation": 3, "test": 5}
    for one, other in zip(same.targets, suite.targets, strict=True):
        for split, limit in limits.items():
            drawn = [examples_of(d, split, limit=limit, seed=config.seed) for d in (one, other)]
            assert drawn[0] == drawn[1]
            assert len(one.splits[split]) <= limit
    assert all(not data.splits["test"] for data in same.sources)


def test_sources_are_loaded_where_no_target_was_packed(packed, tmp_path):
    _, config, suite = packed
    pack_tasks(tmp_path / "sources", suite.sources, config, splits=2)
    found = load_suite("practice", config.data, tmp_path / "sources")
    assert [data.card for data in found.sources] == [data.card for data in suite.sources]
    assert found.targets == ()
    name = suite.targets[0].card.name
    with pytest.raises(DataError, match=f"{name} is not among the packed tasks"):
        load_suite("practice", config.data, tmp_path / "sources", targets=[name])


def test_a_single_task_is_read_from_packed_tasks(packed):
    folder, _, suite = packed
    packed_task = load_apart(suite.targets[0].card, folder)
    assert packed_task == load_packed(folder, suite.targets[0].card)
    assert len(packed_task.splits["train"]) == DATA["train_rows"]


def test_damaged_packed_tasks_are_refused(packed):
    folder, _, suite = packed
    card = suite.targets[0].card
    assert is_packed(folder, card.name)
    (folder / f"{card.name}.json.xz").write_bytes(b"no archive")
    with pytest.raises(DataError, match="pack the suite again"):
        load_packed(folder, card)
