"""The recipes of the paper, a few steps at a reduced size, as few machines have their data."""

import re
import runpy
from pathlib import Path

import numpy as np
import pytest

import tfgen
from tfgen.training import recipe

COSTS = runpy.run_path(str(Path(__file__).parents[2] / "tools" / "recipe_costs.py"))
EVERY = pytest.mark.parametrize("name", COSTS["PAPER"])
REDUCED = {"model.depth": 1, "model.width": 4, "training.batch_size": 4, "warmup_steps": 0}


def test_every_paper_recipe_is_tested():
    assert {*COSTS["PAPER"]} == {name for name in recipe.names() if name.endswith("-paper")}


@EVERY
def test_it_trains_at_a_reduced_size(name):
    chosen = recipe.load(name, values={**REDUCED, "model.levels": 1})
    assert (chosen.data.image_shape or (32, 32, 3))[2] == 3
    images = np.random.default_rng(0).integers(0, 256, (8, 8, 8, 3), "uint8")
    model = recipe.build(tfgen.models, chosen.model, (8, 8, 3))
    model.compile(recipe.build(tfgen.optimizers, chosen.optimizer))
    history = model.fit(images, batch_size=4, epochs=2, shuffle=False, verbose=0).history
    first, last = history["bits_per_dim"]
    assert np.isfinite(last)
    assert last < first


@EVERY
def test_its_summary_tells_what_it_costs(name):
    chosen = recipe.load(name)
    cost = COSTS["cost"](chosen, chosen.data.image_shape or (32, 32, 3))
    told = [float(number) for number in re.findall(r"([\d.]+) (?:GFLOP|MiB|GiB|GPU)", chosen.cost)]
    expected = [
        cost["GFLOP per image"],
        1024 * cost["GiB per image"],
        cost["GiB of weights and Adam"],
        cost["GPU-hours"],
    ]
    np.testing.assert_allclose(told, expected, rtol=0.1)


def test_the_tool_counts_these_and_no_others(monkeypatch, capsys):
    for words, names in ([], COSTS["PAPER"]), (["glow-lsun-paper"], ["glow-lsun-paper"]):
        monkeypatch.setattr("sys.argv", ["recipe_costs.py", *words])
        COSTS["main"]()
        lines = capsys.readouterr().out.splitlines()
        assert [line.split()[0] for line in lines[::2]] == [*names]
    for other in ("glow-digits", "glow-mnist"):
        monkeypatch.setattr("sys.argv", ["recipe_costs.py", other])
        with pytest.raises(SystemExit):
            COSTS["main"]()
        assert f"error: {other} is not one of glow-cifar10-paper, " in capsys.readouterr().err


@pytest.mark.parametrize("coupling", ["affine", "additive"])
def test_costs_count_the_weights_and_multiplications_of_the_model(coupling):
    values = {"model.depth": 2, "model.width": 6, "coupling": coupling, "memory": "plain"}
    chosen = recipe.load("glow-cifar10-paper", values=values)
    cost = COSTS["cost"](chosen, (16, 16, 3))
    model = recipe.build(tfgen.models, chosen.model, (16, 16, 3))
    steps = [b for b in model.flow.inner_bijectors if isinstance(b, tfgen.bijectors.GlowStep)]
    counted = 0
    for step in steps:
        others = [*step.actnorm.layers, *step.coupling.layers]
        counted += sum(np.prod(w.shape) for layer in others for w in layer.trainable_weights)
        counted += (
            step.data_shape[-1] ** 2
        )  # of the 1x1 convolution, regardless of its parametrization
    assert cost["weights"] == counted
