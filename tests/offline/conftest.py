"""The scripts of the bundle are not a package: put their folder on the path while they load."""

import importlib
import sys
from pathlib import Path

import pytest

OFFLINE = Path(__file__).parents[2] / "offline"


def _load(name):
    sys.path.insert(0, str(OFFLINE))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.pop(0)


@pytest.fixture(scope="session")
def bundle_files():
    return _load("bundle_files")


@pytest.fixture(scope="session")
def bundle_packages():
    return _load("bundle_packages")


@pytest.fixture(scope="session")
def bundle_installer():
    return _load("install")
