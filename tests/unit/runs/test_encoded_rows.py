"""Rows that were encoded before are read only where they would be encoded in the same way."""

from copy import deepcopy
from dataclasses import replace

import pytest

from clinprompt.errors import DataError
from clinprompt.runs.packed_suite import load_packed, pack_tasks
from clinprompt.runs.suite_data import load_suite
from clinprompt.runs.task_rows import TaskRows
from clinprompt.settings.run import check_config

CONFIG = check_config(
    {"name": "t", "suite": "practice", "data": {"train_rows": 9, "validation_rows": 3}},
    source="test",
)


class Refusing:
    """A tokenizer that can be identified, but encodes nothing else."""

    def __init__(self, own):
        self._own = own

    def __getattr__(self, name):
        return getattr(self._own, name)

    def __call__(self, text, **options):
        assert text.startswith(" Pt. is a 54yo woman"), f"{text!r} was encoded again"
        return self._own(text, **options)


@pytest.fixture
def packed(tmp_path, tiny_llama):
    """Return the encoded rows of two sources and two targets that list mentions and links."""
    suite = load_suite("practice", CONFIG.data, None)
    pack_tasks(tmp_path, suite.sources[:2], CONFIG, splits=2)
    pack_tasks(tmp_path, suite.targets[:2], CONFIG, splits=3)
    sources, targets = (
        [load_packed(tmp_path, data.card) for data in some]
        for some in (suite.sources[:2], suite.targets[:2])
    )
    rows = TaskRows(tiny_llama.tokenizer, 4096, CONFIG.data, CONFIG.seed, tmp_path)
    for data in sources:
        rows.pack(data, is_source=True)
    for data in targets:
        rows.pack(data, is_source=False)
    return rows, sources, targets


def test_packed_rows_are_those_that_would_be_encoded(packed):
    rows, sources, targets = packed
    fresh = replace(rows, packed=None, _training={}, _candidates={})
    known = replace(rows, tokenizer=Refusing(rows.tokenizer), _training={}, _candidates={})
    for data in sources:
        assert known.training(data) == fresh.training(data)
    for data in targets:
        assert known.candidates(data) == fresh.candidates(data)
        assert known.shots(data, 4, seed=1) == fresh.shots(data, 4, seed=1)
        assert known.candidates(data).records(4, seed=1) == fresh.candidates(data).records(
            4, seed=1
        )


@pytest.mark.parametrize("changed", ["settings", "seed", "context", "tokenizer", "records"])
def test_rows_of_other_settings_tokenizers_or_records_are_not_read(packed, changed):
    rows, [data, *_], _ = packed
    assert rows.is_packed(data, is_source=True)
    other = replace(rows, _training={}, _candidates={})
    if changed == "settings":
        other.settings = rows.settings.model_copy(update={"max_input_tokens": 20})
    elif changed == "seed":
        other.seed = 1
    elif changed == "context":
        other.context = 500
    elif changed == "tokenizer":
        other.tokenizer = _with_another_token(rows.tokenizer)
    else:
        data = replace(data, splits={**data.splits, "train": data.splits["train"][1:]})
    assert not other.is_packed(data, is_source=True)


def test_settings_that_do_not_change_rows_do_not_hide_them(packed):
    rows, [data, *_], _ = packed
    changes = {"test_rows": 1, "validation_rows": 7, "constrained": False}
    other = replace(rows, settings=rows.settings.model_copy(update=changes))
    assert other.is_packed(data, is_source=True)


def test_a_damaged_file_of_rows_is_an_error(packed):
    rows, [data, *_], _ = packed
    [path] = rows.packed.glob(f"{data.card.name}.training.*")
    path.write_bytes(b"damaged")
    with pytest.raises(DataError, match=r"damaged; pack the tasks again"):
        replace(rows, _training={}).training(data)


def _with_another_token(tokenizer):
    other = deepcopy(tokenizer)
    other.add_tokens(["naproxen"])
    return other
