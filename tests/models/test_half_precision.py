"""Half precision is a way to train: what is saved and loaded computes in float32."""

import json
import math

import keras
import numpy as np
import pytest

import tfgen
from tfgen.errors import InputError
from tfgen.files import read_json, sha256, write_json
from tfgen.models import preset

IMAGES = np.random.default_rng(0).integers(0, 256, (5, 4, 4, 1), "uint8")
MODELS = {
    "Glow": lambda dtype: tfgen.models.Glow(
        (4, 4, 1), levels=1, depth=2, width=8, network_dtype=dtype, memory="checkpoint"
    ),
    "VAE": lambda dtype: tfgen.models.VAE(
        (4, 4, 1), latent_dim=2, hidden_units=[8], prior="flow", flow_steps=1, network_dtype=dtype
    ),
}
BOUNDS = {
    "Glow": "exact density of the dequantized image",
    "VAE": "lower bound, 1 importance sample, mean of 8 draws",
}
HALF_BOUNDS = {
    "Glow": "density of the dequantized image, networks in bfloat16, round trips are not exact",
    "VAE": "lower bound, 1 importance sample, mean of 8 draws, networks in bfloat16",
}


def trained(kind, dtype):
    model, generator = MODELS[kind](dtype), np.random.default_rng(0)
    for weight in model.trainable_weights:
        weight.assign_add(generator.normal(0.0, 0.1, weight.shape).astype("float32"))
    return model


@pytest.mark.parametrize("kind", MODELS)
def test_what_is_saved_computes_in_float32_unless_the_caller_asks(kind, tmp_path):
    half, full = trained(kind, "bfloat16"), MODELS[kind](None)
    full.set_weights(half.get_weights())
    assert np.any(half.log_prob(IMAGES) != full.log_prob(IMAGES))
    half.save_preset(tmp_path / "model")
    config = read_json(tmp_path / "model" / "config.json")["config"]
    assert config == {**json.loads(json.dumps(half.get_config())), "network_dtype": None}
    loaded = tfgen.zoo.load(tmp_path / "model")
    np.testing.assert_array_equal(loaded.log_prob(IMAGES), full.log_prob(IMAGES))
    assert tfgen.zoo.card(tmp_path / "model")["bound"] == loaded.bound == BOUNDS[kind]
    again = tfgen.zoo.load(tmp_path / "model", network_dtype="bfloat16")
    np.testing.assert_array_equal(again.log_prob(IMAGES), half.log_prob(IMAGES))
    assert again.bound == again.protocol()["bound"] == half.bound == HALF_BOUNDS[kind]
    assert again.bound_of(3).endswith(HALF_BOUNDS[kind].partition("networks")[2])
    assert (loaded.is_invertible, again.is_invertible) == (kind == "Glow", False)
    assert {w.dtype for w in again.trainable_weights} == {"float32"}
    # A directory that an earlier version wrote.
    written = read_json(tmp_path / "model" / "config.json")
    written["config"]["network_dtype"] = "bfloat16"
    write_json(tmp_path / "model" / "config.json", written)
    card = read_json(tmp_path / "model" / "card.json")
    card["files"]["config.json"] = sha256(tmp_path / "model" / "config.json")
    write_json(tmp_path / "model" / "card.json", card)
    assert preset.load(tmp_path / "model").bound == BOUNDS[kind]


def test_unknown_dtypes_are_refused():
    known = "network_dtype must be one of bfloat16, float16, float32, float64, got"
    for dtype in ("int8", "bf16"):
        with pytest.raises(InputError, match=f"{known} '{dtype}'"):
            tfgen.zoo.load("vae-digits", network_dtype=dtype)
        for kind in MODELS.values():
            with pytest.raises(InputError, match=f"{known} '{dtype}'"):
                kind(dtype)
    with pytest.raises(InputError, match=f"{known} 'int8'"):
        tfgen.bijectors.GlowStep((4,), width=4, network_dtype="int8")


def test_networks_of_the_caller_keep_their_dtype_policy(tmp_path):
    encoder, decoder = (
        keras.Sequential(
            [
                keras.Input(inputs),
                keras.layers.Flatten(),
                keras.layers.Dense(math.prod(outputs), dtype=dtype),
                keras.layers.Reshape(outputs),
            ]
        )
        for inputs, outputs, dtype in (
            ((2, 2, 1), (4,), "mixed_bfloat16"),
            ((2,), (2, 2, 1), "float32"),
        )
    )
    model = tfgen.models.VAE((2, 2, 1), latent_dim=2, encoder=encoder, decoder=decoder)
    assert model.bound.endswith("networks in bfloat16")
    model.save_preset(tmp_path / "model")
    assert tfgen.zoo.load(tmp_path / "model").bound == model.bound
    with pytest.raises(InputError, match="this model has networks of its own"):
        tfgen.zoo.load(tmp_path / "model", network_dtype="float16")
