"""Tests that are specific to each bijector."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_probability import bijectors as tfb
from tensorflow_probability import distributions as tfd

import tfgen
from tfgen import bijectors
from tfgen.errors import InputError


def test_actnorm_normalizes_the_batch_it_is_initialized_with_and_only_that_one():
    generator = np.random.default_rng(0)
    x = generator.normal([5.0, -2.0], [3.0, 0.1], size=(64, 4, 4, 2)).astype("float32")
    actnorm = bijectors.ActNorm((4, 4, 2))
    assert not actnorm.initialized
    np.testing.assert_array_equal(actnorm.inverse(x), x)
    z = actnorm.initialize(x).numpy()
    np.testing.assert_allclose(z.mean((0, 1, 2)), 0.0, atol=1e-5)
    np.testing.assert_allclose(z.std((0, 1, 2)), 1.0, atol=1e-4)
    assert actnorm.initialized
    np.testing.assert_array_equal(actnorm.initialize(7 * x), actnorm.inverse(7 * x))


def test_actnorm_survives_channels_without_variance():
    x = np.stack([np.full((8, 4, 4), 3.0), np.random.default_rng(0).normal(size=(8, 4, 4))], -1)
    z, log_det = _initialized(bijectors.ActNorm((4, 4, 2)), x.astype("float32"))
    assert np.isfinite(z).all()
    assert np.isfinite(log_det).all()
    np.testing.assert_allclose(z[..., 0], 0.0, atol=1e-6)


def _initialized(bijector, x):
    bijector.initialize(x)
    return [value.numpy() for value in bijector.inverse_and_log_det(x)]


def test_glow_initializes_each_actnorm_from_its_own_inputs():
    x = np.random.default_rng(0).normal(2.0, 5.0, size=(256, 8, 8, 1)).astype("float32")
    flow = bijectors.Glow((8, 8, 1), levels=2, depth=3, width=8)
    z = flow.initialize(x)
    np.testing.assert_allclose(z, flow.inverse(x), atol=2e-5)
    np.testing.assert_allclose(np.mean(z), 0.0, atol=1e-2)
    np.testing.assert_allclose(np.std(z), 1.0, atol=1e-2)


@pytest.mark.parametrize("lu", [True, False])
def test_invertible_conv_starts_as_a_rotation_and_equals_a_convolution(lu):
    mixing = bijectors.InvertibleConv1x1((5, 5, 6), lu=lu, seed=3, dtype="float64")
    matrix = mixing.matrix().numpy()
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(6), atol=1e-6)
    np.testing.assert_allclose(mixing.inverse_matrix().numpy() @ matrix, np.eye(6), atol=1e-12)
    x = tf.random.stateless_normal([2, 5, 5, 6], [0, 1], dtype="float64")
    convolved = tf.nn.conv2d(x, tf.transpose(matrix)[None, None], 1, "SAME")
    np.testing.assert_allclose(mixing.inverse(x), convolved, atol=1e-12)


def test_both_forms_of_invertible_conv_agree():
    lu = bijectors.InvertibleConv1x1((3, 3, 5), lu=True, seed=3, dtype="float64")
    plain = bijectors.InvertibleConv1x1((3, 3, 5), lu=False, seed=3, dtype="float64")
    np.testing.assert_allclose(lu.matrix(), plain.matrix(), atol=1e-7)
    np.testing.assert_allclose(lu.log_det(), plain.log_det(), atol=1e-5)


def test_squeeze_gathers_blocks_of_pixels():
    x = np.arange(16.0, dtype="float32").reshape(1, 4, 4, 1)
    z = bijectors.Squeeze((4, 4, 1)).inverse(x).numpy()
    np.testing.assert_array_equal(z[0, 0, 0], [0, 1, 4, 5])
    np.testing.assert_array_equal(z[0, 1, 1], [10, 11, 14, 15])


@pytest.mark.parametrize("kind", ["affine", "additive"])
def test_couplings_leave_half_of_the_channels_alone_and_start_as_the_identity(kind):
    cls = {"affine": bijectors.AffineCoupling, "additive": bijectors.AdditiveCoupling}[kind]
    coupling = cls((4, 4, 6), width=8)
    x = tf.random.stateless_normal([2, 4, 4, 6], [0, 0])
    np.testing.assert_array_equal(coupling.inverse(x), x)
    for variable in coupling.trainable_variables:
        variable.assign_add(tf.random.stateless_normal(variable.shape, [0, 1]))
    z = coupling.inverse(x)
    np.testing.assert_array_equal(z[..., 3:], x[..., 3:])
    assert np.all(z[..., :3] != x[..., :3])


def test_a_dtype_is_a_name_or_a_tf_dtype():
    x = tf.random.stateless_normal([2, 4, 4, 4], [0, 0], dtype="float64")
    coupling = bijectors.AffineCoupling((4, 4, 4), width=8, dtype=tf.float64)
    np.testing.assert_array_equal(coupling.inverse(x), x)


def test_couplings_accept_any_keras_network():
    network = keras.Sequential([keras.layers.Conv2D(4, 1, kernel_initializer="random_normal")])
    coupling = bijectors.AffineCoupling((4, 4, 4), network=network)
    assert len(coupling.trainable_variables) == 2
    with pytest.raises(InputError, match=r"must map \[N, 4, 4, 2\] to \[N, 4, 4, 4\]"):
        bijectors.AffineCoupling((4, 4, 4), network=keras.layers.Conv2D(3, 1))
    three = keras.Sequential([keras.Input((4, 4, 3)), keras.layers.Conv2D(4, 1)])
    with pytest.raises(InputError, match=r"must map \[N, 4, 4, 2\].*does not accept such inputs"):
        bijectors.AffineCoupling((4, 4, 4), network=three)
    half = keras.Input((4, 4, 2))
    two = keras.Model(half, [keras.layers.Conv2D(2, 1)(half), keras.layers.Conv2D(2, 1)(half)])
    with pytest.raises(InputError, match="but returns a list: concatenate its outputs"):
        bijectors.AffineCoupling((4, 4, 4), network=two)
    with pytest.raises(InputError, match="does not accept such inputs"):
        bijectors.AffineCoupling((4, 4, 4), network=keras.layers.Dot(-1))
    with pytest.raises(InputError, match=r"one of convolutional, gated, got 'gatd'"):
        bijectors.AffineCoupling((4, 4, 4), network="gatd")
    with pytest.raises(InputError, match="a gated network is for images"):
        bijectors.AffineCoupling((4,), network="gated")
    with pytest.raises(InputError, match="blocks must be a positive integer, got 0"):
        bijectors.AffineCoupling((4, 4, 4), network="gated", blocks=0)


@pytest.mark.parametrize("parity", [0, 1])
def test_checkerboard_couplings_change_the_pixels_of_one_color_by_those_of_the_other(parity):
    coupling = bijectors.CheckerboardCoupling((6, 4, 1), parity=parity, width=8)
    for variable in coupling.trainable_variables:
        variable.assign_add(tf.random.stateless_normal(variable.shape, [0, 1], stddev=0.3))
    x = tf.random.stateless_normal([1, 6, 4, 1], [0, 0])
    with tf.GradientTape() as tape:
        tape.watch(x)
        z = coupling.inverse(x)
    changes = (np.add.outer(np.arange(6), np.arange(4)) % 2 == parity).ravel()
    jacobian = np.reshape(tape.jacobian(z, x), [24, 24])
    of_changed = jacobian[changes][:, changes]
    np.testing.assert_array_equal(jacobian[~changes][:, ~changes], np.eye(12))
    np.testing.assert_array_equal(jacobian[~changes][:, changes], 0.0)
    np.testing.assert_array_equal(of_changed, np.diag(np.diag(of_changed)))
    assert np.any(jacobian[changes][:, ~changes])
    with pytest.raises(InputError, match="parity must be an integer from 0 to 1, got 2"):
        bijectors.CheckerboardCoupling((6, 4, 1), parity=2)


@pytest.mark.parametrize("shape", [(6,), (4, 4, 6)])
@pytest.mark.parametrize("cls", [bijectors.AffineCoupling, bijectors.GlowStep])
def test_conditional_couplings_depend_on_the_context_and_stay_exact(cls, shape):
    bijector = cls(shape, width=8, context_channels=3, dtype="float64")
    for variable in bijector.trainable_variables:
        variable.assign_add(
            0.1 * tf.random.stateless_normal(variable.shape, [0, 1], dtype="float64")
        )
    x = tf.random.stateless_normal([2, 5, *shape], [0, 0], dtype="float64")
    context = tf.random.stateless_normal([2, 5, *shape[:-1], 3], [0, 1], dtype="float64")
    z, log_det = bijector.inverse_and_log_det(x, context)
    np.testing.assert_allclose(bijector.forward(z, context=context), x, atol=1e-9)
    np.testing.assert_allclose(
        bijector.inverse_log_det_jacobian(x, event_ndims=len(shape), context=context), log_det
    )
    assert np.all(bijector.inverse_and_log_det(x, context + 1.0)[1] != log_det)
    base = tfd.Sample(tfd.Normal(tf.zeros([], "float64"), 1.0), shape)
    log_prob = tfd.TransformedDistribution(base, bijector).log_prob(
        x, bijector_kwargs={"context": context}
    )
    np.testing.assert_allclose(log_prob, base.log_prob(z) + log_det)
    with pytest.raises(InputError, match="needs a context"):
        bijector.inverse(x)
    with pytest.raises(InputError, match=r"expected shape \[..., .*3\]"):
        bijector.inverse(x, context=context[..., :2])
    with pytest.raises(InputError, match="the batch shape of the data"):
        bijector.inverse(x, context=context[0])
    other_order = tf.reshape(context, [5, 2, *context.shape[2:]])
    with pytest.raises(InputError, match=r"the batch shape of the data, \(2, 5\), got \(5, 2\)"):
        bijector.inverse(x, context=other_order)
    with pytest.raises(InputError, match="takes no context"):
        cls(shape, width=8, dtype="float64").inverse(x, context=context)


def test_split_standardizes_leaving_channels_given_staying_ones():
    split = bijectors.Split((4, 4, 4), fraction=0.25)
    for variable in split.trainable_variables:
        variable.assign_add(0.1 * tf.random.stateless_normal(variable.shape, [0, 1]))
    x = tf.random.stateless_normal([2, 4, 4, 4], [0, 0])
    kernel, bias = split.trainable_variables
    parameters = (tf.nn.conv2d(x[..., :3], kernel, 1, "SAME") + bias).numpy()
    mean, deviation = parameters[..., :1], np.exp(parameters[..., 1:])
    z = split.inverse(x).numpy()
    np.testing.assert_array_equal(z[..., :3], x[..., :3])
    np.testing.assert_allclose(z[..., 3:], (x[..., 3:] - mean) / deviation, rtol=1e-4, atol=1e-5)
    prior = tfd.Normal(mean, deviation)
    expected = np.sum(
        prior.log_prob(x[..., 3:]) - tfd.Normal(0.0, 1.0).log_prob(z[..., 3:]), (1, 2, 3)
    )
    np.testing.assert_allclose(split.inverse_and_log_det(x)[1], expected, rtol=1e-4)


@pytest.mark.slow
def test_round_trips_at_depth_32_in_float32():
    images = tfgen.data.load("digits").images("train")
    # Steps that are called rather than inlined: their graph is compiled sooner.
    model = tfgen.models.Glow((8, 8, 1), levels=2, depth=32, width=16, memory="checkpoint")
    model.compile(tfgen.optimizers.Adam(3e-4))
    model.fit(images[:512], batch_size=64, epochs=4, verbose=0)
    x = tf.cast(images[512:640], tf.float32) / 256.0 - 0.5
    z = model.flow.inverse_and_log_det(x)[0]
    np.testing.assert_allclose(model.flow.forward_and_log_det(z)[0], x, rtol=0, atol=1e-4)
    # At temperature 1 this model, hardly trained, decodes some latents to 1e8, where float32 cannot
    # resolve 1e-4.
    z = 0.7 * tf.random.stateless_normal([128, 64], [0, 2])
    x = model.flow.forward_and_log_det(z)[0]
    np.testing.assert_allclose(model.flow.inverse_and_log_det(x)[0], z, rtol=0, atol=1e-4)


def test_a_second_derivative_is_that_of_the_equations():
    coupling = bijectors.AffineCoupling((2,), width=4, dtype="float64")
    for variable in coupling.trainable_variables:
        variable.assign_add(
            0.5 * tf.random.stateless_normal(variable.shape, [0, 1], dtype="float64")
        )
    x = tf.constant([[0.3, 0.7]], tf.float64)

    def gradient(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            z, log_det = coupling.inverse_and_log_det(x)
            loss = tf.reduce_sum(z**3) + tf.reduce_sum(log_det**2)
        return tape.gradient(loss, x)

    with tf.GradientTape() as tape:
        tape.watch(x)
        first = gradient(x)
    second = tape.jacobian(first, x)[0, :, 0]
    step = 1e-6
    for column in range(2):
        shift = step * np.eye(2)[column]
        difference = (gradient(x + shift) - gradient(x - shift))[0] / (2 * step)
        np.testing.assert_allclose(second[:, column], difference, rtol=1e-5)


def test_densities_of_a_plane_integrate_to_one():
    steps = [bijectors.GlowStep((2,), width=8, dtype="float64") for _ in range(2)]
    for variable in (v for step in steps for v in step.trainable_variables):
        noise = tf.random.stateless_normal(variable.shape, [0, 3], dtype="float64")
        variable.assign_add(0.25 * noise)
    base = tfd.Sample(tfd.Normal(tf.zeros([], "float64"), 1.0), [2])
    density = tfd.TransformedDistribution(base, tfb.Chain(steps))
    far = np.abs(density.sample(100_000, seed=0)).max()
    axis = np.linspace(-2 * far, 2 * far, 2001)
    grid = np.stack(np.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 2)
    total = np.exp(density.log_prob(grid).numpy()).sum() * (axis[1] - axis[0]) ** 2
    assert abs(total - 1.0) < 1e-4
    assert np.any(density.bijector.inverse_log_det_jacobian(grid[:9], 1) != 0.0)


def test_a_flow_fitted_to_toy_data_has_their_moments():
    """x_1 normal, x_2 = x_1^2 / 2 + noise: moments known in closed form."""
    generator = np.random.default_rng(0)
    first = generator.normal(size=20_000)
    data = np.stack([first, 0.5 * first**2 + 0.5 * generator.normal(size=len(first))], -1)
    data = tf.constant(data, tf.float32)
    steps = [bijectors.GlowStep((2,), width=32, name=f"step{i}") for i in range(6)]
    x = data
    for step in steps:
        x = step.initialize(x)
    flow = tfd.TransformedDistribution(
        tfd.Sample(tfd.Normal(0.0, 1.0), [2]), tfb.Chain(list(steps))
    )
    variables = [v for step in steps for v in step.trainable_variables]
    optimizer = tfgen.optimizers.Adam(3e-3)
    optimizer.build(variables)

    @tf.function
    def train(count):
        for i in tf.range(count):
            batch = tf.gather(data, tf.random.stateless_uniform([512], [i, 0], 0, 20_000, tf.int32))
            with tf.GradientTape() as tape:
                loss = -tf.reduce_mean(flow.log_prob(batch))
            optimizer.apply(tape.gradient(loss, variables), variables)

    train(400)
    samples = flow.sample(50_000, seed=1).numpy()
    np.testing.assert_allclose(samples.mean(0), [0.0, 0.5], atol=0.06)
    np.testing.assert_allclose(np.cov(samples.T), [[1.0, 0.0], [0.0, 0.75]], atol=0.1)
    assert abs(np.mean(samples[:, 0] ** 2 * samples[:, 1]) - 1.5) < 0.25


def test_no_network_runs_twice():
    calls = []

    class Counting(keras.layers.Layer):
        def call(self, x):
            calls.append(1)
            return tf.concat([x, 0.1 * x], axis=-1)

    coupling = bijectors.AffineCoupling((2, 2, 2), network=Counting())
    base = tfd.Sample(tfd.Normal(0.0, 1.0), [2, 2, 2])
    distribution = tfd.TransformedDistribution(base, coupling)
    calls.clear()
    distribution.log_prob(tf.random.stateless_normal([3, 2, 2, 2], [0, 0]))
    assert len(calls) == 1
    calls.clear()
    distribution.experimental_sample_and_log_prob(3, seed=0)
    assert len(calls) == 1


def test_networks_in_bfloat16_leave_the_flow_in_float32():
    flow = bijectors.Glow((8, 8, 1), levels=2, depth=2, width=8, network_dtype="bfloat16")
    for variable in flow.trainable_variables:
        assert variable.dtype == "float32"
        variable.assign_add(0.05 * tf.random.stateless_normal(variable.shape, [0, 1]))
    x = tf.random.stateless_normal([4, 8, 8, 1], [0, 0])
    z, _ = flow.inverse_and_log_det(x)
    np.testing.assert_allclose(flow.forward(z), x, atol=1e-4)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: bijectors.AffineCoupling((4, 4, 1)), "put a Squeeze before"),
        (lambda: bijectors.AffineCoupling((4, 4, 4), scale="exp"), "tanh, sigmoid, got 'exp'"),
        (lambda: bijectors.Squeeze((5, 4, 3)), "got 5x4; 4x4 would work"),
        (lambda: bijectors.Squeeze((4, 4, 3), factor=1), "at least 2, got 1"),
        (
            lambda: bijectors.Split((4, 4, 4), fraction=1.5),
            r"fraction must be a number in \(0, 1\), got 1.5",
        ),
        (lambda: bijectors.Split((4, 4, 4), fraction=0.01), "fractions from 0.25 to 0.75 work"),
        (
            lambda: bijectors.Permutation((4, 4, 4), kind="swap"),
            "one of shuffle, reverse, got 'swap'",
        ),
        (lambda: bijectors.GlowStep((4, 4, 4), coupling="cubic"), "affine, additive, got 'cubic'"),
        (lambda: bijectors.GlowStep((4, 4, 4), permutation="x"), "invertible_conv, shuffle"),
        (lambda: bijectors.ActNorm((4, 4)), r"\(H, W, C\) for images or \(C,\) for vectors"),
        (lambda: bijectors.AffineCoupling((1,)), "divides a vector in two, so its dimension"),
        (lambda: bijectors.Split((4,)), r"\(H, W, C\), three positive integers"),
        (lambda: bijectors.Glow((28, 28, 1), levels=3), "levels up to 2 work for 28x28"),
        (lambda: bijectors.Glow((30, 30, 1), levels=3), "resize the images to 32x32"),
        (lambda: bijectors.Glow((8, 8, 1), levels=0), "levels must be a positive integer, got 0"),
    ],
)
def test_errors_for_bad_arguments_say_what_would_work(build, message):
    with pytest.raises(InputError, match=message):
        build()
