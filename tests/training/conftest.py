"""Tests of training take a few steps with tiny models."""

import pytest

from tfgen.training import run


@pytest.fixture(autouse=True)
def _models_may_be_worse_than_uniform_noise(monkeypatch):
    """`tests/cli/test_train_command.py` and `test_short_runs.py` test that it is an error."""
    monkeypatch.setattr(run, "refuse_if_worse_than_uniform", lambda directory: directory)
