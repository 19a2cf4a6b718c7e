"""The packages of a bundle are those that its Python and machine need, not those of this one."""

import itertools

import pytest


@pytest.fixture
def needed(bundle_packages):
    def call(requires, *, python="3.12", machine="x86_64", skip=()):
        chosen = {
            name: bundle_packages.Package("1.0", tuple(own)) for name, own in requires.items()
        }
        environment = bundle_packages.Platform(python, machine).environment()
        return bundle_packages.needed_packages("clinprompt", chosen, environment, skip)

    return call


def test_requirements_are_followed_and_the_project_itself_is_not_among_them(needed):
    found = needed({"clinprompt": ["torch>=2"], "torch": ["SymPy"], "sympy": [], "other": []})
    assert found == ({"torch": "1.0", "sympy": "1.0"}, {})


def test_conditions_hold_for_the_python_and_the_machine_of_the_bundle(needed):
    old, arm = 'old; python_version < "3.12"', 'arm; platform_machine == "aarch64"'
    given = {"clinprompt": [old, arm, 'win; sys_platform == "win32"'], "old": [], "arm": []}
    assert needed(given)[0] == {}
    assert needed(given, python="3.11")[0] == {"old": "1.0"}
    assert needed(given, machine="aarch64")[0] == {"arm": "1.0"}


def test_a_requirement_that_pip_did_not_choose_is_reported(needed):
    given = {"clinprompt": ['old>=2; python_version < "3.12"']}
    assert needed(given, python="3.11") == ({}, {"old": "old>=2"})


def test_extras_are_followed_only_where_they_are_asked_for(needed):
    given = {"clinprompt": ["kit[fast]"], "kit": ['a; extra == "fast"', 'b; extra == "slow"']}
    assert needed({**given, "a": [], "b": []})[0] == {"kit": "1.0", "a": "1.0"}


def test_packages_that_only_a_skipped_one_needs_are_left_out(needed):
    given = {"clinprompt": ["torch", "numpy"], "torch": ["cuda", "numpy"], "cuda": [], "numpy": []}
    assert needed(given, skip={"torch"})[0] == {"numpy": "1.0"}


def test_every_wheel_for_the_oldest_supported_linux_is_accepted(bundle_packages):
    options = bundle_packages.Platform("3.12", "aarch64").pip_options()
    names = [value for flag, value in itertools.pairwise(options) if flag == "--platform"]
    assert {"manylinux_2_31_aarch64", "manylinux_2_17_aarch64", "manylinux2014_aarch64"} <= {*names}
    assert "manylinux_2_32_aarch64" not in names
