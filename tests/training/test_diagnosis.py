"""The diagnosis of a diverged training names the layer that was broken."""

import numpy as np
import pytest
import tensorflow as tf

import tfgen
from tfgen.training import state, summary
from tfgen.training.diagnosis import batch_hash, first_non_finite
from tfgen.training.memory import Memory, estimate, is_counted, peak_bytes


def images():
    return tfgen.data.load("digits").images("train")[:8]


def glow(**options):
    model = tfgen.models.Glow((8, 8, 1), levels=2, depth=2, width=8, **options)
    model.compile(tfgen.optimizers.Adam(), seed=0)
    model.initialize(images())
    return model


def vae(learning_rate=1e-3):
    model = tfgen.models.VAE((8, 8, 1), latent_dim=2, hidden_units=[8, 8])
    model.compile(tfgen.optimizers.Adam(learning_rate), seed=0)
    return model


@pytest.mark.parametrize("model", [glow, vae])
def test_no_layer_is_blamed_if_nothing_is_broken(model):
    assert first_non_finite(model(), images()) is None


@pytest.mark.parametrize("part", ["encoder", "decoder"])
def test_a_broken_layer_of_a_network(part):
    model = vae()
    layers = [layer for layer in getattr(model, part).layers if layer.weights]
    layers[-1].bias.assign(tf.fill(layers[-1].bias.shape, np.inf))
    assert first_non_finite(model, images()) == f"the output of layer {layers[-1].path}"


@pytest.mark.parametrize("memory", ["plain", "checkpoint", "reversible"])
def test_a_broken_step_of_a_flow(memory):
    model = glow(memory=memory)
    weight = next(w for w in model.trainable_weights if "level1_step1_actnorm" in w.path)
    weight.assign(tf.fill(weight.shape, np.nan))
    assert first_non_finite(model, images()) == "the output of bijector glow_flow_level1_step1"


def test_a_gradient_that_is_not_finite(monkeypatch):
    model = vae()
    loss = model._training_loss
    weight = model.trainable_weights[2]

    def with_infinite_slope(images, labels, noise):
        nats, losses, parts = loss(images, labels, noise)
        return nats, losses + tf.sqrt(tf.reduce_sum(weight - tf.stop_gradient(weight))), parts

    monkeypatch.setattr(model, "_training_loss", with_infinite_slope)
    assert first_non_finite(model, images()) == f"the gradient of {weight.path}"


def test_a_step_that_is_too_large():
    model = vae(learning_rate=1e39)
    found = first_non_finite(model, images())
    assert found == f"the optimizer's update of {model.trainable_weights[0].path}"
    assert not state.is_finite(model)


def test_a_log_likelihood_that_is_not_finite(monkeypatch):
    model = vae()
    loss = model._training_loss

    def divided(*args):
        return tf.nest.map_structure(lambda values: values / 0.0, loss(*args))

    monkeypatch.setattr(model, "_training_loss", divided)
    assert first_non_finite(model, images()).startswith("the log-likelihood")


def test_the_hash_is_that_of_the_pixels():
    import hashlib

    batch = images()
    assert batch_hash(tf.constant(batch)) == hashlib.sha256(batch.tobytes()).hexdigest()
    assert batch_hash(batch[::-1]) != batch_hash(batch)


@pytest.mark.skipif(not is_counted(), reason="TensorFlow does not count memory on this CPU")
@pytest.mark.parametrize("memory", ["plain", "reversible"])
def test_the_memory_of_a_step_is_estimated(memory):
    model = tfgen.models.Glow((16, 16, 3), levels=1, depth=2, width=64, memory=memory)
    model.compile(tfgen.optimizers.Adam(temporal_averaging=True))
    found = estimate(model, 256)
    assert found.weights == pytest.approx(4 * model.count_params(), rel=1e-3)
    assert found.optimizer == pytest.approx(3 * found.weights, rel=0.02)
    assert found.step == pytest.approx(peak_bytes(model, 256), rel=0.35)
    gradients = sum(4 * np.prod(weight.shape) for weight in model.trainable_weights)
    assert estimate(model, 4).step >= gradients
    assert found.total == found.weights + found.optimizer + found.step


def test_memory_that_tensorflow_does_not_count_is_unknown(monkeypatch):
    def not_available(device):
        raise ValueError(f"Allocator stats not available for device '{device}'")

    monkeypatch.setattr(tf.config.experimental, "get_memory_info", not_available)
    model = vae()
    found = estimate(model, 64)
    assert (found.step, found.total) == (None, None)
    assert found.weights == 4 * model.count_params()
    assert "a step of 64 images is unknown" in summary.of_memory(found, 64)
    known = summary.of_memory(Memory(weights=2**20, optimizer=2**21, step=2**22), 64)
    assert known == (
        "memory of each device, approximately: 7.0 MiB (1.0 weights, 2.0 optimizer, 4.0 for the "
        "step of 64 images)"
    )
