"""All that can be wrong with TOML is one kind of error, and names its file."""

import tomllib

import pytest

from clinprompt.errors import DataError, SettingError
from clinprompt.settings.run import check_config, load_config
from clinprompt.settings.toml_text import is_deeper, parse_toml
from clinprompt.tasks.card import read_card
from clinprompt.tasks.suite import find_suite

WRONG = {
    "a = ": "Invalid value",
    f"a = {'9' * 5000}": "a number is too long",
    f"a = {'[' * 5000}{']' * 5000}": "it is nested too deeply",
    f"a = {'[' * 60}{']' * 60}": "it is nested too deeply",
    f"{'a.' * 60}a = 1": "it is nested too deeply",
    f"[{'a.' * 5000}a]": "it is nested too deeply",
}


@pytest.mark.parametrize(("text", "says"), WRONG.items(), ids=lambda one: one[:12])
def test_each_fault_is_the_same_kind_of_error(text, says, tmp_path):
    with pytest.raises(tomllib.TOMLDecodeError, match=says):
        parse_toml(text)
    path = tmp_path / "x.toml"
    path.write_text(text)
    for read, kind in (
        (lambda: read_card(path), DataError),
        (lambda: find_suite(str(path)), DataError),
        (lambda: load_config(path), SettingError),
    ):
        with pytest.raises(kind, match=f"{path}: not readable as TOML: {says}"):
            read()


def test_a_value_that_is_not_toml_is_a_text_in_a_changed_setting():
    """`--set name=...` takes what is no TOML as a text, which is then refused by its setting."""
    with pytest.raises(SettingError, match=r"adapt\.steps: must be a whole number"):
        check_config({"name": "x"}, source="settings", overrides=[f"adapt.steps={'[' * 5000}"])


def test_depth_counts_lists_and_tables():
    assert not is_deeper(1, 0)
    assert is_deeper([], 0) is False
    assert is_deeper([1], 0)
    assert not is_deeper({"a": [1]}, 2)
    assert is_deeper({"a": [1]}, 1)
