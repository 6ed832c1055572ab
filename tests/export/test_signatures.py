"""SavedModels compute in TF Serving what models compute in Python, and refuse invalid inputs."""

import contextlib
import inspect
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from export_cases import (
    BATCHES,
    BFLOAT16,
    MODELS,
    assert_same,
    bfloat16,
    cases,
    model,
    png,
    rows,
    served_cases,
)
from PIL import Image
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow.python.framework import op_def_registry
from tensorflow.python.tools import saved_model_cli
from tensorflow_serving.apis import prediction_log_pb2

import tfgen
from tfgen.bijectors.coupling import LOG_SCALES, NETWORKS
from tfgen.bijectors.glow_step import COUPLINGS, PERMUTATIONS
from tfgen.bijectors.step_sequence import MEMORY
from tfgen.export import signatures, warmup
from tfgen.files import sha256
from tfgen.models import preset
from tfgen.models.glow.class_prior import CLASS_PRIORS
from tfgen.models.glow.model import DEQUANTIZATIONS
from tfgen.models.glow.preprocessing import PREPROCESSINGS
from tfgen.models.vae.likelihoods import BINARIZATIONS, LIKELIHOODS

EVERY = pytest.mark.parametrize("name", MODELS)
# Operations that TensorFlow calls stateful, without a state that a request could see or change.
ALLOWED_STATEFUL = {
    "Assert",
    "Placeholder",
    "VarHandleOp",
    "ReadVariableOp",
    "ResourceGather",
    "AssignVariableOp",
    "StatefulPartitionedCall",
    "While",
    "If",
    "DisableCopyOnRead",
    "SaveV2",
    "RestoreV2",
    "MergeV2Checkpoints",
    "ShardedFilename",
}


@EVERY
def test_each_signature_equals_the_model_in_any_order_and_concurrently(name, saved, serve):
    path, expected = saved(name), served_cases(name)
    keys = [(key, count) for key in expected for count in BATCHES]
    for seed in range(2):
        np.random.default_rng(seed).shuffle(keys)
        requests = [(path, str(key), rows(expected[key][0], int(count))) for key, count in keys]
        for (key, count), answer in zip(keys, serve(requests), strict=True):
            assert not isinstance(answer, str), answer
            assert_same(answer, rows(expected[key][1], int(count)), f"{key} of {count}")


def test_every_signature_has_a_case_and_is_documented():
    tested = {key for name in MODELS for key in cases(name)} - {"serving_default"}
    assert tested == set(signatures.SIGNATURES)
    guide = Path(__file__).parents[2].joinpath("docs", "export.md").read_text()
    for text in (signatures.__doc__, guide):
        assert {key for key in tested if f"| `{key}`" in text} == tested


CHOICES = {
    "coupling": COUPLINGS,
    "permutation": PERMUTATIONS,
    "scale": LOG_SCALES,
    "network": NETWORKS,
    "preprocessing": PREPROCESSINGS,
    "class_prior": CLASS_PRIORS,
    "memory": MEMORY,
    "dequantization": DEQUANTIZATIONS,
    "likelihood": LIKELIHOODS,
    "binarization": BINARIZATIONS,
    "encoder": ("mlp", "conv"),
    "decoder": ("mlp", "conv"),
}


@pytest.mark.parametrize("kind", [tfgen.models.Glow, tfgen.models.VAE])
def test_the_models_have_every_option(kind):
    """A new option of a model needs an exported model that uses it."""
    models = [*map(model, MODELS), *map(bfloat16, BFLOAT16)]
    configs = [m.get_config() for m in models if type(m) is kind]
    options = dict(inspect.signature(kind).parameters)
    for option in ("image_shape", "name"):
        del options[option]
    for option, parameter in options.items():
        values = [config[option] for config in configs]
        missing = [choice for choice in CHOICES.get(option, ()) if choice not in values]
        assert not missing, option
        assert any(value != parameter.default for value in values), option


