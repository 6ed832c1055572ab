"""The paper's claims about Adam and AdaMax, and where a claim fails."""

import adam_reference as paper
import keras
import numpy as np
import pytest
import tensorflow as tf
from optimizer_cases import EVERY_OPTIMIZER

from tfgen.optimizers import Adam, AdaMax, InverseSqrt, average_of

RNG = np.random.default_rng(8)
ALPHA, BETA_1, BETA_2 = 1e-3, 0.9, 0.999


@EVERY_OPTIMIZER
@pytest.mark.parametrize("scale", [2.0**20, 2.0**-20])
def test_steps_do_not_depend_on_the_scale_of_the_gradients(make, scale):
    """Exactly so for a power of two: it changes exponents and no digits (section 2.1)."""
    gradients = RNG.normal(size=(100, 20))
    start = RNG.normal(size=20)
    plain = paper.run(make(epsilon=0.0), start, gradients)
    scaled = paper.run(make(epsilon=0.0), start, scale * gradients)
    np.testing.assert_array_equal(plain, scaled)


def test_the_two_orders_agree():
    """ε̂ = ε √(1 - β₂^t) makes the efficient order Algorithm 1 (end of section 2)."""
    gradients = 1e-7 * RNG.normal(size=(50, 10))
    start = RNG.normal(size=10)
    weights = keras.Variable(start, dtype="float64")
    efficient = Adam(epsilon_hat=True)
    for t, gradient in enumerate(gradients, 1):
        efficient.epsilon = 1e-8 * np.sqrt(1 - BETA_2**t)
        efficient.apply([tf.constant(gradient)], [weights])
    expected = paper.run(Adam(epsilon=1e-8), start, gradients, "float64")[-1]
    np.testing.assert_allclose(weights.numpy(), expected, rtol=1e-13)


@pytest.mark.parametrize("steps", [1, 10, 100])
def test_the_second_moment_is_biased_by_one_minus_beta_2_to_the_t(steps):
    """E[v_t] = E[g²] (1 - β₂^t) for stationary gradients (section 3); here E[g²] = 1 + 2²."""
    count = 100_000
    weights = keras.Variable(np.zeros(count, "float32"))
    optimizer = Adam(beta_2=0.99)
    optimizer.build([weights])
    step = tf.function(lambda g: optimizer.apply([g], [weights]))
    for _ in range(steps):
        step(tf.constant(RNG.normal(1.0, 2.0, size=count), "float32"))
    velocity = optimizer.slot(weights, "velocity").numpy().astype(np.float64)
    expected = 5 * (1 - 0.99**steps)
    deviation = velocity.std() / np.sqrt(count)
    assert abs(velocity.mean() - expected) < 4 * deviation


def last_step(optimizer, gradients, steps_before=0):
    """|Δθ| / α of the last step; before it, `steps_before` steps of zero gradient."""
    weights = keras.Variable([0.0], dtype="float64")
    optimizer.build([weights])
    optimizer._iterations.assign(steps_before)  # zero gradients leave the slots at zero
    step = tf.function(lambda g: optimizer.apply([g], [weights]))
    before = 0.0
    for gradient in gradients:
        before = weights.numpy()[0]
        step(tf.constant([gradient], tf.float64))
    return abs(weights.numpy()[0] - before) / ALPHA


def test_the_first_gradient_after_many_zeros_reaches_the_claimed_bound():
    """|Δθ| ≤ α (1 - β₁) / √(1 - β₂) = 3.162 α (section 2.1)."""
    size = last_step(Adam(ALPHA, epsilon=0.0), [1.0], steps_before=50_000)
    assert size == pytest.approx((1 - BETA_1) / np.sqrt(1 - BETA_2), rel=1e-9)


@EVERY_OPTIMIZER
def test_a_constant_gradient_makes_steps_of_alpha(make):
    assert last_step(make(ALPHA, epsilon=0.0), [0.3] * 500) == pytest.approx(1, rel=1e-9)


def test_adam_exceeds_the_claimed_bound():
    """Gradients that grow as (β₂/β₁)^i reach 7.270 α, where 3.162 α is claimed."""
    gradients = (BETA_1 / BETA_2) ** np.arange(200)[::-1]
    size = last_step(Adam(ALPHA, epsilon=0.0), gradients, steps_before=50_000)
    supremum = (1 - BETA_1) / np.sqrt((1 - BETA_2) * (1 - BETA_1**2 / BETA_2))
    assert supremum == pytest.approx(7.270, abs=5e-4)
    assert size == pytest.approx(supremum, rel=1e-8)


def test_adamax_exceeds_the_claimed_bound():
    """Gradients β₂^t reach 1.00909 α, where α is claimed (section 7.1)."""
    size = last_step(AdaMax(ALPHA), BETA_2 ** np.arange(1, 301))
    supremum = (1 - BETA_1) / (1 - BETA_1 / BETA_2)
    assert supremum == pytest.approx(1.00909, abs=5e-6)
    assert size == pytest.approx(supremum, rel=1e-8)


@pytest.mark.parametrize(("amsgrad", "survives"), [(False, False), (True, True)])
def test_the_counter_example_of_reddi_et_al(amsgrad, survives):
    """f_t(x) = 3x at every third step and -x at the others, x in [-1, 1], is least at x = -1.

    Adam with β₁ = 0 and β₂ = 1 / (1 + 3²) goes to x = 1, where the average regret is 2/3.
    """
    steps = 6000
    x = keras.Variable([0.0])
    x.constraint = lambda w: tf.clip_by_value(w, -1.0, 1.0)
    optimizer = Adam(InverseSqrt(0.5), beta_1=0.0, beta_2=0.1, amsgrad=amsgrad)
    optimizer.build([x])

    @tf.function
    def regret():
        total = tf.zeros([])
        for t in tf.range(1, steps + 1):
            slope = tf.where(t % 3 == 1, 3.0, -1.0)
            total += slope * (x[0] + 1.0)
            optimizer.apply([tf.reshape(slope, [1])], [x])
        return total / steps

    average = float(regret())
    if survives:
        assert x.numpy()[0] < -0.9
        assert average < 0.1
    else:
        assert x.numpy()[0] > 0.9
        assert average == pytest.approx(2 / 3, abs=0.02)


def test_averaging_improves_on_the_last_iterate():
    """Section 7.2: on a noisy quadratic the average of the weights is nearer to the optimum."""
    weights = keras.Variable(np.full(200, 1.0), dtype="float32")
    optimizer = Adam(0.01, temporal_averaging=True)
    optimizer.build([weights])

    @tf.function
    def train(steps):
        for t in tf.range(steps):
            noise = tf.random.stateless_normal([200], seed=tf.stack([t, 8]))
            optimizer.apply([weights + noise], [weights])

    train(5000)
    average = average_of(optimizer, weights).numpy()
    assert np.mean(average**2) < 0.5 * np.mean(weights.numpy() ** 2)
