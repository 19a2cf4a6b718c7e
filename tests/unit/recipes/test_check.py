"""clinprompt tasks check, on tasks that need no files."""

import pytest

from clinprompt.errors import SettingError
from clinprompt.recipes.check import check_tasks


def test_every_practice_task_is_whole_and_survives_as_text():
    rows = check_tasks((), suite="practice", mirror=None)
    assert len(rows) == 10
    assert {row["survive_as_text"] for row in rows} == {1.0}
    assert all(row["train"] and row["validation"] and row["test"] for row in rows)


def test_naming_nothing_says_what_there_is():
    with pytest.raises(SettingError, match="practice-ner-drugs"):
        check_tasks((), suite="", mirror=None)
