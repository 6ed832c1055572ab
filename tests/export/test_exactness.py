"""Pretrained models compute the same in Python, in SavedModels and in TFLite files.

The SavedModels are loaded by TensorFlow's v1 loader in a process without Keras and tfgen. The tool
`tools/exactness.py` prints the whole table of these figures.
"""

import runpy
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest

import tfgen
from tfgen.errors import InputError
from tfgen.zoo import places

TOOL = runpy.run_path(str(Path(__file__).parents[2] / "tools" / "exactness.py"))
RUNTIMES = TOOL["RUNTIMES"]
NUM_IMAGES = 1000
ROWS_OF_BATCHES = {1: 8, 7: 63, 64: 128, 256: 256}


@pytest.fixture(scope="module", params=sorted(places.versions(places.PACKAGED)))
def case(request, serve, tmp_path_factory):
    """A model, its runtimes, and images of its data."""
    model = tfgen.zoo.load(request.param)
    try:
        images = TOOL["real_images"](request.param, NUM_IMAGES)
    except InputError as error:
        pytest.skip(str(error))
    directory = tmp_path_factory.mktemp(request.param)
    return model, TOOL["Runtimes"](model, directory, serve), images


def test_log_prob_is_a_function_of_each_image_alone_on_every_runtime(case):
    _, runtimes, images = case
    expected = runtimes("python", "log_prob", images[: max(ROWS_OF_BATCHES)], 256)
    for runtime in RUNTIMES:
        for batch, rows in ROWS_OF_BATCHES.items():
            found = runtimes(runtime, "log_prob", images[:rows], batch)
            assert TOOL["relative"](found, expected[:rows]) < 1e-5, (runtime, batch)


def test_every_image_is_given_back_whichever_runtime_encodes_and_decodes(case):
    model, runtimes, images = case
    if not model.is_invertible:
        pytest.skip("a VAE does not give images back")
    assert len(images) == NUM_IMAGES
    expected = TOOL["as_seen"](model, images)
    latents = {runtime: runtimes(runtime, "encode", images) for runtime in RUNTIMES}
    for runtime in RUNTIMES:
        np.testing.assert_array_equal(runtimes(runtime, "decode", latents[runtime]), expected)
    for number, (encoder, decoder) in enumerate(permutations(RUNTIMES, 2)):
        decoded = runtimes(decoder, "decode", latents[encoder][number::6])
        np.testing.assert_array_equal(decoded, expected[number::6], err_msg=f"{encoder} {decoder}")


def test_unusual_images_are_given_back_or_refused(case):
    model, runtimes, _ = case
    if not model.is_invertible:
        pytest.skip("a VAE does not give images back")
    outcomes = TOOL["outcomes_of_unusual"](runtimes, model, every=3)
    for runtime in ("python", "saved_model"):
        assert {*outcomes[runtime]} <= {"given back", "refused"}, runtime
    for of_file, of_model in zip(outcomes["tflite"], outcomes["python"], strict=True):
        assert of_file == "given back" or of_model == "refused"
