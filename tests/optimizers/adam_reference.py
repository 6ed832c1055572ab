"""The paper's algorithms in float64 NumPy, and helpers to drive an optimizer through them."""

import keras
import numpy as np
import tensorflow as tf


def adam(
    theta,
    gradients,
    rate=1e-3,
    beta_1=0.9,
    beta_2=0.999,
    epsilon=1e-8,
    epsilon_hat=False,
    beta_1_decay=1.0,
    amsgrad=False,
    weight_decay=0.0,
):
    """Algorithm 1, or the efficient order; the weights after each step."""
    theta = np.array(theta, np.float64)
    m, v, largest = np.zeros_like(theta), np.zeros_like(theta), np.zeros_like(theta)
    path = []
    for t, g in enumerate(gradients, 1):
        if g is None:  # nothing moves but the count of steps
            path.append(theta)
            continue
        alpha = rate(t) if callable(rate) else rate
        b1 = beta_1 * beta_1_decay ** (t - 1)
        m = b1 * m + (1 - b1) * g
        v = beta_2 * v + (1 - beta_2) * g**2
        largest = np.maximum(largest, v)
        second = largest if amsgrad else v
        theta = theta - alpha * weight_decay * theta
        if epsilon_hat:
            alpha_t = alpha * np.sqrt(1 - beta_2**t) / (1 - beta_1**t)
            theta = theta - alpha_t * m / (np.sqrt(second) + epsilon)
        else:
            m_hat = m / (1 - beta_1**t)
            v_hat = second / (1 - beta_2**t)
            theta = theta - alpha * m_hat / (np.sqrt(v_hat) + epsilon)
        path.append(theta)
    return np.array(path)


def adamax(theta, gradients, rate=2e-3, beta_1=0.9, beta_2=0.999, beta_1_decay=1.0):
    """Algorithm 2, with 0/0 taken as 0; the weights after each step."""
    theta = np.array(theta, np.float64)
    m, u = np.zeros_like(theta), np.zeros_like(theta)
    path = []
    for t, g in enumerate(gradients, 1):
        if g is None:  # nothing moves but the count of steps
            path.append(theta)
            continue
        alpha = rate(t) if callable(rate) else rate
        b1 = beta_1 * beta_1_decay ** (t - 1)
        m = b1 * m + (1 - b1) * g
        u = np.maximum(beta_2 * u, np.abs(g))
        ratio = np.divide(m, u, out=np.zeros_like(m), where=u > 0)
        theta = theta - alpha / (1 - beta_1**t) * ratio
        path.append(theta)
    return np.array(path)


def temporal_average(path, beta_2=0.999):
    """Section 7.2, for the last of the weights in `path`."""
    average = np.zeros_like(path[0])
    for theta in path:
        average = beta_2 * average + (1 - beta_2) * theta
    return average / (1 - beta_2 ** len(path))


def run(optimizer, theta, gradients, dtype="float32", jit_compile=False, graph=True):
    """The weights after each step of `optimizer` from `theta`, for gradients [steps, ...]."""
    weights = keras.Variable(np.asarray(theta), dtype=dtype)
    optimizer.build([weights])

    if not graph:
        path = []
        for gradient in gradients:
            optimizer.apply([tf.constant(gradient, dtype)], [weights])
            path.append(weights.numpy())
        return np.array(path, np.float64)

    @tf.function(jit_compile=jit_compile)
    def trajectory(gradients):
        path = tf.TensorArray(dtype, len(gradients), element_shape=weights.shape)
        for t in tf.range(len(gradients)):
            optimizer.apply([gradients[t]], [weights])
            path = path.write(t, weights.value)
        return path.stack()

    return trajectory(tf.constant(gradients, dtype)).numpy().astype(np.float64)


def relative_error(path, expected):
    """The largest distance of the weights from those expected, relative to the latter's size."""
    error = np.linalg.norm((path - expected).reshape(len(path), -1), axis=1)
    return np.max(error / np.linalg.norm(expected.reshape(len(path), -1), axis=1))
