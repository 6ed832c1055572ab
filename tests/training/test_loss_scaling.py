"""Loss scaling skips the steps that overflow, on all replicas or none, and trains."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfgen
from tfgen.optimizers.averaging import unwrapped
from tfgen.training import loss_scaling, recipe, run, strategy
from tfgen.training.checkpoint import Checkpoints
from tfgen.training.loss_scaling import LossScaling


def test_gradients_too_small_for_float16_arrive():
    """1e-9 is zero in float16; with loss scaling it moves the weight as it would in float32."""
    tiny = 1e-9
    moved = {}
    for scale in (1.0, 2.0**15):
        weight = keras.Variable([1.0])
        optimizer = LossScaling(keras.optimizers.SGD(1e6), initial_scale=scale)
        optimizer.build([weight])
        with tf.GradientTape() as tape:
            half = tf.cast(weight.value, tf.float16)
            loss = tf.cast(half, tf.float32) * tiny
            loss = optimizer.scale_loss(tf.reduce_sum(loss))
        optimizer.apply(tape.gradient(loss, [weight.value]), [weight])
        moved[scale] = 1.0 - float(weight[0])
    assert moved[1.0] == 0.0
    assert moved[2.0**15] == pytest.approx(1e6 * tiny, rel=1e-2)


def test_an_overflow_on_one_replica_leaves_the_step_out_on_all():
    mirrored = strategy.choose("mirrored", "cpu:2")
    with mirrored.scope():
        weight = keras.Variable([1.0])
        optimizer = LossScaling(tfgen.optimizers.Adam(0.1), initial_scale=8.0)
        optimizer.build([weight])

    @tf.function(autograph=False)
    def step(overflows):
        def on_replica():
            number = tf.distribute.get_replica_context().replica_id_in_sync_group
            bad = tf.logical_and(tf.equal(number, 1), overflows)
            optimizer.apply([tf.where(bad, [np.inf], [8.0])], [weight])

        mirrored.run(on_replica)

    seen = []
    for overflows in (True, False, True):
        step(tf.constant(overflows))
        values = [float(value[0]) for value in weight.value.values]
        seen.append((*values, float(optimizer.dynamic_scale.value.numpy())))
    once = pytest.approx(0.9, abs=1e-6)
    assert seen == [(1.0, 1.0, 4.0), (once, once, 4.0), (once, once, 2.0)]
    assert tuple(int(v.value.numpy()) for v in (optimizer._iterations, optimizer.iterations)) == (
        3,
        1,
    )


def test_only_float16_is_scaled():
    for dtype, scaled in ((None, False), ("bfloat16", False), ("float16", True)):
        model = tfgen.models.VAE((8, 8, 1), latent_dim=2, hidden_units=[8], network_dtype=dtype)
        optimizer = tfgen.optimizers.Adam()
        found = loss_scaling.wrapped_if_needed(optimizer, model)
        assert isinstance(found, LossScaling) == scaled
        assert unwrapped(found) is optimizer


def test_a_recipe_in_float16_trains_and_keeps_its_scale(tmp_path):
    settings = ["epochs=2", "batch_size=200", "hidden_units=[16]", "temporal_averaging=true"]
    bits = {}
    for dtype in ("float32", "float16"):
        chosen = recipe.load("vae-digits", [*settings, f"network_dtype={dtype}"])
        run.train(chosen, tmp_path / dtype)
        state, _ = Checkpoints(tmp_path / dtype / "checkpoints").latest()
        bits[dtype] = [record["val_bits_per_dim"] for record in state.facts["history"]]
    assert bits["float16"] == pytest.approx(bits["float32"], rel=1e-3)
    assert bits["float16"][1] < bits["float16"][0]
    assert any(array.shape == () and array == 2.0**15 for array in state.arrays.values())
