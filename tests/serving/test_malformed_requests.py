"""A few hundred of the malformed requests of tools/fuzz_serving.py, with valid ones between."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tfgen.export.serving.server import Server

TOOL = Path(__file__).parents[2] / "tools" / "fuzz_serving.py"


@pytest.mark.parametrize("batching", [False, True])
def test_malformed_requests_are_refused_and_valid_ones_answered(base, truth, batching, monkeypatch):
    monkeypatch.syspath_prepend(TOOL.parent)
    spec = importlib.util.spec_from_file_location("fuzz_serving", TOOL)
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    with Server(
        {tool.NAME: str(base)},
        port=0,
        rest_api_port=0,
        max_bytes=tool.MAX_BYTES,
        max_rows=tool.MAX_ROWS,
        enable_batching=batching,
        enable_model_warmup=False,
    ) as server:
        answers, wrong, slowest = tool.run(server, 250, seed=1 + batching)
        sender = tool.Requests(server, seed=2)
        expected = truth["log_prob"](images=tf.constant(tool.fixed_images()))["log_prob"].numpy()
        np.testing.assert_allclose(sender.good(), expected, rtol=1e-5)
        sender.close()
    assert wrong == []
    assert slowest < tool.SLOW
    assert sum(answers.values()) == 250
    assert {kind for kind, _ in answers} == set(sender.kinds)
