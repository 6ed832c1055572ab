"""Fixtures of the tests of data, which find local files only if they request them."""

import os
from pathlib import Path

import pytest

_REAL_DATA = os.environ.get("TFGEN_DATA")


@pytest.fixture(autouse=True)
def _no_local_files(monkeypatch):
    monkeypatch.delenv("TFGEN_DATA", raising=False)


@pytest.fixture
def fresh_home(tmp_path, monkeypatch):
    """An empty cache."""
    monkeypatch.setenv("TFGEN_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def real_data():
    """The directory with the published data sets."""
    if not _REAL_DATA:
        pytest.skip("TFGEN_DATA is not set: it names the directory with MNIST and CIFAR-10")
    return Path(_REAL_DATA)
