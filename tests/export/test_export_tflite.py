"""TFLite files compute what the models compute in Python, up to rounding."""

import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter
from export_cases import (
    BATCHES,
    BFLOAT16,
    MODELS,
    assert_same,
    bfloat16,
    cases,
    model,
    rows,
)

import tfgen
from tfgen.errors import InputError
from tfgen.export.litert import flatbuffer
from tfgen.export.signatures import DEVICE
from tfgen.files import sha256

NAMES = ("images", "latents")
EVERY = pytest.mark.parametrize("name", MODELS)


@EVERY
def test_float32_equals_the_model(name, written):
    file = written(name)
    interpreter = Interpreter(str(file))
    assert sorted(interpreter.get_signature_list()) == sorted(DEVICE)
    for verb in DEVICE:
        inputs, outputs = cases(name)[verb]
        for count in BATCHES:
            found = interpreter.get_signature_runner(verb)(**rows(inputs, count))
            assert_same(found, rows(outputs, count), f"{verb} of {count}")
    for verb, entry in tfgen.export.card(file)["signatures"].items():
        for output, error in entry["error"].items():
            assert error.get("relative", 0.0) <= 1e-5, (verb, output)
            assert error.get("values_that_differ", 0.0) <= 1e-3, (verb, output)


@EVERY
def test_the_card_holds_what_was_written_and_measured(name, written):
    file = written(name)
    card = tfgen.export.card(file)
    assert card["format"] == "TFLite"
    assert card["precision"] == "float32"
    assert card["bytes"] == file.stat().st_size
    assert card["files"] == {file.name: sha256(file)}
    assert card["images"]["count"] == 64
    expected = "split test" if name in tfgen.zoo.list() else "samples of the model"
    assert expected in card["images"]["from"]
    assert card["left_out"] == {}
    assert not {op for op in card["operations"] if op == "CUSTOM" or op.startswith("Flex")}
    interpreter = Interpreter(str(file))
    assert {op["op_name"] for op in interpreter._get_ops_details()} <= {
        *card["operations"],
        "DELEGATE",
    }
    signatures = interpreter.get_signature_list()
    assert set(card["signatures"]) == set(card["latency"]) == set(signatures)
    for verb, entry in card["signatures"].items():
        assert card["latency"][verb] > 0.0
        assert sorted(entry["inputs"]) == sorted(signatures[verb]["inputs"])
        assert sorted(entry["outputs"]) == sorted(signatures[verb]["outputs"])
    if name in tfgen.zoo.list():
        assert card["model"]["metrics"] == tfgen.zoo.card(name)["metrics"]
        images = tfgen.data.load(card["model"]["data"]["name"]).images("test")
        deviation = np.std(model(name).log_prob(images))
        assert card["log_prob_deviation"]["nats"] == pytest.approx(deviation, rel=1e-3)


def errors_of(name, file, verb):
    inputs, outputs = cases(name)[verb]
    found = Interpreter(str(file)).get_signature_runner(verb)(**inputs)
    return {key: np.abs(found[key].astype("float64") - outputs[key]) for key in outputs}


def test_float16_halves_the_weights_and_keeps_the_likelihood(written):
    full, half = written("vae-digits"), written("vae-digits", "float16")
    saved = full.stat().st_size - half.stat().st_size
    assert saved > 0.48 * 4 * model("vae-digits").count_params()
    assert half.stat().st_size < 0.55 * full.stat().st_size
    card = tfgen.export.card(half)
    assert card["left_out"] == {}
    assert 1e-4 < errors_of("vae-digits", half, "log_prob")["log_prob"].max() < 0.035
    assert errors_of("vae-digits", half, "decode")["images"].max() <= 1
    stated = card["signatures"]["log_prob"]["error"]["log_prob"]["largest"]
    again = errors_of("vae-digits", half, "log_prob")["log_prob"].max()
    assert stated == pytest.approx(again, rel=0.01)


def test_float16_of_a_flow_keeps_the_likelihood(written):
    full = written("glow-digits")
    deviation = tfgen.export.card(full)["log_prob_deviation"]["nats"]
    half = flatbuffer.halve_weights(full.read_bytes())
    inputs, outputs = cases("glow-digits")["log_prob"]
    found = Interpreter(model_content=half).get_signature_runner("log_prob")(**inputs)
    largest = np.abs(found["log_prob"] - outputs["log_prob"]).max()
    assert 1e-4 < largest < 0.01 * deviation
    assert len(half) < 0.7 * full.stat().st_size


@pytest.mark.parametrize("kind", ["dynamic_int8", "int8"])
def test_int8_leaves_out_a_likelihood_that_it_ruins(kind, written):
    file = written("vae-digits", kind)
    assert file.stat().st_size < 0.5 * written("vae-digits").stat().st_size
    card = tfgen.export.card(file)
    left_out = card["left_out"]["log_prob"]
    deviation = card["log_prob_deviation"]["nats"]
    assert left_out["largest"] > 0.01 * deviation
    assert f"exceeds 1 % of {deviation:.4g} nats" in left_out["reason"]
    verbs = set(DEVICE) - {"log_prob"}
    interpreter = Interpreter(str(file))
    assert set(interpreter.get_signature_list()) == set(card["signatures"]) == verbs
    calibrated = "digits, split train" if kind == "int8" else None
    assert card["images"]["calibration"] == calibrated


