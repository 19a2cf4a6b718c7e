"""The table describes every method, and no module outside its package names one."""

import re
from pathlib import Path

import pytest

from clinprompt.errors import SettingError
from clinprompt.methods.method import Start
from clinprompt.methods.table import DEFAULT_METHODS, METHODS, REFERENCES, SHOWN_METHODS

SOURCE = Path(__file__).parents[3] / "src" / "clinprompt"
ORDINARY_WORDS = {"metaprompt", "full", "instruction"}  # they mean other things elsewhere too
NAMED = "|".join(sorted(set(METHODS) - ORDINARY_WORDS))
ANY = "|".join(sorted(METHODS))
IN_CODE = re.compile(rf"""["']({NAMED})["']|\bmethod(\.name)? [!=]= ["']({ANY})["']""")
IN_BACKBONE = {"tuners.py"}  # "lora" is the name of the adapters' parameter group there


def outside_methods():
    modules = (path for path in sorted(SOURCE.rglob("*.py")) if path.parent.name != "methods")
    return [path for path in modules if path.name not in IN_BACKBONE]


def test_no_module_outside_the_package_names_a_method():
    found = {
        f"{path.relative_to(SOURCE)}: {line.strip()}"
        for path in outside_methods()
        for line in path.read_text(encoding="utf-8").splitlines()
        if IN_CODE.search(line)
    }
    assert found == set()


@pytest.mark.parametrize("method", METHODS.values(), ids=lambda method: method.name)
def test_a_method_either_trains_or_makes_a_bank(method):
    trains = method.trains != "nothing"
    assert (method.start is not None) == trains
    assert (method.untrained is not None) == (not trains)
    assert method.saves == "nothing" if method.trains != "prompt" else method.saves != "nothing"


@pytest.mark.parametrize("name", ["instruction", "in-context", "metaprompt"])
def test_a_method_that_trains_nothing_has_no_start(name):
    with pytest.raises(SettingError, match=f"method {name} trains nothing"):
        METHODS[name].started(Start(None, None, None))


@pytest.mark.parametrize("name", ["spot", "adapted-factors", "adapted-metaprompt"])
def test_a_method_that_needs_a_metaprompt_says_so(name):
    given = Start(None, None, None)
    with pytest.raises(SettingError, match="needs a metaprompt"):
        given.needed_metaprompt(name)


def test_the_controls_are_trained_on_sources_first():
    first = {name for name, method in METHODS.items() if method.on_sources}
    assert first == {"multitask-prompt", "lora-multitask"}


def test_methods_with_a_role_are_in_the_table():
    assert {*DEFAULT_METHODS, *REFERENCES, *SHOWN_METHODS} <= set(METHODS)
    assert SHOWN_METHODS == ("in-context",)
