"""Compiled graphs never answer with results of earlier weights."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfgen
from tfgen.errors import InputError

MODELS = {
    "glow": lambda: tfgen.models.Glow(
        (4, 4, 1),
        levels=1,
        depth=1,
        width=3,
        num_classes=2,
        dequantization="variational",
        dequantization_depth=1,
    ),
    "vae": lambda: tfgen.models.VAE(
        (4, 4, 1),
        latent_dim=2,
        hidden_units=[3],
        prior="flow",
        posterior="flow",
        flow_steps=1,
        flow_width=3,
    ),
}


def answers(model, *names):
    """What each verb and each bound answers, by name; the VAE's bounds have three graphs."""
    images = np.random.default_rng(0).integers(0, 256, (3, 4, 4, 1), "uint8")
    latents = np.random.default_rng(1).normal(size=(3, model.latent_dim)).astype("float32")
    questions = {
        "log_prob": lambda: model.log_prob(images),
        "log_prob of 2 samples": lambda: model.log_prob(images, num_samples=2),
        "encode": lambda: model.encode(images),
        "decode": lambda: model.decode(latents),
        "sample": lambda: model.sample(3, seed=1),
        "call": lambda: model(images),
        "predict": lambda: model.predict(images, verbose=0),
    }
    if model.num_classes:
        questions["log_prob of labels"] = lambda: model.log_prob(images, [0, 1, 0])
    else:
        questions["log_prob of 300 samples"] = lambda: model.log_prob(images, num_samples=300)
    return {name: np.asarray(questions[name]()) for name in names or questions}


def change_weights(model, seed):
    generator = np.random.default_rng(seed)
    for weight in model.trainable_weights:
        noise = generator.normal(scale=0.3, size=weight.shape)
        weight.assign(weight + noise.astype("float32"))


@pytest.mark.parametrize("kind", MODELS)
def test_graphs_of_precomputed_results_are_gone_after_the_scope(kind):
    model = MODELS[kind]()
    change_weights(model, 0)
    with model.precomputed():
        inside = answers(model)
    change_weights(model, 1)
    found = answers(model)
    tf.config.run_functions_eagerly(True)
    try:
        expected = answers(model)  # without graphs
    finally:
        tf.config.run_functions_eagerly(False)
    for name, value in found.items():
        np.testing.assert_allclose(value, expected[name], rtol=1e-4, atol=1e-4, err_msg=name)
        assert np.any(value != inside[name]), f"the new weights do not change {name}"


def test_graphs_read_the_weights_when_they_run(tmp_path):
    names = ("log_prob", "decode", "predict")
    model, other = MODELS["vae"](), MODELS["vae"]()
    change_weights(other, 0)
    other.save_weights(tmp_path / "other.weights.h5")
    expected = answers(other, *names)
    for change in (
        lambda: model.set_weights(other.get_weights()),
        lambda: model.load_weights(tmp_path / "other.weights.h5"),
    ):
        change_weights(model, 1)
        before = answers(model, *names)
        change()
        for name, value in answers(model, *names).items():
            np.testing.assert_array_equal(value, expected[name], err_msg=name)
            assert np.any(value != before[name]), name


def test_weights_do_not_change_where_results_are_precomputed(tmp_path):
    model = MODELS["vae"]()
    model.compile(keras.optimizers.SGD(0.1))
    model.save_weights(tmp_path / "model.weights.h5")
    images = np.zeros((2, 4, 4, 1), "uint8")
    with model.precomputed():
        for change in (
            lambda: model.set_weights(model.get_weights()),
            lambda: model.load_weights(tmp_path / "model.weights.h5"),
            lambda: model.fit(images, verbose=0),
            lambda: model.train_on_batch(images),
        ):
            with pytest.raises(InputError, match=r"outside of the scope of precomputed\(\)"):
                change()
    model.set_weights(model.get_weights())


@pytest.mark.parametrize("memory", ["plain", "reversible"])
def test_a_change_of_trainable_reaches_the_next_training_step(memory):
    model = tfgen.models.Glow((4, 4, 1), levels=1, depth=2, width=3, memory=memory)
    images = np.random.default_rng(0).integers(0, 256, (4, 4, 4, 1), "uint8")
    model.initialize(images)
    model.compile(keras.optimizers.SGD(1e-2))
    layers = {layer.name.removeprefix("glow_flow_level0_"): layer for layer in model.layers}
    for frozen in (["step1_coupling_network", "step0_mixing"], []):
        for name, layer in layers.items():
            layer.trainable = name not in frozen
        before = {name: layer.get_weights() for name, layer in layers.items()}
        model.fit(images, verbose=0)
        for name, layer in layers.items():
            changed = any(
                np.any(a != b) for a, b in zip(layer.get_weights(), before[name], strict=True)
            )
            assert changed == (name not in frozen), (name, frozen)
