"""The layout of weight files: fixed here, independent of the names of models' attributes."""

import h5py
import numpy as np
import pytest

import tfgen
from tfgen.models import preset
from tfgen.zoo import places

# Every option that adds weights.
MODELS = {
    "vae": lambda: tfgen.models.VAE(
        (4, 4, 1),
        latent_dim=4,
        encoder="conv",
        decoder="conv",
        channels=[2],
        hidden_units=[3],
        prior="flow",
        posterior="flow",
        flow_steps=1,
        flow_width=5,
    ),
    "glow": lambda: tfgen.models.Glow(
        (4, 4, 1),
        levels=2,
        depth=1,
        width=3,
        network="gated",
        blocks=1,
        checkerboard=1,
        num_classes=2,
        dequantization="variational",
        dequantization_depth=1,
        dequantization_width=4,
    ),
}

# For each model, the groups in the file and the shapes of their weights.
LAYOUTS = {
    "vae": """
decoder/layers/conv2d: 3x3x2x2 2
decoder/layers/conv2d_1: 3x3x2x2 2
decoder/layers/conv2d_2: 3x3x2x4 4
decoder/layers/dense: 4x3 3
decoder/layers/dense_1: 3x8 8
encoder/layers/conv2d: 5x5x1x2 2
encoder/layers/conv2d_1: 3x3x2x2 2
encoder/layers/conv2d_2: 3x3x2x2 2
encoder/layers/dense: 8x3 3
encoder/layers/dense_1: 3x13 13
layers/sequential/layers/dense: 2x5 5
layers/sequential/layers/dense_1: 5x5 5
layers/sequential/layers/dense_2: 5x4 4
layers/sequential_1/layers/dense: 7x5 5
layers/sequential_1/layers/dense_1: 5x5 5
layers/sequential_1/layers/dense_2: 5x4 4
layers/weights: 4 4 scalar
layers/weights_1: 4x4 4x4 4 4 4
layers/weights_2: 4 4 scalar
layers/weights_3: 4x4 4x4 4 4 4
""",
    "glow": """
layers/class_prior: 2x1x8 2x1x8 8x2 2
layers/conv2d: 3x3x2x4 4
layers/functional/layers/conv2d: 3x3x2x3 3
layers/functional/layers/conv2d_1: 3x3x3x3 3
layers/functional/layers/conv2d_2: 3x3x3x4 4
layers/functional/layers/pointwise_convolution: 1x1x3x6 6
layers/functional_1/layers/conv2d: 3x3x2x3 3
layers/functional_1/layers/conv2d_1: 3x3x3x3 3
layers/functional_1/layers/conv2d_2: 3x3x3x4 4
layers/functional_1/layers/pointwise_convolution: 1x1x3x6 6
layers/functional_2/layers/conv2d: 3x3x4x3 3
layers/functional_2/layers/conv2d_1: 3x3x3x3 3
layers/functional_2/layers/conv2d_2: 3x3x3x8 8
layers/functional_2/layers/pointwise_convolution: 1x1x3x6 6
layers/variational_dequantization/_features/layers/conv2d: 3x3x4x4 4
layers/variational_dequantization/_features/layers/conv2d_1: 3x3x4x4 4
layers/variational_dequantization/_step_layers/sequential/layers/conv2d: 3x3x6x4 4
layers/variational_dequantization/_step_layers/sequential/layers/conv2d_1: 3x3x4x4 4
layers/variational_dequantization/_step_layers/sequential/layers/pointwise_convolution: 1x1x4x4 4
layers/variational_dequantization/_step_layers/weights: 4 4 scalar
layers/variational_dequantization/_step_layers/weights_1: 4x4 4x4 4 4 4
layers/weights: 1 1 scalar
layers/weights_1: 4 4 scalar
layers/weights_2: 4x4 4x4 4 4 4
layers/weights_3: 8 8 scalar
layers/weights_4: 8x8 8x8 8 8 8
""",
}


def layout(path):
    """`{group: [shape of its weight 0, shape of its weight 1, ...]}`"""
    groups = {}

    def visit(name, value):
        if isinstance(value, h5py.Dataset):
            group, index = name.split("/vars/")
            groups.setdefault(group, {})[int(index)] = value.shape

    with h5py.File(path) as file:
        file.visititems(visit)
    return {key: [shapes[i] for i in range(len(shapes))] for key, shapes in groups.items()}


def in_words(found):
    lines = (
        " ".join([f"{group}:", *("x".join(map(str, shape)) or "scalar" for shape in shapes)])
        for group, shapes in sorted(found.items())
    )
    return "\n".join(lines)


@pytest.mark.parametrize("kind", MODELS)
def test_weight_files_have_the_expected_layout(kind, tmp_path):
    model = MODELS[kind]()
    model.save_weights(tmp_path / "a.weights.h5")
    assert in_words(layout(tmp_path / "a.weights.h5")) == LAYOUTS[kind].strip()
    model._0 = model.layers[::-1]  # Keras would visit it first among the private attributes.
    model.save_weights(tmp_path / "b.weights.h5")
    assert layout(tmp_path / "b.weights.h5") == layout(tmp_path / "a.weights.h5")
    other = MODELS[kind]()
    other.load_weights(tmp_path / "b.weights.h5")
    for loaded, weight in zip(other.weights, model.weights, strict=True):
        np.testing.assert_array_equal(loaded, weight)


@pytest.mark.parametrize("name", sorted(places.versions(places.PACKAGED)))
def test_pretrained_models_are_saved_with_the_layout_of_their_files(name, tmp_path):
    tfgen.zoo.load(name).save_weights(tmp_path / "again.weights.h5")
    expected = layout(tfgen.zoo.directory(name) / preset.WEIGHTS)
    assert layout(tmp_path / "again.weights.h5") == expected
