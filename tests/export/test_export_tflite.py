"""TFLite files do on a device what the models do in Python, as far as their numbers allow."""

import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter
from export_cases import BATCHES, MODELS, assert_same, bfloat16, cases, model, rows

import tfgen
from tfgen.errors import InputError
from tfgen.export import flatbuffer, litert_run, precision
from tfgen.export.signatures import DEVICE
from tfgen.files import sha256
from tfgen.models.noise import ImageNoise

NAMES = ("images", "latents")
EVERY = pytest.mark.parametrize("name", MODELS)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The file of a model at a precision, written once."""
    files = {}

    def file(name, precision="float32"):
        if (name, precision) not in files:
            path = tmp_path_factory.mktemp(name) / f"{precision}.tflite"
            given = name if name in tfgen.zoo.list() else model(name)
            files[name, precision] = tfgen.export.tflite(given, path, precision)
        return files[name, precision]

    return file


@EVERY
def test_float32_gives_what_python_gives(name, written):
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
def test_the_card_tells_what_was_written_and_measured(name, written):
    file = written(name)
    card = tfgen.export.card(file)
    assert card["format"] == "TFLite"
    assert card["precision"] == "float32"
    assert card["bytes"] == file.stat().st_size
    assert card["files"] == {file.name: sha256(file)}
    assert card["images"]["count"] == 64
    wanted = "split test" if name in tfgen.zoo.list() else "samples of the model"
    assert wanted in card["images"]["from"]
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
def test_int8_leaves_out_a_likelihood_that_it_ruins_and_says_so(kind, written):
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
    wanted = {
        "encode": ({"images": images}, latents),
        "reconstruct": ({"images": images}, model("vae-digits").reconstruct(images).numpy()),
        "decode": ({"latents": latents}, model("vae-digits").decode(latents).numpy()),
    }
    for count in (64, 1, 3):
        for verb, (inputs, outputs) in wanted.items():
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


def test_networks_in_bfloat16_compute_in_float32(tmp_path):
    trained = bfloat16()
    file = tfgen.export.tflite(trained, tmp_path / "model.tflite")
    assert tfgen.export.card(file)["networks"] == "float32, in place of bfloat16"
    same = tfgen.models.Glow.from_config({**trained.get_config(), "network_dtype": "float32"})
    same.set_weights(trained.get_weights())
    images = np.random.default_rng(0).integers(0, 256, (5, 4, 4, 1)).astype("uint8")
    found = Interpreter(str(file)).get_signature_runner("log_prob")(images=images)["log_prob"]
    np.testing.assert_allclose(found, same.log_prob(images), rtol=1e-5)
    np.testing.assert_allclose(found, trained.log_prob(images), rtol=0.01)
    assert np.any(found != trained.log_prob(images))  # which has rounded


class Noise(tf.Module):
    """The noise of images, and the integers behind it, as signatures of their own."""

    def __init__(self, image_shape):
        super().__init__()
        noise = ImageNoise(image_shape)
        images = tf.TensorSpec([None, *image_shape], tf.uint8, name="images")

        def uniform(images):
            return {"noise": noise.uniform(images, image_shape)}

        def integers(images):
            return {"hash": noise._hash(images)}

        self.functions = {
            function.__name__: tf.function(function, autograph=False).get_concrete_function(images)
            for function in (uniform, integers)
        }
        self.functions["log_prob"] = self.functions["uniform"]


@pytest.mark.parametrize(
    ("kind", "image_shape"),
    [*((kind, (8, 8, 1)) for kind in precision.PRECISIONS), ("float32", (32, 32, 3))],
)
def test_the_noise_of_an_image_is_the_same_to_the_last_bit(kind, image_shape):
    """Another level of one pixel would move a likelihood by nats."""
    images = np.random.default_rng(0).integers(0, 256, (64, *image_shape)).astype("uint8")
    images[0], images[1] = 0, 255
    module = Noise(image_shape)
    calibration = {verb: {"images": images} for verb in module.functions}
    content = precision.converted(module, kind, list(module.functions), calibration)
    interpreter = Interpreter(model_content=content)
    hashes = interpreter.get_signature_runner("integers")(images=images)["hash"]
    np.testing.assert_array_equal(hashes, ImageNoise(image_shape)._hash(images))
    if kind != "int8":  # there floats have 8 bits, and the exporter leaves log_prob out
        found = interpreter.get_signature_runner("uniform")(images=images)["noise"]
        wanted = ImageNoise(image_shape).uniform(images, image_shape).numpy()
        np.testing.assert_array_equal(found, wanted)
        grey = images.astype("float32") / 255.0
        np.testing.assert_array_equal(grey > found, grey > wanted)


class Dense(tf.Module):
    """Signatures that share a kernel, which one of them also uses outside of a dense layer."""

    def __init__(self, kernel, small):
        super().__init__()
        self.kernel, self.small = tf.Variable(kernel), tf.Variable(small)
        spec = tf.TensorSpec([None, 32], tf.float32, name="x")

        def hidden(x):
            return tf.tanh(tf.matmul(x, self.kernel, transpose_b=True))

        def log_prob(x):
            return {"y": hidden(x) @ self.small}

        def twice(x):
            return {"y": 2.0 * hidden(x) + tf.reduce_sum(self.kernel * x[:1], axis=-1)}

        self.functions = {
            f.__name__: tf.function(f, autograph=False).get_concrete_function(spec)
            for f in (log_prob, twice)
        }


def test_rewriting_changes_the_bytes_and_not_the_numbers():
    generator = np.random.default_rng(0)
    kernel = generator.normal(size=(64, 32)).astype("float32")
    small = generator.normal(size=(64, 3)).astype("float32")
    x = generator.normal(size=(5, 32)).astype("float32")
    half_of = kernel.astype("float16").astype("float32")
    verbs = ["log_prob", "twice"]
    full = precision.converted(Dense(kernel, small), "float32", verbs)
    half = flatbuffer.halve_weights(full)
    rounded = precision.converted(Dense(half_of, small), "float32", verbs)
    for verb in verbs:
        answers = [
            Interpreter(model_content=content).get_signature_runner(verb)(x=x)["y"]
            for content in (half, rounded, full)
        ]
        np.testing.assert_array_equal(answers[0], answers[1])
        for answer, weights in ((answers[0], half_of), (answers[2], kernel)):
            x64, w = x.astype("float64"), weights.astype("float64")
            hidden = np.tanh(x64 @ w.T)
            wanted = {"log_prob": hidden @ small, "twice": 2.0 * hidden + w @ x64[0]}[verb]
            assert np.abs(answer - wanted).max() <= 1e-5 * np.abs(wanted).max()
        assert np.any(answers[0] != answers[2])
    # The kernel stands in both graphs, and once in the file.
    assert len(full) < 4 * kernel.size + 4000
    assert len(full) - len(half) == pytest.approx(2 * kernel.size, abs=600)
    assert flatbuffer.operations(half) == flatbuffer.operations(full) | {"DEQUANTIZE"}


@pytest.mark.parametrize("verbs", [["log_prob"], ["twice"]])
def test_a_file_may_have_some_of_the_signatures(verbs):
    kernel, small = np.ones((64, 32), "float32"), np.ones((64, 3), "float32")
    content = precision.converted(Dense(kernel, small), "float32", verbs)
    assert list(Interpreter(model_content=content).get_signature_list()) == verbs


def test_differences_are_those_of_numpy():
    found = litert_run.difference(np.array([3.0, -4.0]), np.array([3.5, -5.0]))
    assert found["largest"] == 1.0
    assert found["root_mean_square"] == pytest.approx(np.sqrt(0.625), rel=1e-2)
    assert found["relative"] == 0.2
    levels = litert_run.difference(np.array([0, 255], "uint8"), np.array([255, 255], "uint8"))
    assert levels == {"largest_levels": 255, "mean_levels": 127.5, "values_that_differ": 0.5}
    with pytest.raises(ValueError, match="in place of"):
        litert_run.difference(np.zeros(3), np.zeros((3, 1)))
    assert np.isnan(litert_run.difference(np.array([np.nan]), np.ones(1))["largest"])


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


@pytest.mark.parametrize("name", ["vae-digits", "vae-rgb"])
@pytest.mark.parametrize("count", [1, 3])
def test_few_images_tell_no_deviation(name, count, tmp_path):
    """The card's deviation holds, or that of samples."""
    images = np.asarray(cases(name)["log_prob"][0]["images"][:count])
    given = name if name in tfgen.zoo.list() else model(name)
    card = tfgen.export.card(tfgen.export.tflite(given, tmp_path / "a.tflite", images=images))
    assert card["left_out"] == {}
    assert card["images"]["count"] == count
    deviation = card["log_prob_deviation"]
    if name in tfgen.zoo.list():
        assert deviation["of"] == "digits, split test, 360 images"
        wanted = np.std(model(name).log_prob(tfgen.data.load("digits").images("test")))
    else:
        assert deviation["of"].startswith("samples of the model")
        wanted = np.std(model(name).log_prob(model(name).sample(1024, seed=0)))
    assert deviation["nats"] == pytest.approx(wanted, rel=1e-3)


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
        tfgen.export.tflite(small_vae(activation=tfgen_erf), tmp_path / "model.tflite")
    assert list(tmp_path.iterdir()) == []


def tfgen_erf(x):
    return tf.math.erf(x)


def test_bad_targets_are_refused(tmp_path):
    with pytest.raises(InputError, match="is a directory"):
        tfgen.export.tflite("vae-digits", tmp_path)
    with pytest.raises(InputError, match="there is no directory"):
        tfgen.export.tflite("vae-digits", tmp_path / "nowhere" / "model.tflite")
    with pytest.raises(InputError, match=r"ends in \.tflite"):
        tfgen.export.tflite("vae-digits", tmp_path / "model.lite")
    with pytest.raises(InputError, match="one of float32, float16, dynamic_int8, int8, got 'int3'"):
        tfgen.export.tflite("vae-digits", tmp_path / "model.tflite", precision="int3")
    assert list(tmp_path.iterdir()) == []
