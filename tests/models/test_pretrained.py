"""`from_preset`, `save_preset` and `presets`, as in keras-hub."""

import numpy as np
import pytest

import tfgen
from tfgen.errors import InputError
from tfgen.models.base import GenerativeModel


def test_presets_of_a_class_are_the_models_of_the_zoo_of_that_class():
    vae, glow = tfgen.models.VAE.presets, tfgen.models.Glow.presets
    assert {"vae-digits", "vae-mnist"} <= set(vae)
    assert {"glow-digits", "glow-cifar10"} <= set(glow)
    assert not set(vae) & set(glow)
    assert set(GenerativeModel.presets) == set(vae) | set(glow) == set(tfgen.zoo.list())
    for name, preset in {**vae, **glow}.items():
        card = tfgen.zoo.card(name)
        assert preset["metadata"] == {
            "description": card["summary"],
            "params": card["parameters"],
            "path": str(tfgen.zoo.directory(name)),
        }


def test_a_preset_is_loaded_by_its_class_and_by_the_base_class():
    expected = tfgen.zoo.load("vae-digits").get_weights()
    for cls in (tfgen.models.VAE, GenerativeModel):
        model = cls.from_preset("vae-digits")
        assert type(model) is tfgen.models.VAE
        for found, weight in zip(model.get_weights(), expected, strict=True):
            np.testing.assert_array_equal(found, weight)


def test_arguments_replace_those_of_the_preset():
    model = tfgen.models.Glow.from_preset("glow-digits", memory="reversible", name="flow")
    assert (model.get_config()["memory"], model.name) == ("reversible", "flow")
    for found, weight in zip(
        model.get_weights(), tfgen.zoo.load("glow-digits").get_weights(), strict=True
    ):
        np.testing.assert_array_equal(found, weight)
    vae = tfgen.models.VAE.from_preset("vae-digits", network_dtype="bfloat16", beta=0.5)
    assert (vae.encoder.layers[0].compute_dtype, vae.settings["beta"]) == ("bfloat16", 0.5)


def test_without_weights_a_preset_gives_an_initial_model():
    model = tfgen.models.Glow.from_preset("glow-digits", load_weights=False, depth=1)
    assert not model.initialized
    assert model.get_config()["depth"] == 1


class OwnVAE(tfgen.models.VAE):
    """A subclass, whose presets the zoo does not have."""


@pytest.mark.parametrize(
    ("load", "message"),
    [
        (
            lambda: tfgen.models.VAE.from_preset("glow-digits"),
            r"VAE.from_preset: glow-digits is a Glow: use tfgen.models.Glow.from_preset",
        ),
        (lambda: OwnVAE.from_preset("vae-digits"), "vae-digits is a VAE: use tfgen.models.VAE"),
        (lambda: GenerativeModel.from_preset("vae-nothing"), "no model 'vae-nothing'"),
        (lambda: tfgen.models.VAE.from_preset("vae-digits", power=9), "cannot build .*'power'"),
        (
            lambda: tfgen.models.VAE.from_preset("vae-digits", load_weights=False, power=9),
            "cannot build .*'power'",
        ),
        (lambda: tfgen.models.VAE.from_preset("vae-digits", beta=-1), "beta must be"),
        (
            lambda: tfgen.models.Glow.from_preset("glow-digits", width=3),
            "with width the model has weights of other shapes.*load_weights=False",
        ),
    ],
)
def test_what_does_not_fit_is_refused(load, message):
    with pytest.raises(InputError, match=message):
        load()


def test_a_saved_preset_is_loaded(tmp_path):
    model = tfgen.models.VAE((4, 4, 1), latent_dim=2, hidden_units=[3])
    model.save_preset(tmp_path / "mine")
    loaded = tfgen.models.VAE.from_preset(tmp_path / "mine")
    assert loaded.get_config() == model.get_config()
    with pytest.raises(InputError, match="is a VAE: use"):
        tfgen.models.Glow.from_preset(tmp_path / "mine")
