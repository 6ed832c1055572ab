"""A checkpoint's arrays are matched to variables by path, not by order or memory layout."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfgen
from tfgen.errors import InputError
from tfgen.optimizers import packing
from tfgen.training import recipe, state
from tfgen.training.checkpoint import Checkpoints, State
from tfgen.training.loss_scaling import LossScaling

X = np.random.default_rng(0).normal(size=(8, 4)).astype("float32")
OPTIMIZERS = {
    "adam": lambda: tfgen.optimizers.Adam(0.1, temporal_averaging=True, amsgrad=True),
    "adamax": lambda: tfgen.optimizers.AdaMax(0.1, use_ema=True, gradient_accumulation_steps=2),
    "loss scale": lambda: LossScaling(tfgen.optimizers.Adam(0.1), initial_scale=8.0),
    "keras": lambda: keras.optimizers.Adam(0.1, use_ema=True),
}


class Branches(keras.Model):
    """The sum of dense layers, created in some order."""

    def __init__(self, order):
        super().__init__()
        self.branches = [keras.layers.Dense(2, name=name) for name in order]
        for branch in self.branches:
            branch.build((None, 4))
        self.built = True

    def call(self, x):
        return sum(branch(x) for branch in sorted(self.branches, key=lambda b: b.name))


def compiled(order, optimizer):
    keras.utils.set_random_seed(len(order[0]))
    model = Branches(order)
    model.compile(OPTIMIZERS[optimizer](), "mse", jit_compile=False)
    model.optimizer.build(model.trainable_variables)
    return model


def train(model, steps):
    for _ in range(steps):
        model.train_on_batch(X, X[:, :2])


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_model_with_reordered_layers_reads_an_older_checkpoint(optimizer, tmp_path):
    older = compiled(["first", "second", "third"], optimizer)
    train(older, 3)
    Checkpoints(tmp_path).save(3, State(state.arrays_of(older), {}))
    reordered = compiled(["third", "first", "second"], optimizer)
    saved, _ = Checkpoints(tmp_path).latest()
    state.assign(reordered, saved.arrays)
    paths = [[weight.path for weight in model.weights] for model in (older, reordered)]
    assert paths[0] != paths[1]
    for _ in range(2):
        assert_same(state.arrays_of(reordered), state.arrays_of(older))
        train(reordered, 2)
        train(older, 2)


def test_the_layout_of_the_optimizers_state_does_not_matter(monkeypatch):
    packed = compiled(["first", "second"], "adam")
    train(packed, 2)
    monkeypatch.setattr(packing, "LARGEST_MEMBER", 0)
    single = compiled(["first", "second"], "adam")
    assert packed.optimizer.packs
    assert not single.optimizer.packs
    state.assign(single, state.arrays_of(packed))
    assert_same(state.arrays_of(single), state.arrays_of(packed))


def test_layers_of_one_name_are_told_apart():
    model = compiled(["same", "same"], "adam")
    arrays = state.arrays_of(model)
    assert {"model/same/kernel", "model/same/kernel#1"} <= set(arrays)
    train(model, 2)
    assert (state.arrays_of(model)["optimizer/same_kernel_momentum#1"] != 0).any()
    state.assign(model, arrays)
    assert_same(state.arrays_of(model), arrays)


def test_other_models_and_optimizers_are_refused():
    model, other = compiled(["first"], "adam"), compiled(["fourth"], "adam")
    with pytest.raises(InputError, match="model/first/kernel is only in the model"):
        state.assign(model, state.arrays_of(other))
    arrays = {**state.arrays_of(model), "model/fifth/kernel": np.zeros(3)}
    with pytest.raises(InputError, match="model/fifth/kernel is only in the checkpoint"):
        state.assign(model, arrays)
    arrays = {**state.arrays_of(model), "optimizer/first_bias_velocity": np.zeros(3)}
    with pytest.raises(InputError, match=r"first_bias_velocity has shape \(3,\), not \(2,\)"):
        state.assign(model, arrays)


@pytest.mark.parametrize("name", recipe.names())
def test_paths_are_unique_and_the_same_in_every_process(name):
    """No path contains a number that counts the layers created before in the process."""
    chosen = recipe.load(name)
    small = (
        {"model.depth": 1, "model.width": 4, "model.levels": min(2, chosen.model.levels)}
        if (chosen.model.class_name == "Glow")
        else {}
    )
    chosen = recipe.load(name, values=small)
    paths = []
    for _ in range(2):
        model = recipe.build(tfgen.models, chosen.model, (8, 8, 1))
        paths.append([weight.path for weight in model.weights])
    assert paths[0] == paths[1]
    assert len(set(paths[0])) == len(paths[0])


def test_arrays_are_copies():
    model = compiled(["first"], "adam")
    arrays = state.arrays_of(model)
    before = {name: array.copy() for name, array in arrays.items()}
    train(model, 1)
    assert_same(arrays, before)
    assert not np.array_equal(state.arrays_of(model)["model/first/kernel"], tf.zeros([4, 2]))
