"""The audit of dependencies fails on licences that are not allowed, and if nothing was checked."""

import json
import sys
from email.message import Message
from importlib.metadata import distribution
from pathlib import Path

import pytest

COMPAT = Path(__file__).parents[2] / "compat"


@pytest.fixture(autouse=True)
def compat(monkeypatch):
    monkeypatch.syspath_prepend(str(COMPAT))


class Package:
    """A package with these fields in its metadata."""

    def __init__(self, **fields):
        self.metadata = Message()
        for name, values in fields.items():
            for value in [values] if isinstance(values, str) else values:
                self.metadata[name.replace("_", "-")] = value


@pytest.fixture
def licences():
    from dependencies import Licences  # noqa: PLC0415

    return Licences.load(COMPAT / "licences.toml")


@pytest.mark.parametrize(
    ("fields", "licence"),
    [
        ({"License_Expression": "MIT"}, "MIT"),
        ({"License": "MIT License"}, "MIT"),
        ({"License": "MPL-2.0 AND MIT"}, "MPL-2.0 AND MIT"),
        ({"License": "Copyright 2015\nAll text of it", "Classifier": "License :: OSI Approved :: BSD License"}, "BSD-3-Clause"),  # noqa: E501
        ({"Classifier": ["License :: OSI Approved :: MIT License", "License :: OSI Approved"]}, "MIT"),  # noqa: E501
        ({"License": "GPLv3"}, "GPLv3"),
        ({}, "unknown"),
    ],
)  # fmt: skip
def test_the_licence_is_found_in_new_and_old_fields(licences, fields, licence):
    assert licences.of(Package(**fields)) == licence


@pytest.mark.parametrize(
    "licence", ["MIT", "MIT License", "MIT OR Apache-2.0", "BSD-3-Clause AND (MIT OR Zlib)"]
)
def test_permissive_licences_are_allowed(licences, licence):
    assert licences.verdict("some-package", licence) == (True, "permissive")


@pytest.mark.parametrize(
    "licence", ["GPL-3.0-or-later", "MIT AND LGPL-2.1", "AGPL-3.0", "MPL-2.0", "unknown", "Mine"]
)
def test_copyleft_and_unknown_licences_are_not(licences, licence):
    assert licences.verdict("some-package", licence) == (False, "not on the list")


def test_an_exception_holds_for_its_package_and_its_licence_alone(licences):
    assert licences.verdict("certifi", "MPL-2.0")[0]
    assert not licences.verdict("certifi", "GPL-3.0")[0]
    assert not licences.verdict("certify", "MPL-2.0")[0]
    assert all(one["reason"] for one in licences.exceptions.values())


def test_everything_that_is_installed_has_an_allowed_licence(licences, capsys):
    from dependencies import check_licences, installed  # noqa: PLC0415

    groups = installed()
    assert {"torch": "runtime", "fastapi": "serve", "pytest": "dev"}.items() <= groups.items()
    assert check_licences(groups, licences) == []
    assert "0 not allowed" in capsys.readouterr().out


def test_a_package_that_is_not_allowed_is_named_with_a_remedy(capsys):
    from dependencies import Licences, check_licences  # noqa: PLC0415

    [problem] = check_licences({"jinja2": "runtime"}, Licences(frozenset({"MIT"}), {}, {}))
    assert problem.startswith(f"jinja2 {distribution('jinja2').version}: licence ")
    assert "compat/licences.toml" in problem


def pip_audit(folder, answer):
    """Return a command that answers as pip-audit does, for each package that it is asked about."""
    path = folder / "pip-audit"
    path.write_text(
        f"#!{sys.executable}\nimport json, sys\n"
        "lines = open(sys.argv[2]).read().split()\n"
        f"answer = json.loads({json.dumps(json.dumps(answer))})\n"
        "found = [{'name': n, 'version': v, **answer.get(n, answer['*'])} "
        "for n, v in (line.split('==') for line in lines)]\n"
        "print(json.dumps({'dependencies': found}))\n"
    )
    path.chmod(0o755)
    return str(path)


def vulnerabilities(folder, answer, capsys):
    from dependencies import check_vulnerabilities  # noqa: PLC0415

    groups = {"jinja2": "runtime", "numpy": "runtime"}
    problems = check_vulnerabilities(groups, pip_audit(folder, answer))
    return problems, capsys.readouterr().out


def test_without_the_service_nothing_was_checked_and_that_is_said(tmp_path, capsys):
    answer = {"*": {"skip_reason": "Dependency not found on PyPI"}}
    problems, printed = vulnerabilities(tmp_path, answer, capsys)
    assert "NOT CHECKED" in printed
    assert len(problems) == 1
    assert "vulnerabilities were not checked" in problems[0]
    assert "make audit-licences" in problems[0]


def test_a_command_that_fails_is_not_taken_for_a_clean_result(tmp_path, capsys):
    path = tmp_path / "broken"
    path.write_text("#!/bin/sh\necho 'no network' >&2\nexit 1\n")
    path.chmod(0o755)
    from dependencies import check_vulnerabilities  # noqa: PLC0415

    [problem] = check_vulnerabilities({"numpy": "runtime"}, str(path))
    assert "not checked" in problem
    assert "NOT CHECKED" in capsys.readouterr().out


def test_known_vulnerabilities_and_packages_that_were_skipped_are_problems(tmp_path, capsys):
    bug = {"id": "PYSEC-1", "fix_versions": ["9.9"]}
    answer = {"*": {"vulns": []}, "numpy": {"vulns": [bug]}}
    problems, printed = vulnerabilities(tmp_path, answer, capsys)
    assert "2 packages checked, 1 with known ones" in printed
    [problem] = problems
    assert problem.startswith("numpy ")
    assert problem.endswith("PYSEC-1; fixed in 9.9")
    answer = {"*": {"vulns": []}, "numpy": {"skip_reason": "no such version"}}
    problems, _ = vulnerabilities(tmp_path, answer, capsys)
    assert problems == ["vulnerabilities of numpy were not checked"]


def test_packages_without_known_vulnerabilities_pass(tmp_path, capsys):
    problems, printed = vulnerabilities(tmp_path, {"*": {"vulns": []}}, capsys)
    assert problems == []
    assert "2 packages checked, 0 with known ones; not checked: none" in printed