@EVERY
def test_it_has_all_signatures_and_no_others(name, saved):
    card = json.loads((saved(name) / "assets.extra" / preset.CARD).read_text())
    assert set(card["signatures"]) == set(served_cases(name))
    for key, (inputs, outputs) in served_cases(name).items():
        assert set(card["signatures"][key]["inputs"]) == set(inputs)
        assert set(card["signatures"][key]["outputs"]) == set(outputs)


def graph_and_nodes(path):
    content = saved_model_pb2.SavedModel.FromString((path / "saved_model.pb").read_bytes())
    graph = content.meta_graphs[0].graph_def
    return graph, [*graph.node, *(node for f in graph.library.function for node in f.node_def)]


@EVERY
def test_the_graph_has_no_python_no_xla_and_no_state(name, saved):
    graph, nodes = graph_and_nodes(saved(name))
    stateful = {node.op for node in nodes if op_def_registry.get(node.op).is_stateful}
    assert stateful <= ALLOWED_STATEFUL, stateful - ALLOWED_STATEFUL
    compiled = [f for f in graph.library.function if f.attr["_XlaMustCompile"].b]
    assert not compiled
    assert not any(node.attr["_XlaMustCompile"].b for node in nodes)


@pytest.mark.parametrize("name", ["glow-digits", "glow-variational", "vae-of-flows"])
def test_functions_of_the_weights_are_precomputed(name, saved):
    _, nodes = graph_and_nodes(saved(name))
    operations = {node.op for node in nodes}
    assert not operations & {"MatrixTriangularSolve", "InvertPermutation", "MatrixInverse"}


def test_the_serving_process_refuses_xla_as_tf_serving_does(tmp_path, serve):
    """Otherwise the tests above would not notice it."""

    class Compiled(tf.Module):
        @tf.function(jit_compile=True, input_signature=[tf.TensorSpec([None], tf.float32, "x")])
        def double(self, x):
            return {"y": 2.0 * x}

    module = Compiled()
    tf.saved_model.save(module, str(tmp_path), signatures={"double": module.double})
    (answer,) = serve([(tmp_path, "double", {"x": np.ones(2, "float32")})])
    assert "XLA compilation disabled" in answer


@EVERY
def test_the_card_has_the_signatures_that_saved_model_cli_shows(name, saved):
    path = saved(name)
    card = json.loads((path / "assets.extra" / preset.CARD).read_text())
    shown = _shown(path)
    assert shown.pop("__saved_model_init_op")["inputs"] == {}
    assert shown == card["signatures"]
    for file, digest in card["files"].items():
        assert sha256(path / file) == digest
    listed = {str(p.relative_to(path)) for p in path.rglob("*") if p.is_file()}
    assert listed == {*card["files"], "assets.extra/card.json"}
    assert {"fingerprint.pb", "saved_model.pb"} <= listed
    found = tf.saved_model.experimental.read_fingerprint(str(path))
    assert card["fingerprint"]["saved_model_checksum"] == str(found.saved_model_checksum)
    assert card["model"]["bound"] == model(name).bound


def _shown(path):
    """What `saved_model_cli show` prints, in the form of the card."""
    keys = re.findall(r'"(\w+)"', _printed(saved_model_cli._show_signature_def_map_keys, path))
    pattern = r"(input|output)s\['(\w+)'\] tensor_info:\s+dtype: DT_(\w+)\s+shape: (\S.*)\n"
    found = {}
    for signature in keys:
        found[signature] = {"inputs": {}, "outputs": {}}
        text = _printed(saved_model_cli._show_inputs_outputs, path, signature)
        for side, name, dtype, shape in re.findall(pattern, text):
            sizes = [int(n) for n in re.findall(r"-?\d+", shape)]
            found[signature][f"{side}s"][name] = {
                "dtype": {"FLOAT": "float32"}.get(dtype, dtype.lower()),
                "shape": [None if n == -1 else n for n in sizes],
            }
    return found


