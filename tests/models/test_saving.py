"""Models in `.keras` files, pickles and clones: what they keep, what is needed to load them."""

import copy
import json
import pickle
import subprocess
import sys
import zipfile

import keras
import numpy as np
import pytest

import tfgen
from tfgen import optimizers
from tfgen.errors import InputError


def small_vae(**options):
    return tfgen.models.VAE((4, 4, 1), latent_dim=2, hidden_units=[3], **options)


def small_glow(**options):
    return tfgen.models.Glow((4, 4, 1), levels=1, depth=2, width=4, **options)


def images_of(model, count=4):
    return np.random.default_rng(0).integers(0, 256, (count, *model.image_shape), "uint8")


def with_networks_of_the_caller():
    encoder = keras.Sequential(
        [keras.Input((4, 4, 1)), keras.layers.Flatten(), keras.layers.Dense(4)]
    )
    decoder = keras.Sequential(
        [keras.Input((2,)), keras.layers.Dense(16), keras.layers.Reshape((4, 4, 1))]
    )
    coupling = keras.Sequential(
        [keras.Input((2, 2, 2)), keras.layers.Conv2D(4, 3, padding="same", activation="tanh")]
    )
    return [small_vae(encoder=encoder, decoder=decoder), small_glow(network=coupling)]


def assert_equal_models(found, expected):
    assert json.dumps(found.get_config()) == json.dumps(expected.get_config())
    assert found.compiled == expected.compiled
    pairs = list(zip(found.weights, expected.weights, strict=True))
    if expected.compiled:
        assert found.get_compile_config() == expected.get_compile_config()
        pairs += zip(found.optimizer.variables, expected.optimizer.variables, strict=True)
    for loaded, weight in pairs:
        np.testing.assert_array_equal(loaded, weight)


@pytest.mark.parametrize("model", with_networks_of_the_caller(), ids=lambda m: m.name)
def test_networks_of_the_caller_are_saved_with_the_model(model, tmp_path):
    images = images_of(model)
    model.save(tmp_path / "model.keras")
    model.save_preset(tmp_path / "preset")
    for loaded in (
        keras.saving.load_model(tmp_path / "model.keras"),
        tfgen.zoo.load(tmp_path / "preset"),
    ):
        assert_equal_models(loaded, model)
        np.testing.assert_array_equal(loaded.log_prob(images), model.log_prob(images))


