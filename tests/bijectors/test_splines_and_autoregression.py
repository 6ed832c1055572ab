"""Splines and masked autoregressive steps compared with TFP's, and halves of different sizes."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_probability import bijectors as tfb

from tfgen import bijectors, networks
from tfgen.bijectors import rational_quadratic
from tfgen.bijectors.shared_trace import SharedTrace
from tfgen.bijectors.weights import values_of
from tfgen.errors import InputError

BINS, BOUND = 5, 3.0


def random_parameters(count, scale=2.0, dtype="float64"):
    return tf.random.stateless_normal([count, 3 * BINS - 1], [1, 2], 0.0, scale, dtype)


def softmax(values):
    exponentials = np.exp(values - values.max(-1, keepdims=True))
    return exponentials / exponentials.sum(-1, keepdims=True)


def tfp_spline(parameters):
    """TFP's spline with the same knots, from the equations of the docstring in NumPy."""
    widths, heights, slopes = np.split(parameters.numpy(), [BINS, 2 * BINS], axis=-1)
    sizes = [2 * BOUND * (1e-3 + (1 - BINS * 1e-3) * softmax(v)) for v in (widths, heights)]
    slopes = 1e-3 + np.logaddexp(0.0, slopes + np.log(np.expm1(1 - 1e-3)))
    return tfb.RationalQuadraticSpline(*sizes, slopes, range_min=-BOUND)


def test_splines_and_their_inverses_equal_those_of_tfp():
    parameters = random_parameters(400)
    # Both ends, positions outside, and a dense grid inside.
    x = tf.concat([[-BOUND, BOUND, -7.5, 9.0], np.linspace(-3.2, 3.2, 396)], axis=0)
    x = tf.cast(x, "float64")
    spline = rational_quadratic.spline_of(parameters, BINS, BOUND)
    y, log_slope = rational_quadratic.evaluate(x, spline, BOUND)
    expected = tfp_spline(parameters)
    np.testing.assert_allclose(y, expected.forward(x), rtol=0, atol=1e-12)
    np.testing.assert_allclose(log_slope, expected.forward_log_det_jacobian(x), rtol=0, atol=1e-9)
    back, minus_log_slope = rational_quadratic.invert(x, spline, BOUND)
    np.testing.assert_allclose(back, expected.inverse(x), rtol=0, atol=1e-9)
    np.testing.assert_allclose(
        minus_log_slope, expected.inverse_log_det_jacobian(x), rtol=0, atol=1e-7
    )


def test_gradients_of_a_spline_and_of_its_inverse_are_finite_and_equal_those_of_tfp():
    parameters = random_parameters(9)
    x = tf.constant([-BOUND, BOUND, -1e30, 1e30, -8.0, -2.0, 0.0, 1.0, 2.9], "float64")
    for ours, theirs in (
        (rational_quadratic.evaluate, lambda s, x: (s.forward(x), s.forward_log_det_jacobian(x))),
        (rational_quadratic.invert, lambda s, x: (s.inverse(x), s.inverse_log_det_jacobian(x))),
    ):
        with tf.GradientTape(persistent=True) as tape:
            tape.watch([x, parameters])
            value, log_slope = ours(x, rational_quadratic.spline_of(parameters, BINS, BOUND), BOUND)
        for target in (value, log_slope):
            for gradient in tape.gradient(target, [x, parameters]):
                assert np.isfinite(gradient).all()
        inner = slice(5, 9)
        spline = tfp_spline(parameters[inner])
        with tf.GradientTape(persistent=True) as other:
            part = x[inner]
            other.watch(part)
            expected = theirs(spline, part)
        for found, wanted in zip((value, log_slope), expected, strict=True):
            np.testing.assert_allclose(
                tape.gradient(found, x)[inner], other.gradient(wanted, part), rtol=1e-6
            )


def test_steep_and_flat_splines_return_to_where_they_came_from_in_float32():
    parameters = random_parameters(2000, scale=8.0, dtype="float32")
    x = tf.random.stateless_uniform([2000], [3, 4], -BOUND, BOUND)
    spline = rational_quadratic.spline_of(parameters, BINS, BOUND)
    y, log_slope = rational_quadratic.evaluate(x, spline, BOUND)
    back, _ = rational_quadratic.invert(y, spline, BOUND)
    # y is rounded to float32, which in the flattest pieces alone moves x by its rounding / slope.
    rounding = 4e-7 * BOUND * (1.0 + tf.exp(-log_slope))
    assert np.mean(abs(back - x) <= 4 * rounding) > 0.999
    assert np.max(abs(back - x) / rounding) < 100


def shaken(bijector, scale=0.2):
    for number, variable in enumerate(bijector.trainable_variables):
        noise = tf.random.stateless_normal(variable.shape, [7, number], 0.0, scale, variable.dtype)
        variable.assign_add(noise)
    return bijector