def _printed(show, path, *arguments):
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        show(str(path), "serve", *arguments)
    return out.getvalue()


@EVERY
def test_warm_up_requests_call_every_signature_and_succeed(name, saved, serve):
    path = saved(name)
    requests = []
    for record in tf.data.TFRecordDataset(str(path / "assets.extra" / warmup.FILE)):
        log = prediction_log_pb2.PredictionLog.FromString(record.numpy())
        request = log.predict_log.request
        inputs = {key: tf.make_ndarray(value) for key, value in request.inputs.items()}
        requests.append((path, request.model_spec.signature_name, inputs))
    assert {key for _, key, _ in requests} == set(served_cases(name)) - {"serving_default"}
    for answer in serve(requests):
        assert not isinstance(answer, str), answer
        assert all(len(value) == 1 for value in answer.values())


@EVERY
def test_the_same_seeds_give_the_same_images_beside_any_others(name, saved, serve):
    inputs, _ = served_cases(name)["sample_seeded"]
    three = {key: value[[5, 9, 5]] for key, value in inputs.items()}
    later = {key: value[::-1] for key, value in inputs.items()}
    answers = serve([(saved(name), "sample_seeded", given) for given in (inputs, three, later)])
    all_, some, reverse = (answer["images"].astype(int) for answer in answers)
    np.testing.assert_array_equal(some[0], some[2])
    assert np.mean(some[:2] != all_[[5, 9]]) <= 1e-3
    assert np.mean(reverse[::-1] != all_) <= 1e-3
    changed = {**inputs, "seeds": inputs["seeds"] + np.array([0, 1], "int32")}
    (other,) = serve([(saved(name), "sample_seeded", changed)])
    assert np.mean(other["images"] != all_) > 0.01


def test_jpegs_and_images_of_other_colours_are_read(saved, serve):
    path = saved("glow-of-classes")
    image = np.full((8, 8, 3), 130, "uint8")
    grey = image[..., :1]
    opaque = np.concatenate([image, np.full((8, 8, 1), 255, "uint8")], axis=-1)
    files = [
        png(image, "jpeg", quality=100, subsampling=0),
        png(grey, "jpeg", quality=100),
        png(grey),
        png(opaque),
    ]
    answers = serve(
        [(path, "log_prob_encoded", {"image_bytes": [file]}) for file in files]
        + [(path, "log_prob", {"images": image[None]})]
    )
    values = np.concatenate([answer["log_prob"] for answer in answers])
    np.testing.assert_allclose(values, values[-1], rtol=1e-5)


def test_a_jpeg_is_decoded_as_pillow_decodes_it(saved, serve):
    generator = np.random.default_rng(3)
    small = Image.fromarray(generator.integers(0, 256, (3, 3, 3)).astype("uint8"))
    image = np.asarray(small.resize((8, 8), Image.Resampling.BICUBIC))
    file = png(image, "jpeg", quality=80)
    decoded = np.asarray(Image.open(io.BytesIO(file)))
    assert 0 < np.abs(decoded.astype(int) - image).mean() < 16
    answers = serve(
        [
            (saved("vae-rgb"), "log_prob_encoded", {"image_bytes": [file]}),
            (saved("vae-rgb"), "log_prob", {"images": decoded[None]}),
        ]
    )
    np.testing.assert_allclose(answers[0]["log_prob"], answers[1]["log_prob"], rtol=1e-5)


