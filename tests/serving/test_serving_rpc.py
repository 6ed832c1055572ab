"""gRPC: answers against `tf.saved_model.load`, errors against TF Serving's texts."""

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from tfgen.export.serving import model_config

NAME = "vae-digits"


@pytest.fixture(scope="module")
def channel(server):
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        yield channel


@pytest.fixture(scope="module")
def predictions(channel):
    return prediction_service_pb2_grpc.PredictionServiceStub(channel)


@pytest.fixture(scope="module")
def models(channel):
    return model_service_pb2_grpc.ModelServiceStub(channel)


def request(signature="", name=NAME, outputs=(), **inputs):
    message = predict_pb2.PredictRequest(output_filter=outputs)
    message.model_spec.name = name
    message.model_spec.signature_name = signature
    for key, value in inputs.items():
        message.inputs[key].CopyFrom(tf.make_tensor_proto(value))
    return message


def refusal(call, *arguments, **options):
    with pytest.raises(grpc.RpcError) as caught:
        call(*arguments, timeout=20, **options)
    return caught.value.code().name, caught.value.details()


def test_predict_gives_what_the_signature_gives(predictions, truth, images):
    for signature, output in (("log_prob", "log_prob"), ("", "log_prob"), ("encode", "latents")):
        response = predictions.Predict(request(signature, images=images), timeout=20)
        expected = truth[signature or "log_prob"](images=tf.constant(images))[output].numpy()
        tensor = response.outputs[output]
        np.testing.assert_allclose(tf.make_ndarray(tensor), expected, rtol=1e-5, atol=1e-6)
        assert len(tensor.float_val) == expected.size  # typed values, as TF Serving answers
        assert response.model_spec.version.value == 1
        assert response.model_spec.signature_name == (signature or "serving_default")


def test_typed_values_and_one_value_for_all(predictions, truth):
    message = request("decode")
    tensor = message.inputs["latents"]
    tensor.dtype = tf.float32.as_datatype_enum
    for size in (2, 8):
        tensor.tensor_shape.dim.add().size = size
    tensor.float_val.append(0.25)
    response = predictions.Predict(message, timeout=20)
    expected = truth["decode"](latents=tf.fill([2, 8], 0.25))["images"].numpy()
    np.testing.assert_array_equal(tf.make_ndarray(response.outputs["images"]), expected)


def test_errors_have_the_texts_of_tf_serving(predictions, images):
    def of(*arguments, **options):
        return refusal(predictions.Predict, request(*arguments, **options))

    assert of(name="foo") == ("NOT_FOUND", "Servable not found for request: Latest(foo)")
    assert of(name="") == ("INVALID_ARGUMENT", "ModelSpec has no name specified.")
    assert of("nope") == ("FAILED_PRECONDITION", 'Serving signature key "nope" not found.')
    assert of("sample_seeded", seeds=np.zeros((1, 2), "int32")) == (
        "INVALID_ARGUMENT",
        "inputs do not match signature: {seeds} != {seeds,temperature}. "
        "Sent extra: {}. Missing but required: {temperature}.",
    )
    code, text = of("decode", other=np.zeros((1, 8), "float32"))
    assert code == "INVALID_ARGUMENT"
    assert text.endswith("Sent extra: {other}. Missing but required: {latents}.")
    assert of("decode", latents=np.zeros((1, 8))) == (
        "INVALID_ARGUMENT",
        "Input latents must be float32, got float64",
    )
    assert of("log_prob", images=images, outputs=["x"]) == (
        "INVALID_ARGUMENT",
        "output tensor alias not found in signature: x "
        "Outputs expected to be in the set {log_prob}.",
    )
    assert of("log_prob", images=images, outputs=["log_prob"] * 2) == (
        "INVALID_ARGUMENT",
        "duplicate output tensor alias: log_prob",
    )
    code, text = refusal(predictions.Predict, predict_pb2.PredictRequest())
    assert (code, "ModelSpec" in text) == ("INVALID_ARGUMENT", True)
    code, text = of("decode", latents=np.zeros((1, 3), "float32"))
    assert code == "INVALID_ARGUMENT"
    assert "not compatible with expected shape" in text


def test_a_wrong_dtype_is_refused_with_the_name_of_its_input(predictions, images):
    inputs = {"first": images, "second": images.astype("float32"), "weight": np.zeros(3, "float32")}
    assert refusal(predictions.Predict, request("interpolate", **inputs)) == (
        "INVALID_ARGUMENT",
        "Input second must be uint8, got float32",
    )


@pytest.mark.parametrize("declared", [[2**40], [-1, 8], [1, 9], [3]])
def test_tensors_that_declare_more_than_they_contain(predictions, declared):
    message = request("decode")
    tensor = message.inputs["latents"]
    tensor.dtype = tf.float32.as_datatype_enum
    for size in declared:
        tensor.tensor_shape.dim.add().size = size
    tensor.tensor_content = b"\0" * 32
    assert refusal(predictions.Predict, message) == (
        "INVALID_ARGUMENT",
        "tensor parsing error: latents",
    )


def test_metadata(predictions):
    message = get_model_metadata_pb2.GetModelMetadataRequest()
    message.model_spec.name = NAME
    assert refusal(predictions.GetModelMetadata, message) == (
        "INVALID_ARGUMENT",
        "GetModelMetadataRequest must specify at least one metadata_field",
    )
    message.metadata_field.append("x")
    assert refusal(predictions.GetModelMetadata, message) == (
        "INVALID_ARGUMENT",
        "Metadata field x is not supported",
    )
    message.metadata_field[:] = ["signature_def"]
    response = predictions.GetModelMetadata(message, timeout=20)
    signatures = get_model_metadata_pb2.SignatureDefMap()
    assert response.metadata["signature_def"].Unpack(signatures)
    assert {"log_prob", "__saved_model_init_op"} < set(signatures.signature_def)


def test_status(models):
    message = get_model_status_pb2.GetModelStatusRequest()
    message.model_spec.name = NAME
    (entry,) = models.GetModelStatus(message, timeout=20).model_version_status
    assert (entry.version, entry.State.Name(entry.state)) == (1, "AVAILABLE")
    message.model_spec.version.value = 5
    assert refusal(models.GetModelStatus, message) == (
        "NOT_FOUND",
        f"Could not find version 5 of model {NAME}",
    )
    message.model_spec.version_label = "ignored"
    assert len(models.GetModelStatus(message, timeout=20).model_version_status) == 1


def test_a_bad_configuration_changes_nothing(models, predictions, images):
    message = model_management_pb2.ReloadConfigRequest()
    message.config.CopyFrom(model_config.of_models({NAME: "/x"}))
    message.config.model_config_list.config[0].base_path = "relative"
    response = models.HandleReloadConfigRequest(message, timeout=20)
    assert response.status.error_code == grpc.StatusCode.INVALID_ARGUMENT.value[0]
    assert "to have an absolute path" in response.status.error_message
    predictions.Predict(request("log_prob", images=images), timeout=20)
