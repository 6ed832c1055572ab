"""Bijectors in Keras configurations: round trips, compositions, refusals, hostile input."""

import copy
import json
import pickle

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_probability import bijectors as tfb

from tfgen import bijectors
from tfgen.bijectors import serialization
from tfgen.bijectors.base import FlowBijector
from tfgen.errors import InputError


def through_json(bijector):
    return serialization.deserialize(json.loads(json.dumps(serialization.serialize(bijector))))


def assert_same_results(first, second, x):
    for found, expected in zip(tf.nest.flatten(first(x)), tf.nest.flatten(second(x)), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_files_and_clones_of_models_with_flow_layers(tmp_path):
    network = keras.Sequential([keras.Input((4, 4, 1)), keras.layers.Conv2D(2, 3, padding="same")])
    steps = [
        bijectors.GlowStep((4, 4, 2), width=4, network=network, name="own_network"),
        bijectors.Glow((4, 4, 2), levels=1, depth=1, width=4, dtype="float64"),
    ]
    for step in steps:
        layer = bijectors.FlowLayer(step, name="flow")
        layer.trainable = False
        model = keras.Sequential([keras.Input((4, 4, 1)), keras.layers.Dense(2), layer])
        model.layers[0].dtype_policy = step.dtype.name
        x = np.random.default_rng(0).normal(size=(3, 4, 4, 1)).astype(step.dtype.name)
        model.save(tmp_path / "model.keras")
        loaded = keras.saving.load_model(tmp_path / "model.keras")
        assert_same_results(loaded, model, x)
        assert not loaded.get_layer("flow").trainable_weights
        assert loaded.get_layer("flow").bijector.name == step.name
        assert_same_results(copy.deepcopy(model), model, x)
        assert_same_results(pickle.loads(pickle.dumps(model)), model, x)
        clone = keras.models.clone_model(model)
        assert clone.count_params() == model.count_params()
        clone.set_weights(model.get_weights())
        assert_same_results(clone, model, x)
        assert clone.layers[1].bijector is not step
        printed = []
        model.summary(print_fn=printed.append)
        assert "[(None, 4, 4, 2)," in printed[0] or "[(None, 32)," in printed[0]


def test_compositions_of_tensorflow_probability():
    parts = [bijectors.ActNorm((4,), name="a"), bijectors.Permutation((4,), kind="reverse")]
    chain = tfb.Chain([tfb.Invert(parts[0]), *parts[1:]], name="both")
    found = through_json(chain)
    assert found.name == "both"
    assert found.bijectors[0].bijector.data_shape == (4,)
    x = np.random.default_rng(0).normal(size=(2, 4)).astype("float32")
    np.testing.assert_array_equal(found.forward(x), chain.forward(x))


class Doubling(FlowBijector):
    def __init__(self, event_shape, function=None, name="doubling"):
        super().__init__(event_shape, name=name, parameters=dict(locals()))

    def _forward_with_log_det(self, z):
        return 2.0 * z, tf.math.log(2.0)


def test_what_cannot_be_saved_is_refused_with_what_to_use():
    with pytest.raises(InputError, match=r"Sigmoid cannot be saved.*subclass.*save_weights"):
        serialization.serialize(tfb.Chain([tfb.Sigmoid(), bijectors.ActNorm((4,))]))
    with pytest.raises(InputError, match="doubling: function is a lambda"):
        serialization.serialize(Doubling((4,), lambda x: x))
    with pytest.raises(InputError, match="doubling: function is a object, which cannot be saved"):
        serialization.serialize(Doubling((4,), object()))


def test_classes_of_the_caller_follow_the_rules_of_keras():
    config = serialization.serialize(Doubling((4,)))
    with pytest.raises(TypeError, match="Could not locate class 'Doubling'"):
        serialization.deserialize(config)
    with keras.saving.custom_object_scope({"Doubling": Doubling}):
        assert serialization.deserialize(config).data_shape == (4,)


def hostile(**changes):
    return {**serialization.serialize(bijectors.ActNorm((4,))), **changes}


def chain_of(config):
    return {"module": serialization.PROBABILITY, "class_name": "Chain", "config": config}


@pytest.mark.parametrize(
    ("config", "error", "message"),
    [
        ({}, InputError, "not the config of a bijector, but of a dict"),
        ([], InputError, "but of a list"),
        (None, InputError, "but of a NoneType"),
        (keras.saving.serialize_keras_object(keras.layers.Dense(2)), InputError, "of a Dense"),
        (hostile(config={"event_shape": [4], "power": 9}), InputError, "ActNorm: .*'power'"),
        (hostile(config={"event_shape": [-4]}), InputError, "positive integers, got"),
        (hostile(config={}), InputError, "ActNorm: cannot be built from its config: .*event_shape"),
        (hostile(registered_name="os>system"), TypeError, "Could not locate class"),
        (chain_of({"bijectors": [{"a": 1}]}), InputError, "not a bijector, but a dict"),
        (chain_of({"code": 1}), InputError, "Chain: cannot be built"),
        (chain_of([]), InputError, "cannot be loaded: only Chain, Invert"),
        ({**chain_of({}), "class_name": "Inline"}, InputError, "Inline cannot be loaded"),
        (
            hostile(config={"event_shape": {"class_name": "__lambda__", "config": {"value": "x"}}}),
            ValueError,
            "lambda.*disallowed by default",
        ),
    ],
)
def test_hostile_configurations_give_clear_errors(config, error, message):
    with pytest.raises(error, match=message):
        serialization.deserialize(config)
