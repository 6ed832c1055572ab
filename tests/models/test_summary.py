"""Summaries and plots of models: every part with its shape and its number of weights."""

import re

import keras
import numpy as np
import pytest
from keras.src.utils import model_visualization

import tfgen

MODELS = {
    "glow": lambda: tfgen.models.Glow(
        (8, 8, 1),
        levels=2,
        depth=1,
        width=4,
        checkerboard=1,
        dequantization="variational",
        dequantization_depth=1,
    ),
    "glow_conditional": lambda: tfgen.models.Glow(
        (4, 4, 1), levels=1, depth=1, width=4, num_classes=3
    ),
    "vae": lambda: tfgen.models.VAE((8, 8, 1), latent_dim=4, hidden_units=[3]),
    "vae_flows": lambda: tfgen.models.VAE(
        (8, 8, 1),
        latent_dim=4,
        encoder="conv",
        decoder="conv",
        channels=[2],
        hidden_units=[3],
        prior="flow",
        posterior="flow",
        flow_steps=1,
        flow_width=4,
    ),
}
PARTS = {
    "glow": {
        "images": "(None, 8, 8, 1)",
        "dequantization": "(None, 8, 8, 1)",
        "preprocessing": "(None, 8, 8, 1)",
        "checkerboard_actnorm": "(None, 8, 8, 1)",
        "checkerboard0": "(None, 8, 8, 1)",
        "level0_squeeze": "(None, 4, 4, 4)",
        "level0_step0": "(None, 4, 4, 4)",
        "level0_split": "[(None, 4, 4, 2), (None, 4, 4, 2)]",
        "level1_squeeze": "(None, 2, 2, 8)",
        "level1_step0": "(None, 2, 2, 8)",
        "prior": "(None, 2, 2, 8)",
        "latents": "(None, 64)",
    },
    "glow_conditional": {
        "images": "(None, 4, 4, 1)",
        "dequantization": "(None, 4, 4, 1)",
        "preprocessing": "(None, 4, 4, 1)",
        "level0_squeeze": "(None, 2, 2, 4)",
        "level0_step0": "(None, 2, 2, 4)",
        "class_prior": "(None, 16)",
    },
    "vae": {
        "images": "(None, 8, 8, 1)",
        "encoder": "(None, 8)",
        "posterior": "(None, 4)",
        "prior": "(None, 4)",
        "decoder": "(None, 64)",
        "likelihood": "(None, 8, 8, 1)",
    },
    "vae_flows": {
        "images": "(None, 8, 8, 1)",
        "encoder": "(None, 12)",
        "posterior": "(None, 4)",
        "prior": "(None, 4)",
        "decoder": "(None, 8, 8, 1)",
        "likelihood": "(None, 8, 8, 1)",
    },
}


@pytest.fixture(autouse=True)
def _a_wide_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")


def summary(model, **options):
    printed = []
    model.summary(print_fn=printed.append, line_length=140, **options)
    return "\n".join(printed)


def rows(text):
    """`{name: (kind, shape, number of weights, ...)}` of a printed table."""
    cells = [[cell.strip() for cell in line.split("│")[1:-1]] for line in text.splitlines()]
    return {
        name: (kind, *rest)
        for first, *rest in filter(None, cells)
        for name, kind in re.findall(r"(\S+) \((\w+)\)", first)
    }


@pytest.mark.parametrize("case", MODELS)
def test_a_summary_shows_every_part_with_its_shape_and_weights(case):
    model = MODELS[case]()
    text = summary(model)
    found = rows(text)
    assert {name: shape for name, (_, shape, *_) in found.items()} == PARTS[case]
    counts = [int(count.replace(",", "")) for _, _, count in found.values()]
    assert sum(counts) == model.count_params() == sum(w.numpy().size for w in model.weights)
    assert f"Total params: {model.count_params():,} " in text
    trainable = sum(w.numpy().size for w in model.trainable_weights)
    assert f"Trainable params: {trainable:,} " in text
    nested = summary(model, expand_nested=True)
    assert "?" not in text + nested
    assert len(rows(nested)) > len(found)
    assert "Optimizer params" not in text
    assert len(model.outline().weights) == len(model.weights)
    assert all(kind != "Row" for kind, *_ in found.values())


def test_a_summary_takes_the_arguments_of_keras(capsys):
    model = MODELS["glow"]()
    model.compile(keras.optimizers.SGD(0.1, momentum=0.5))
    model.get_layer("glow_flow_level0_split_prior").trainable = False
    text = summary(model, show_trainable=True, layer_range=["level0.*", "level0.*"])
    found = rows(text)
    assert list(found) == ["level0_squeeze", "level0_step0", "level0_split"]
    assert [row[-1] for row in found.values()] == ["-", "Y", "N"]
    weights = sum(np.size(v) for v in model.optimizer.variables)
    assert f"Optimizer params: {weights:,} " in text
    model.summary(line_length=60, positions=[0.5, 0.8, 1.0])
    assert "level1_step0 (GlowStep)" in capsys.readouterr().out


def test_a_flow_layer_is_summarized_with_its_parts():
    layer = tfgen.bijectors.FlowLayer(tfgen.bijectors.GlowStep((4, 4, 2), width=4))
    model = keras.Sequential([keras.Input((4, 4, 1)), keras.layers.Dense(2), layer])
    text = summary(model, expand_nested=True)
    assert rows(text)["glow_step"][:2] == ("FlowLayer", "[(None, 4, 4, 2), (None)]")
    assert "?" not in text


def test_a_plot_shows_every_part(tmp_path):
    pytest.importorskip("pydot", reason="needs the extra `plot`")
    model = MODELS["glow"]()
    dot = keras.utils.model_to_dot(model.outline(), show_shapes=True).to_string()
    for name, shape in PARTS["glow"].items():
        assert f"<b>{name}</b>" in dot
        assert shape.replace("[", "").split(", (None")[0].removesuffix(")") in dot
    assert dot.count("->") == len(PARTS["glow"]) - 1
    if not model_visualization.check_graphviz():
        pytest.skip("needs Graphviz, whose program `dot` draws the picture")
    keras.utils.plot_model(model.outline(), tmp_path / "model.png", show_shapes=True, dpi=40)
    keras.utils.plot_model(model, tmp_path / "one_box.png", dpi=40)
    assert (tmp_path / "model.png").stat().st_size > (tmp_path / "one_box.png").stat().st_size > 0


def test_without_pydot_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setattr(model_visualization, "pydot", None)
    with pytest.raises(ImportError, match="install pydot"):
        keras.utils.plot_model(MODELS["vae"]().outline(), "never.png")
