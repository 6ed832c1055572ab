"""Every recipe at 1 % of its steps is better than uniform noise; warm-ups and averages scale."""

import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

import tfgen
from tfgen.errors import InputError
from tfgen.evaluation import metrics, quality
from tfgen.optimizers.averaging import SLOT, averaged_weights, momentum
from tfgen.training import budget, final_weights, recipe, setup
from tfgen.training.quality import WorseThanUniformError, refuse_if_worse_than_uniform

SHORT = runpy.run_path(str(Path(__file__).parents[2] / "tools" / "short_runs.py"))
TINY = ["hidden_units=[4]", "latent_dim=2"]


def prepared(name, *settings):
    return setup.prepare(recipe.load(name, settings), tf.distribute.get_strategy())


@pytest.mark.parametrize("name", recipe.names())
def test_one_percent_of_the_steps_is_better_than_uniform_noise(name, tmp_path):
    """With the recipe's own optimizer, schedule, averages and objective."""
    chosen = SHORT["reduced"](name)
    assert chosen.training.steps <= SHORT["steps_of"](recipe.load(name))
    keys = ("optimizer", "schedule", "augmentation")
    assert all(getattr(chosen, key) == getattr(recipe.load(name), key) for key in keys)
    made = setup.prepare(chosen, tf.distribute.get_strategy())
    loop = setup.make_loop(made, tmp_path)
    loop.run()
    used = final_weights.take(made, loop)
    found = metrics.likelihood(made.model, made.data, "test")
    assert quality.problem({"metrics": found}) is None, (found["bits_per_dim"]["value"], used)


def test_what_is_given_in_steps_is_at_most_a_fraction_of_the_run():
    settings = ("steps=200", "model.kl_warmup=2000", "num_importance_samples=2")
    made = prepared(
        *("vae-digits", *TINY, *settings, "iwae_start_step=500", "warmup_steps=500"),
        *("temporal_averaging=true", "averaging_momentum=0.9995"),
    )
    assert made.schedule.warmup_steps == 20
    assert made.model.settings["kl_warmup"] == 50
    assert made.model.settings["iwae_start_step"] == 170
    assert momentum(made.model.optimizer) == pytest.approx(1 - 1 / 40)
    assert made.scaled == {
        "schedule.warmup_steps": {"given": 500, "used": 20},
        "model.kl_warmup": {"given": 2000, "used": 50},
        "model.iwae_start_step": {"given": 500, "used": 170},
        "optimizer.averaging_momentum": {"given": 0.9995, "used": 0.975},
    }
    from tfgen.models.vae.training_loss import kl_weight

    made.model.optimizer._iterations.assign(25)
    assert float(kl_weight(made.model)) == 0.5


def test_accumulated_steps_count_once_for_averages():
    settings = ("steps=200", "use_ema=true", "ema_momentum=0.99", "gradient_accumulation_steps=4")
    made = prepared("vae-digits", *TINY, *settings)
    assert momentum(made.model.optimizer) == 0.9
    assert [*made.scaled] == ["optimizer.ema_momentum"]


def test_long_runs_and_runs_without_scaling_keep_what_is_given():
    for settings in (["steps=5000"], ["steps=20", "schedule.scale_to_run=false"]):
        made = prepared("vae-digits", *TINY, "warmup_steps=500", "model.kl_warmup=99", *settings)
        assert made.scaled == {}
        assert made.schedule.warmup_steps == 500
        assert made.model.settings["kl_warmup"] == 99


@pytest.mark.parametrize("validation", [0.1, 0])
def test_averages_that_measure_worse_are_not_saved(validation, tmp_path):
    made = prepared(
        *("vae-digits", *TINY, "steps=30", "temporal_averaging=true", "learning_rate=0.01"),
        f"data.validation={validation}",
    )
    loop = SimpleNamespace(best=None)
    model, images = made.model, made.data.images("train")[:256]
    model.fit(images, batch_size=32, epochs=3, verbose=0)
    last = model.get_weights()
    with averaged_weights(model.optimizer):
        averages = model.get_weights()
    model.set_weights([0.0 * value - 3.0 for value in last])
    used = final_weights.take(made, loop)
    assert used["used"] == "averaged"
    assert used["averaged"] < used["last"]
    assert final_weights.describe(used) is None
    for found, value in zip(model.get_weights(), averages, strict=True):
        np.testing.assert_array_equal(found, value)
    model.set_weights(last)
    for pack in model.optimizer.packs:
        pack.slots[SLOT].assign(tf.random.stateless_normal(pack.slots[SLOT].shape, [0, 0]))
    used = final_weights.take(made, loop)
    assert used["used"] == "last"
    assert used["last"] < used["averaged"]
    assert used["images"] == ("144 validation images" if validation else "1,000 training images")
    for found, value in zip(model.get_weights(), last, strict=True):
        np.testing.assert_array_equal(found, value)
    assert "saved the weights of the last step" in final_weights.describe(used)


@pytest.mark.parametrize("value", [1.2, float("nan"), float("inf")])
def test_a_model_worse_than_uniform_noise_is_an_error(value, tmp_path):
    model = tfgen.models.VAE((8, 8, 1), latent_dim=2, hidden_units=[4])
    protocol = {"bits": 1, "data": "digits", "split": "test"}
    card = {"metrics": {"bits_per_dim": {"value": value, "protocol": protocol}}}
    model.save_preset(tmp_path / "run", card=card)
    with pytest.raises(WorseThanUniformError, match="on digits test, where uniform noise needs 1"):
        refuse_if_worse_than_uniform(tmp_path / "run")


def test_hours_are_those_of_the_whole_run(monkeypatch):
    loop = SimpleNamespace(
        time_of_a_step=lambda seconds: (10.0, 0.5), replicated=SimpleNamespace(mean=float)
    )
    monkeypatch.setattr(budget, "_evaluation", lambda setup, loop: 60.0)
    monkeypatch.setattr(budget.time, "monotonic", lambda: 1000.0)
    found = budget.plan(None, loop, 0.1, 970.0)  # 360 s: 30 + 10 before, 60 after
    assert found.steps == 520
    assert found.preparation + found.steps * found.step + found.evaluation == 360
    with pytest.raises(InputError, match=r"leaves no time for training.*than 0\.028 hours"):
        budget.plan(None, loop, 0.02, 970.0)