def _bad_requests():
    images = np.zeros((3, 8, 8, 3), "uint8")
    noise, ones = np.zeros((3, 192), "float32"), np.ones(3, "float32")
    labels = np.zeros(3, "int32")
    sample = {"noise": noise, "temperature": ones, "labels": labels}
    return {
        "a dtype": (
            "log_prob",
            {"images": images.astype("float32")},
            "Expects arg[0] to be uint8 but float is provided",
        ),
        "float64": (
            "decode",
            {"latents": noise.astype("float64")},
            "Expects arg[0] to be float but double is provided",
        ),
        "a shape": (
            "log_prob",
            {"images": images[:, :, :7]},
            "[3,8,7,3] is not compatible with expected shape [?,8,8,3]",
        ),
        "a rank": (
            "encode",
            {"images": images[0]},
            "[8,8,3] is not compatible with expected shape [?,8,8,3]",
        ),
        "a missing input": (
            "sample",
            {"noise": noise, "labels": labels},
            "input size does not match signature: 2!=3 len({labels,noise}) != "
            "len({labels,noise,temperature}). Sent extra: {}. Missing but required: {temperature}.",
        ),
        "a wrong name": (
            "decode",
            {"latent": noise},
            "Signature input alias: latents(feed name: decode_latents:0) not found in request",
        ),
        "a signature": ("sampel", sample, 'Serving signature key "sampel" not found.'),
        "batches of two sizes": (
            "sample",
            {**sample, "temperature": ones[:1]},
            "must have the same number of rows, got",
        ),
        "not a number": (
            "decode",
            {"latents": np.full((3, 192), np.nan, "float32")},
            "latents must be finite, some are not",
        ),
        "a temperature": (
            "sample",
            {**sample, "temperature": -ones},
            "temperature must be a number >= 0, got] [-1]",
        ),
        "a label": (
            "sample",
            {**sample, "labels": labels + 3},
            "labels must lie between 0 and 2, got] [3 3 3]",
        ),
        "another label": (
            "log_prob_given",
            {"images": images, "labels": labels - 1},
            "labels must lie between 0 and 2, got] [-1 -1 -1]",
        ),
        "the size of an image": (
            "log_prob_encoded",
            {"image_bytes": [png(images[0]), png(images[0, :5])]},
            "an image must be 8 pixels high and 8 wide, this one is] [5 8]",
        ),
        "not an image": (
            "encode_encoded",
            {"image_bytes": [b"not an image"]},
            "must be a complete PNG or JPEG file",
        ),
    }


def test_bad_requests_get_the_errors_of_tf_serving(saved, serve):
    path, good = saved("glow-of-classes"), cases("glow-of-classes")["log_prob"]
    bad = _bad_requests()
    answers = serve([(path, key, inputs) for key, inputs, _ in bad.values()])
    for what, answer in zip(bad, answers, strict=True):
        assert isinstance(answer, str), what
        assert bad[what][2] in answer, what
    (answer,) = serve([(path, "log_prob", good[0])])  # the server still answers
    assert_same(answer, good[1], "log_prob")


@pytest.mark.parametrize("kind", BFLOAT16)
def test_networks_trained_in_bfloat16_are_served_in_float32(kind, tmp_path, serve):
    trained = bfloat16(kind)
    finished = preset.finished(trained)
    images = np.random.default_rng(0).integers(0, 256, (5, 4, 4, 1)).astype("uint8")
    path = tfgen.export.saved_model(trained, tmp_path)
    (answer,) = serve([(path, "log_prob", {"images": images})])
    np.testing.assert_allclose(answer["log_prob"], finished.log_prob(images), rtol=1e-5)
    assert np.any(np.abs(answer["log_prob"] / trained.log_prob(images) - 1) > 1e-5)
    card = tfgen.export.card(path)
    assert card["networks"] == "float32, in place of bfloat16"
    assert card["model"]["bound"] == finished.bound != trained.bound


def test_tf_saved_model_load_loads_it(saved):
    inputs, outputs = cases("vae-digits")["log_prob"]
    loaded = tf.saved_model.load(str(saved("vae-digits")))
    found = loaded.signatures["serving_default"](images=tf.constant(inputs["images"]))
    assert_same({key: value.numpy() for key, value in found.items()}, outputs, "log_prob")
