"""Weights that a training begins with: which are taken over, and which are refused."""

import keras
import numpy as np
import pytest

import tfgen
from tfgen.errors import InputError
from tfgen.training import initial_weights, recipe, run


def test_given_networks_may_be_built_again(tmp_path):
    """Their layers then have other names."""

    def model(width=4):
        encoder = [keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(width)]
        return tfgen.models.VAE((8, 8, 1), latent_dim=width // 2, encoder=keras.Sequential(encoder))

    first, again = model(), model()
    first.save_preset(tmp_path / "first")
    initial_weights.take_over(tmp_path / "first", again)
    for found, weight in zip(again.get_weights(), first.get_weights(), strict=True):
        np.testing.assert_array_equal(found, weight)
    plain = tfgen.models.VAE((8, 8, 1), latent_dim=2, hidden_units=[4])
    with pytest.raises(InputError, match=r"encoder=<custom network>.*encoder=mlp"):
        initial_weights.take_over(tmp_path / "first", plain)


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        (
            "vae-digits",
            ["hidden_units=[17]"],
            r"hidden_units=\[16\], but the recipe's has hidden_units=\[17\]; change",
        ),
        ("vae-digits", ["activation=elu", "latent_dim=3"], "has latent_dim=8, activation=tanh"),
        ("vae-digits", ["prior=flow"], "has prior=normal, but the recipe's has prior=flow"),
        (
            "vae-digits",
            ["data.source=shapes", "likelihood=quantized_logistic"],
            r"they are for images of shape \[8, 8, 1\], but .*images have shape \[32, 32, 3\]",
        ),
        ("glow-digits", [], "they belong to a VAE, but the recipe's model is a Glow"),
    ],
)
def test_initial_weights_that_do_not_fit_are_refused(name, settings, message, tmp_path):
    model = tfgen.models.VAE((8, 8, 1), latent_dim=8, hidden_units=[16])
    model.save_preset(tmp_path / "small")
    small = ["hidden_units=[16]"] if name == "vae-digits" else ["width=8", "depth=1"]
    chosen = recipe.load(name, ["epochs=2", *small, *settings])
    with pytest.raises(InputError, match=message):
        run.train(chosen, tmp_path / "run", initial=tmp_path / "small")
    with pytest.raises(InputError, match=message):
        run.dry_run(chosen, initial=tmp_path / "small")
    assert [path.name for path in tmp_path.iterdir()] == ["small"]
