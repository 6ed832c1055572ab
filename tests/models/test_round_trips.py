"""Images whose latents do not give them back in float32 are refused, not silently changed."""

import numpy as np
import pytest
import tensorflow as tf

import tfgen
from tfgen.errors import InputError
from tfgen.export.signatures import Signatures
from tfgen.models.round_trips import as_seen

REFUSED = "the latents of some images do not give them back in float32"
BLACK, WHITE = np.zeros((1, 4, 4, 1), "uint8"), np.full((1, 4, 4, 1), 255, "uint8")


def overflowing(**options):
    """A flow whose split divides by exp(-100) on white images and by 1 on black ones."""
    model = tfgen.models.Glow(
        (4, 4, 1), levels=2, depth=1, width=4, permutation="reverse", **options
    )
    (prior,) = (layer for layer in model.layers if layer.name.endswith("split_prior"))
    kernel, bias = prior.get_weights()
    kernel[1, 1, :, 2:], bias[2:] = -50.0, -50.0
    prior.set_weights([kernel, bias])
    return model


def test_images_that_are_not_given_back_are_refused_with_their_rows():
    model = overflowing()
    np.testing.assert_array_equal(model.reconstruct(BLACK), BLACK)
    both = np.concatenate([BLACK, WHITE])
    for verb in (model.encode, model.reconstruct):
        with pytest.raises(InputError, match=rf"{REFUSED}.*\(1 of 2 images, rows 1\)"):
            verb(both)
    assert np.isfinite(model.log_prob(BLACK)[0])
    assert model.log_prob(WHITE)[0] == -np.inf
    functions = Signatures(model, names=("encode", "reconstruct")).functions
    found = functions["reconstruct"](images=tf.constant(BLACK))["images"]
    np.testing.assert_array_equal(found, BLACK)
    for function in functions.values():
        with pytest.raises(tf.errors.InvalidArgumentError, match=REFUSED):
            function(images=tf.constant(both))


def test_a_model_that_does_not_promise_round_trips_refuses_nothing():
    model = overflowing(network_dtype="bfloat16")
    assert not np.isfinite(model.encode(WHITE)).all()


@pytest.mark.parametrize("bits", range(1, 9))
def test_images_as_a_model_sees_them_have_the_nearest_of_its_levels(bits):
    values = np.arange(256, dtype="uint8")
    levels = values // 2 ** (8 - bits)
    expected = np.round(255 * levels.astype("float64") / (2**bits - 1))
    np.testing.assert_array_equal(as_seen(values, bits), expected)
