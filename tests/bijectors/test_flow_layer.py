"""A bijector as a Keras layer."""

import h5py
import keras
import numpy as np
import tensorflow as tf

from tfgen import bijectors

LAYOUT = {
    "layers/weights/vars": [(2,), (2,), ()],  # actnorm: log scale, shift, initialized
    "layers/weights_1/vars": [(2, 2), (2, 2), (2,), (2,), (2,)],  # the 1x1 convolution
    "layers/sequential/layers/conv2d/vars": [(3, 3, 1, 8), (8,)],
    "layers/sequential/layers/pointwise_convolution/vars": [(1, 1, 8, 8), (8,)],
    "layers/sequential/layers/conv2d_1/vars": [(3, 3, 8, 2), (2,)],
}


def test_weight_files_have_the_expected_layout(tmp_path):
    model = keras.Sequential([bijectors.FlowLayer(bijectors.GlowStep((4, 4, 2), width=8))])
    model(tf.ones([1, 4, 4, 2]))
    model.save_weights(tmp_path / "flow.weights.h5")
    with h5py.File(tmp_path / "flow.weights.h5") as file:
        flow = file["layers/flow_layer"]
        for group, shapes in LAYOUT.items():
            assert [flow[group][str(i)].shape for i in range(len(flow[group]))] == shapes
    assert sum(map(len, LAYOUT.values())) == len(model.weights)


def test_a_conditional_bijector_takes_its_context_through_the_layer():
    step = bijectors.GlowStep((4, 4, 2), width=8, context_channels=3)
    x, context = tf.ones([2, 4, 4, 2]), tf.ones([2, 4, 4, 3])
    found = bijectors.FlowLayer(step)(x, context=context)
    for value, expected in zip(found, step.inverse_and_log_det(x, context), strict=True):
        np.testing.assert_array_equal(value, expected)