@pytest.mark.parametrize("kind", ["dynamic_int8", "int8"])
def test_the_errors_of_int8_are_those_in_the_card(kind, written):
    file = written("vae-digits", kind)
    stated = {k: v["error"] for k, v in tfgen.export.card(file)["signatures"].items()}
    images, latents = (cases("vae-digits")["encode"][i][k] for i, k in enumerate(NAMES))
    expected = {
        "encode": ({"images": images}, latents),
        "reconstruct": ({"images": images}, model("vae-digits").reconstruct(images).numpy()),
        "decode": ({"latents": latents}, model("vae-digits").decode(latents).numpy()),
    }
    for count in (64, 1, 3):
        for verb, (inputs, outputs) in expected.items():
            runner = Interpreter(str(file)).get_signature_runner(verb)
            (found,) = runner(**rows(inputs, count)).values()
            errors = np.abs(found.astype("float64") - outputs[:count])
            (error,) = stated[verb].values()
            largest = error["largest_levels" if verb != "encode" else "largest"]
            assert errors.max() <= 1.01 * largest, (verb, count)
            if count == 64:
                mean = error.get("mean_levels", errors.mean())
                assert errors.max() == pytest.approx(largest, rel=0.01), verb
                assert errors.mean() == pytest.approx(mean, abs=1e-5), verb


@pytest.mark.parametrize("kind", BFLOAT16)
def test_networks_in_bfloat16_compute_in_float32(kind, tmp_path):
    trained = bfloat16(kind)
    file = tfgen.export.tflite(trained, tmp_path / "model.tflite")
    assert tfgen.export.card(file)["networks"] == "float32, in place of bfloat16"
    same = type(trained).from_config({**trained.get_config(), "network_dtype": "float32"})
    same.set_weights(trained.get_weights())
    images = np.random.default_rng(0).integers(0, 256, (5, 4, 4, 1)).astype("uint8")
    found = Interpreter(str(file)).get_signature_runner("log_prob")(images=images)["log_prob"]
    np.testing.assert_allclose(found, same.log_prob(images), rtol=1e-5)
    np.testing.assert_allclose(found, trained.log_prob(images), rtol=0.01)
    assert np.any(found != trained.log_prob(images))  # which rounds


def small_vae(**options):
    return tfgen.models.VAE((8, 8, 1), latent_dim=2, hidden_units=[4], **options)


def test_the_images_of_the_caller_are_used(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 1)).astype("uint8")
    file = tfgen.export.tflite(small_vae(), tmp_path / "a.tflite", "int8", images=images)
    given = "images given by the caller"
    card = tfgen.export.card(file)
    assert card["images"] == {"count": 40, "from": given, "calibration": given}
    assert card["log_prob_deviation"]["of"] == f"{given}, 40 images"
    with pytest.raises(InputError, match="images must be uint8"):
        tfgen.export.tflite(small_vae(), tmp_path / "b.tflite", images=images / 255.0)
    with pytest.raises(InputError, match="at least one image"):
        tfgen.export.tflite(small_vae(), tmp_path / "b.tflite", images=images[:0])


@pytest.mark.parametrize("count", [1, 3])
def test_too_few_images_do_not_determine_the_deviation(count, tmp_path):
    """The deviation is then that of the card, or of samples."""
    images, untrained = tfgen.data.load("digits").images("test"), small_vae()
    no_data = "because no card names the data it was trained on"
    for given, of, log_prob in (
        ("vae-digits", "digits, split test, 360 images", model("vae-digits").log_prob(images)),
        (
            untrained,
            f"samples of the model, {no_data}, 1024 images",
            untrained.log_prob(untrained.sample(1024, seed=0)),
        ),
    ):
        file = tfgen.export.tflite(given, tmp_path / "a.tflite", images=images[:count])
        card = tfgen.export.card(file)
        assert card["left_out"] == {}
        assert card["images"]["count"] == count
        assert card["log_prob_deviation"]["of"] == of
        assert card["log_prob_deviation"]["nats"] == pytest.approx(np.std(log_prob), rel=1e-3)


def test_a_failed_export_leaves_what_was_there(tmp_path, monkeypatch):
    file = tmp_path / "model.tflite"
    file.write_bytes(b"mine")

    def fail(*arguments, **options):
        raise OSError("the disk is full")

    monkeypatch.setattr(tf.saved_model, "save", fail)
    with pytest.raises(OSError, match="the disk is full"):
        tfgen.export.tflite(small_vae(), file)
    assert [path.name for path in tmp_path.iterdir()] == ["model.tflite"]
    assert file.read_bytes() == b"mine"


def test_an_operation_that_tflite_lacks_is_named(tmp_path):
    with pytest.raises(InputError, match="no builtin operation for Erf"):
        tfgen.export.tflite(small_vae(activation=erf), tmp_path / "model.tflite")
    assert list(tmp_path.iterdir()) == []


def erf(x):
    return tf.math.erf(x)


def test_bad_targets_are_refused(tmp_path):
    with pytest.raises(InputError, match="is a directory"):
        tfgen.export.tflite("vae-digits", tmp_path)
    with pytest.raises(InputError, match="there is no directory"):
        tfgen.export.tflite("vae-digits", tmp_path / "nowhere" / "model.tflite")
    with pytest.raises(InputError, match=r"must end in \.tflite"):
        tfgen.export.tflite("vae-digits", tmp_path / "model.lite")
    with pytest.raises(InputError, match="one of float32, float16, dynamic_int8, int8, got 'int3'"):
        tfgen.export.tflite("vae-digits", tmp_path / "model.tflite", precision="int3")
    assert list(tmp_path.iterdir()) == []
