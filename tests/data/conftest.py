"""A cache of their own for the tests of the data, and nothing from outside."""

import os
from pathlib import Path

import pytest

_REAL_DATA = os.environ.get("TFGEN_DATA")


@pytest.fixture(autouse=True)
def _own_places(tmp_path_factory, monkeypatch):
    """One cache for all of these tests, and no local files unless a test asks for them."""
    monkeypatch.setenv("TFGEN_HOME", str(tmp_path_factory.getbasetemp() / "tfgen-home"))
    monkeypatch.delenv("TFGEN_DATA", raising=False)


@pytest.fixture
def fresh_home(tmp_path, monkeypatch):
    """An empty cache."""
    monkeypatch.setenv("TFGEN_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def real_data():
    """The folder with the published data sets."""
    if not _REAL_DATA:
        pytest.skip("TFGEN_DATA is not set: it names the folder with MNIST and CIFAR-10")
    return Path(_REAL_DATA)