def test_a_masked_autoregressive_step_equals_tfps_flow_and_its_network_looks_only_back():
    keras.utils.set_random_seed(0)
    step = shaken(bijectors.MaskedAutoregressive((5,), width=32, dtype="float64"))
    x = tf.random.stateless_normal([4, 5], [0, 0], dtype="float64")
    (network,) = step.layers

    def shift_and_log_scale(x):
        # TFP: x = z exp(log_scale) + shift. Here: z = s x + t, log s = 2 tanh(r / 2).
        shift, r = np.split(network(x).numpy(), 2, axis=-1)
        log_s = 2.0 * np.tanh(0.5 * r)
        return -shift * np.exp(-log_s), -log_s

    theirs = tfb.MaskedAutoregressiveFlow(shift_and_log_scale)
    z, log_det = step.inverse_and_log_det(x)
    np.testing.assert_allclose(z, theirs.inverse(x), rtol=0, atol=1e-12)
    np.testing.assert_allclose(log_det, theirs.inverse_log_det_jacobian(x, 1), rtol=0, atol=1e-12)
    np.testing.assert_allclose(step.forward(x), theirs.forward(x + 0.0), rtol=0, atol=1e-12)
    with tf.GradientTape() as tape:
        tape.watch(x)
        outputs = tf.reshape(network(x), [4, 2, 5])
    jacobian = tape.batch_jacobian(outputs, x).numpy()  # [4, outputs, dimension, input]
    depends = np.any(jacobian != 0, axis=(0, 1))
    np.testing.assert_array_equal(depends, np.tril(np.ones([5, 5], bool), -1))


def test_masked_networks_are_saved_with_their_masks(tmp_path):
    network = networks.masked_mlp(4, 2, context_channels=3, width=7)
    for weight in network.trainable_weights:
        weight.assign_add(tf.random.stateless_normal(weight.shape, [1, 1]))
    network.save(tmp_path / "network.keras")
    x = tf.random.stateless_normal([2, 7], [0, 0])
    again = keras.saving.load_model(tmp_path / "network.keras")
    np.testing.assert_array_equal(again(x), network(x))
    changed = network(x + tf.constant([0.0] * 4 + [1.0] * 3))
    assert np.all(changed != network(x))  # every output depends on the context


@pytest.mark.parametrize(
    "build",
    [
        lambda: bijectors.RationalQuadraticCoupling((5,), width=6, dtype="float64"),
        lambda: bijectors.GlowStep((3,), width=6, dtype="float64"),
        lambda: bijectors.GlowStep((2, 2, 5), permutation="shuffle", width=6, dtype="float64"),
    ],
)
def test_gradients_from_outputs_alone_equal_automatic_differentiation(build):
    step = shaken(build())
    z = tf.random.stateless_normal([3, *step.latent_shape], [0, 1], dtype="float64")
    grad_z = tf.random.stateless_normal(z.shape, [0, 2], dtype="float64")
    grad_log_det = tf.constant([1.0, -2.0, 0.5], "float64")
    trace = SharedTrace(step)
    arguments = (values_of(step.layers), grad_z, grad_log_det, [])
    x, *found = trace.inverse_vjp_from_output(z, *arguments)
    np.testing.assert_allclose(x, step.forward(z), rtol=0, atol=1e-12)
    expected = trace.inverse_vjp_from_input(x, *arguments)
    for one, other in zip(tf.nest.flatten(found), tf.nest.flatten(expected), strict=True):
        if other is not None:
            np.testing.assert_allclose(one, other, rtol=0, atol=1e-9)
    assert sum(one is not None for one in tf.nest.flatten(found)) > len(step.trainable_variables)


def test_with_an_odd_number_of_channels_the_larger_half_changes():
    for coupling in (
        shaken(bijectors.AffineCoupling((5,), width=6)),
        shaken(bijectors.RationalQuadraticCoupling((5,), width=6)),
    ):
        x = tf.random.stateless_uniform([4, 5], [0, 0], -1.0, 1.0)
        unchanged = np.all(np.equal(coupling.inverse(x), x), axis=0)
        np.testing.assert_array_equal(unchanged, [False, False, False, True, True])


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: bijectors.GlowStep((1,)), "divides a vector in two, so its dimension must be at"),
        (lambda: bijectors.RationalQuadraticCoupling((4, 4, 1)), "put a Squeeze before"),
        (lambda: bijectors.RationalQuadraticCoupling((2,), num_bins=1), "num_bins must be"),
        (lambda: bijectors.RationalQuadraticCoupling((2,), tail_bound=0), "tail_bound must be"),
        (lambda: bijectors.MaskedAutoregressive((1,)), "no value comes before another"),
        (lambda: bijectors.MaskedAutoregressive((4, 4, 1)), r"must be \(D,\), of vectors, got"),
        (lambda: bijectors.MaskedAutoregressive((9,), width=7), "width must be an integer of at"),
        (lambda: bijectors.MaskedAutoregressive((2,), hidden_layers=0), "hidden_layers must be"),
        (lambda: bijectors.MaskedAutoregressive((2,), scale="exp"), "tanh, sigmoid, got 'exp'"),
    ],
)
def test_errors_say_what_is_wrong(build, message):
    with pytest.raises(InputError, match=message):
        build()
