"""TFLite files: conversion at every precision, smaller files, errors."""

import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

from tfgen.export.litert import conversion, flatbuffer, measurement
from tfgen.models.noise import ImageNoise


class Noise(tf.Module):
    """The noise of images, and the integers that it is made of, as signatures."""

    def __init__(self, image_shape):
        super().__init__()
        noise = ImageNoise(image_shape)
        images = tf.TensorSpec([None, *image_shape], tf.uint8, name="images")

        def uniform(images):
            return {"noise": noise.uniform(images, image_shape)}

        def integers(images):
            return {"hash": noise._hash(images)}

        self.functions = {
            function.__name__: tf.function(function, autograph=False).get_concrete_function(images)
            for function in (uniform, integers)
        }
        self.functions["log_prob"] = self.functions["uniform"]


@pytest.mark.parametrize(
    ("kind", "image_shape"),
    [*((kind, (8, 8, 1)) for kind in conversion.PRECISIONS), ("float32", (32, 32, 3))],
)
def test_the_noise_of_an_image_is_the_same_to_the_last_bit(kind, image_shape):
    """Changing one pixel by one level would change a likelihood by nats."""
    images = np.random.default_rng(0).integers(0, 256, (64, *image_shape)).astype("uint8")
    images[0], images[1] = 0, 255
    module = Noise(image_shape)
    calibration = {verb: {"images": images} for verb in module.functions}
    content = conversion.convert(module, kind, list(module.functions), calibration)
    interpreter = Interpreter(model_content=content)
    hashes = interpreter.get_signature_runner("integers")(images=images)["hash"]
    np.testing.assert_array_equal(hashes, ImageNoise(image_shape)._hash(images))
    if kind != "int8":  # in int8 files floats have 8 bits, and the exporter leaves log_prob out
        found = interpreter.get_signature_runner("uniform")(images=images)["noise"]
        expected = ImageNoise(image_shape).uniform(images, image_shape).numpy()
        np.testing.assert_array_equal(found, expected)
        grey = images.astype("float32") / 255.0
        np.testing.assert_array_equal(grey > found, grey > expected)


class Dense(tf.Module):
    """Signatures that share a kernel, which one of them also uses outside a dense layer."""

    def __init__(self, kernel, small):
        super().__init__()
        self.kernel, self.small = tf.Variable(kernel), tf.Variable(small)
        spec = tf.TensorSpec([None, 32], tf.float32, name="x")

        def hidden(x):
            return tf.tanh(tf.matmul(x, self.kernel, transpose_b=True))

        def log_prob(x):
            return {"y": hidden(x) @ self.small}

        def twice(x):
            return {"y": 2.0 * hidden(x) + tf.reduce_sum(self.kernel * x[:1], axis=-1)}

        self.functions = {
            f.__name__: tf.function(f, autograph=False).get_concrete_function(spec)
            for f in (log_prob, twice)
        }


def test_rewriting_changes_the_bytes_and_not_the_numbers():
    generator = np.random.default_rng(0)
    kernel = generator.normal(size=(64, 32)).astype("float32")
    small = generator.normal(size=(64, 3)).astype("float32")
    x = generator.normal(size=(5, 32)).astype("float32")
    half_of = kernel.astype("float16").astype("float32")
    verbs = ["log_prob", "twice"]
    full = conversion.convert(Dense(kernel, small), "float32", verbs)
    half = flatbuffer.halve_weights(full)
    rounded = conversion.convert(Dense(half_of, small), "float32", verbs)
    for verb in verbs:
        answers = [
            Interpreter(model_content=content).get_signature_runner(verb)(x=x)["y"]
            for content in (half, rounded, full)
        ]
        np.testing.assert_array_equal(answers[0], answers[1])
        for answer, weights in ((answers[0], half_of), (answers[2], kernel)):
            x64, w = x.astype("float64"), weights.astype("float64")
            hidden = np.tanh(x64 @ w.T)
            expected = {"log_prob": hidden @ small, "twice": 2.0 * hidden + w @ x64[0]}[verb]
            assert np.abs(answer - expected).max() <= 1e-5 * np.abs(expected).max()
        assert np.any(answers[0] != answers[2])
    # Both graphs use the kernel, and the file has it once.
    assert len(full) < 4 * kernel.size + 4000
    assert len(full) - len(half) == pytest.approx(2 * kernel.size, abs=600)
    assert flatbuffer.operations(half) == flatbuffer.operations(full) | {"DEQUANTIZE"}


@pytest.mark.parametrize("verbs", [["log_prob"], ["twice"]])
def test_a_file_may_have_some_of_the_signatures(verbs):
    kernel, small = np.ones((64, 32), "float32"), np.ones((64, 3), "float32")
    content = conversion.convert(Dense(kernel, small), "float32", verbs)
    assert list(Interpreter(model_content=content).get_signature_list()) == verbs


def test_differences_equal_numpys():
    found = measurement.difference(np.array([3.0, -4.0]), np.array([3.5, -5.0]))
    assert found["largest"] == 1.0
    assert found["root_mean_square"] == pytest.approx(np.sqrt(0.625), rel=1e-2)
    assert found["relative"] == 0.2
    levels = measurement.difference(np.array([0, 255], "uint8"), np.array([255, 255], "uint8"))
    assert levels == {"largest_levels": 255, "mean_levels": 127.5, "values_that_differ": 0.5}
    with pytest.raises(ValueError, match="in place of"):
        measurement.difference(np.zeros(3), np.zeros((3, 1)))
    assert np.isnan(measurement.difference(np.array([np.nan]), np.ones(1))["largest"])
