"""Exported graphs give what Python gives, where neither Keras nor tfgen can be imported."""

import subprocess
import sys
import textwrap

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

import tfgen
from tfgen.errors import InputError

VERBS = ["decode", "encode", "log_prob", "reconstruct", "sample"]
MODELS = {
    "vae-digits": lambda: tfgen.zoo.load("vae-digits"),
    "glow-digits": lambda: tfgen.zoo.load("glow-digits"),
    "vae-logistic": lambda: tfgen.models.VAE(
        (8, 8, 3), latent_dim=4, hidden_units=[16], likelihood="quantized_logistic"
    ),
    "vae-importance": lambda: tfgen.models.VAE(
        (8, 8, 1), latent_dim=4, hidden_units=[16], importance_samples=5
    ),
    "glow-shuffle": lambda: tfgen.models.Glow(
        (8, 8, 3), levels=2, depth=2, width=8, coupling="additive", permutation="shuffle"
    ),
}
BATCHES = (1, 3, 64)


@pytest.fixture(scope="module", params=MODELS)
def case(request):
    """A model, one batch of inputs for each verb, and what Python makes of them."""
    model = MODELS[request.param]()
    generator = np.random.default_rng(0)
    noise = generator.normal(size=(64, model.latent_dim)).astype("float32")
    temperature = generator.uniform(0.2, 1.0, 64).astype("float32")
    images = model.sample(64, seed=5).numpy()
    inputs = {
        "log_prob": {"images": images},
        "encode": {"images": images},
        "decode": {"latents": noise},
        "sample": {"noise": noise, "temperature": temperature},
        "reconstruct": {"images": images},
    }
    outputs = {
        "log_prob": {"log_prob": model.log_prob(images).numpy()},
        "encode": {"latents": model.encode(images).numpy()},
        "decode": {"images": model.decode(noise).numpy()},
        "sample": {"images": model.decode(noise * temperature[:, None]).numpy()},
        "reconstruct": {"images": model.reconstruct(images).numpy()},
    }
    return model, inputs, outputs


def assert_same(found, expected, verb):
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        assert found[key].dtype == value.dtype
        assert found[key].shape == value.shape
        if value.dtype == np.uint8:  # a value between two levels may be rounded to either
            difference = np.abs(found[key].astype(int) - value)
            assert np.mean(difference > 0) < 1e-3, verb
        else:
            scale = np.abs(value).max()
            np.testing.assert_allclose(found[key], value, rtol=1e-4, atol=1e-5 * scale)


def test_a_saved_model_needs_neither_keras_nor_tfgen(case, tmp_path):
    model, inputs, outputs = case
    path = tfgen.export.saved_model(model, tmp_path)
    arrays = {f"{verb}/{key}": v for verb, part in inputs.items() for key, v in part.items()}
    np.savez(tmp_path / "inputs.npz", **arrays)
    script = f"""
        import sys

        for name in ("keras", "tf_keras", "tfgen", "tensorflow_probability"):
            sys.modules[name] = None  # importing it fails from here on
        import numpy as np
        import tensorflow as tf

        loaded = tf.saved_model.load({str(path)!r})
        arrays = np.load({str(tmp_path / "inputs.npz")!r})
        results = {{}}
        for verb in {VERBS}:
            for count in {BATCHES}:
                own = [name for name in arrays if name.startswith(verb)]
                given = {{n.split("/")[1]: tf.constant(arrays[n][:count]) for n in own}}
                for key, value in loaded.signatures[verb](**given).items():
                    results[f"{{verb}}/{{count}}/{{key}}"] = value.numpy()
        assert sorted(loaded.signatures) == {sorted([*VERBS, "serving_default"])}
        assert loaded.signatures["serving_default"].structured_outputs.keys() == {{"log_prob"}}
        np.savez({str(tmp_path / "outputs.npz")!r}, **results)
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=True)
    results = np.load(tmp_path / "outputs.npz")
    for verb in VERBS:
        for count in BATCHES:
            prefix = f"{verb}/{count}/"
            found = {k.removeprefix(prefix): v for k, v in results.items() if k.startswith(prefix)}
            assert_same(found, {k: v[:count] for k, v in outputs[verb].items()}, verb)


def test_a_tflite_file_gives_the_same_with_builtin_operations_only(case, tmp_path):
    model, inputs, outputs = case
    path = tfgen.export.tflite(model, tmp_path / "model.tflite")
    interpreter = Interpreter(str(path))
    assert sorted(interpreter.get_signature_list()) == VERBS
    operations = {op["op_name"] for op in interpreter._get_ops_details()}
    assert not {name for name in operations if "Flex" in name or name == "CUSTOM"}
    for verb in VERBS:
        for count in BATCHES:
            runner = interpreter.get_signature_runner(verb)
            found = runner(**{k: v[:count] for k, v in inputs[verb].items()})
            assert_same(found, {k: v[:count] for k, v in outputs[verb].items()}, verb)


def test_a_saved_model_refuses_other_shapes(tmp_path):
    import tensorflow as tf

    path = tfgen.export.saved_model("vae-digits", tmp_path)
    log_prob = tf.saved_model.load(str(path)).signatures["log_prob"]
    with pytest.raises(tf.errors.InvalidArgumentError):
        log_prob(images=tf.zeros([1, 8, 9, 1], tf.uint8))


def test_versions_are_numbered_and_never_overwritten(tmp_path):
    assert tfgen.export.saved_model("vae-digits", tmp_path).name == "1"
    assert tfgen.export.saved_model("vae-digits", tmp_path, version=7).name == "7"
    assert tfgen.export.saved_model("vae-digits", tmp_path).name == "8"
    with pytest.raises(InputError, match="7 exists: choose another version"):
        tfgen.export.saved_model("vae-digits", tmp_path, version=7)
    for version in (0, -1, "3", True):
        with pytest.raises(InputError, match="version must be a positive integer"):
            tfgen.export.saved_model("vae-digits", tmp_path, version=version)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["1", "7", "8"]


def test_a_failed_export_leaves_nothing(tmp_path, monkeypatch):
    import tensorflow as tf

    def fail(module, directory, **options):
        raise OSError("the disk is full")

    monkeypatch.setattr(tf.saved_model, "save", fail)
    with pytest.raises(OSError, match="the disk is full"):
        tfgen.export.saved_model("vae-digits", tmp_path)
    with pytest.raises(OSError, match="the disk is full"):
        tfgen.export.tflite("vae-digits", tmp_path / "model.tflite")
    assert list(tmp_path.iterdir()) == []


def test_bad_targets_are_refused(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match="is a file"):
        tfgen.export.saved_model("vae-digits", tmp_path / "file")
    with pytest.raises(InputError, match="is a directory"):
        tfgen.export.tflite("vae-digits", tmp_path)
    with pytest.raises(InputError, match="there is no directory"):
        tfgen.export.tflite("vae-digits", tmp_path / "nowhere" / "model.tflite")
    with pytest.raises(InputError, match="precision must be one of float32, got 'int3'"):
        tfgen.export.tflite("vae-digits", tmp_path / "model.tflite", precision="int3")
    with pytest.raises(InputError, match="no model 'vea'"):
        tfgen.export.saved_model("vea", tmp_path)