OPTIMIZERS = {
    "adam_averaged": lambda: optimizers.Adam(1e-2, temporal_averaging=True),
    "adamax_clipped": lambda: optimizers.AdaMax(optimizers.InverseSqrt(1e-2), global_clipnorm=1.0),
    "adam_accumulating": lambda: optimizers.Adam(1e-2, gradient_accumulation_steps=2),
    "keras_adam_averaged": lambda: keras.optimizers.Adam(1e-2, use_ema=True, ema_momentum=0.5),
    "loss_scaling": lambda: keras.optimizers.LossScaleOptimizer(optimizers.Adam(1e-2)),
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_training_continues_bit_for_bit_after_loading(optimizer, tmp_path):
    model = small_vae()
    images = images_of(model, 12)
    options = {"batch_size": 4, "shuffle": False, "verbose": 0}
    model.compile(OPTIMIZERS[optimizer](), seed=7, run_eagerly=True, steps_per_execution=1)
    model.fit(images, **options)  # 3 steps: in the middle of an accumulation of 2
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.run_eagerly
    assert_equal_models(loaded, model)
    assert_equal_models(pickle.loads(pickle.dumps(model)), model)
    for each in (model, loaded):
        each.fit(images, **options)
    assert_equal_models(loaded, model)
    uncompiled = keras.saving.load_model(tmp_path / "model.keras", compile=False)
    assert not uncompiled.compiled


def test_frozen_layers_of_a_compiled_model_stay_frozen(tmp_path):
    for model, frozen in ((small_vae(), "vae_encoder"), (small_glow(), "glow_flow_level0_step1")):
        for layer in model.layers:
            layer.trainable = not layer.name.startswith(frozen)
        model.compile(optimizers.Adam(1e-2))
        model.save(tmp_path / "model.keras")
        loaded = keras.saving.load_model(tmp_path / "model.keras")
        assert_equal_models(loaded, model)
        paths = [[w.path for w in each.trainable_weights] for each in (loaded, model)]
        assert paths[0] == paths[1]
        assert paths[0]
        assert not any(path.startswith(frozen) for path in paths[0])


@pytest.mark.parametrize("make", [small_vae, small_glow])
def test_copies_and_clones_are_independent(make, tmp_path):
    model = make()
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert_equal_models(other, model)
        other.weights[0].assign(other.weights[0] + 1.0)
        assert np.any(other.weights[0].numpy() != model.weights[0].numpy())
    clone = keras.models.clone_model(model)
    assert clone.get_config() == model.get_config()
    assert clone.count_params() == model.count_params() == sum(map(np.size, clone.get_weights()))
    assert clone.get_layer(model.layers[0].name) is clone.layers[0]
    model.save(tmp_path / "model.keras")
    clone.save(tmp_path / "model.keras")  # overwrites
    assert_equal_models(keras.saving.load_model(tmp_path / "model.keras"), clone)


FRESH_PROCESS = """
import sys, keras
vae, flow = sys.argv[1:]
for path in (vae, flow):
    try:
        keras.saving.load_model(path)
    except TypeError as error:
        assert "Could not locate class" in str(error) and "imported" in str(error), error
    else:
        raise AssertionError("loaded without tfgen")
from tfgen.models import VAE
model = keras.saving.load_model(vae)
assert type(model) is VAE and type(model.optimizer).__module__ == "tfgen.optimizers.adamax"
print(model.count_params())
import tfgen.bijectors
print(keras.saving.load_model(flow).count_params())
"""


def test_a_new_process_needs_the_imports_that_the_guide_names(tmp_path):
    vae, flow = tmp_path / "vae.keras", tmp_path / "flow.keras"
    model = small_vae()
    model.compile(optimizers.AdaMax(1e-2))
    model.save(vae)
    layer = tfgen.bijectors.FlowLayer(tfgen.bijectors.GlowStep((4,), width=3))
    sequential = keras.Sequential([keras.Input((4,)), layer])
    sequential.save(flow)
    result = subprocess.run(
        [sys.executable, "-c", FRESH_PROCESS, vae, flow],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == [str(m.count_params()) for m in (model, sequential)]


def rewritten(path, change):
    """A copy of a `.keras` file with another configuration."""
    changed = path.with_name("changed.keras")
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(changed, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if name == "config.json":
                config = json.loads(content)
                change(config)
                content = json.dumps(config)
            new.writestr(name, content)
    return changed


def lambda_network():
    return keras.saving.serialize_keras_object(
        keras.Sequential([keras.Input((4, 4, 1)), keras.layers.Lambda(lambda x: x[:, 0, :, 0])])
    )


@pytest.mark.filterwarnings("ignore:The object being serialized includes a `lambda`")
@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda c: c["config"].update(latent_dim=-1), InputError, "latent_dim must be .* got -1"),
        (lambda c: c["config"].update(image_shape="x"), InputError, "image_shape"),
        (lambda c: c["config"].update(power=9), TypeError, "power"),
        (lambda c: c["config"].pop("latent_dim"), TypeError, "latent_dim"),
        (lambda c: c.update(registered_name="os>system"), TypeError, "Could not locate class"),
        (lambda c: c["config"].update(encoder=lambda_network()), ValueError, "disallowed"),
        (
            lambda c: c["config"].update(encoder=c["compile_config"]["optimizer"]),
            InputError,
            "encoder must map",
        ),
        (lambda c: c["compile_config"].update(code="x"), InputError, "compile_from_config takes"),
        (
            lambda c: c["compile_config"].update(frozen_layers=[10**9]),
            InputError,
            "frozen_layers must be numbers below",
        ),
        (lambda c: c["compile_config"].pop("optimizer"), InputError, "compile_from_config takes"),
    ],
)
def test_hostile_files_give_clear_errors(change, error, message, tmp_path):
    model = small_vae()
    model.compile(keras.optimizers.SGD(1e-2))
    model.save(tmp_path / "model.keras")
    with pytest.raises(error, match=message):
        keras.saving.load_model(rewritten(tmp_path / "model.keras", change))
