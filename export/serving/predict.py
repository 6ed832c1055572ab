"""The calls of TF Serving's two services, on protocol buffers; REST and gRPC are made of them."""

import asyncio
import time

from google.protobuf import any_pb2
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_management_pb2,
    model_pb2,
    predict_pb2,
)

from tfgen.export.serving import examples, proto_tensors
from tfgen.export.serving.statuses import ServingError, invalid

SIGNATURE_DEF = "signature_def"


def predict(manager, request, *, deadline=None):
    """Answer a `PredictRequest`.

    Args:
        manager: a `tfgen.export.serving.manager.Manager`.
        request: a `PredictRequest`.
        deadline: of `time.monotonic()`.

    Raises:
        ServingError: as TF Serving answers.

    Source: `apis/prediction_service.proto` of tensorflow/serving.
    """
    with borrow(manager, request) as servable:
        outputs = servable.predict(
            request.model_spec.signature_name,
            _inputs(request),
            request.output_filter,
            seconds=_seconds(deadline),
        )
        return _response(request, servable, outputs)


async def predict_soon(manager, request, *, deadline=None):
    """Like `predict`, of a batching server, for an event loop that goes on meanwhile."""
    with borrow(manager, request) as servable:
        names, future = servable.submit(
            request.model_spec.signature_name,
            _inputs(request),
            request.output_filter,
            seconds=_seconds(deadline),
        )
        outputs = dict(zip(names, await asyncio.wrap_future(future), strict=True))
        return _response(request, servable, outputs)


def _inputs(request):
    return {name: proto_tensors.to_numpy(name, tensor) for name, tensor in request.inputs.items()}


def _response(request, servable, outputs):
    response = predict_pb2.PredictResponse()
    response.model_spec.name = request.model_spec.name
    response.model_spec.version.value = servable.version
    response.model_spec.signature_name = request.model_spec.signature_name or "serving_default"
    for name, array in outputs.items():
        proto_tensors.fill(response.outputs[name], array)
    return response


def classify(manager, request, *, deadline=None):
    """Answer a `ClassificationRequest`; see `predict`."""
    with borrow(manager, request) as servable:
        return examples.classify(servable, request, _seconds(deadline))


def regress(manager, request, *, deadline=None):
    """Answer a `RegressionRequest`; see `predict`."""
    with borrow(manager, request) as servable:
        return examples.regress(servable, request, _seconds(deadline))


def multi_inference(manager, request, *, deadline=None):
    """Answer a `MultiInferenceRequest`; see `predict`."""
    spec = request.tasks[0].model_spec if request.tasks else model_pb2.ModelSpec()
    with _borrow(manager, spec) as servable:
        return examples.multi_inference(servable, request, _seconds(deadline))


def borrow(manager, request):
    """The servable that a request's `model_spec` means, as `Manager.borrow` gives it."""
    if not request.HasField("model_spec"):
        raise invalid("Missing ModelSpec")
    return _borrow(manager, request.model_spec)


def _borrow(manager, spec):
    kind = spec.WhichOneof("version_choice")
    return manager.borrow(
        spec.name,
        version=spec.version.value if kind == "version" else None,
        label=spec.version_label if kind == "version_label" else None,
    )


def _seconds(deadline):
    return None if deadline is None else deadline - time.monotonic()


def metadata(manager, request):
    """Answer a `GetModelMetadataRequest`: the signatures of a model."""
    if not request.metadata_field:
        raise invalid("GetModelMetadataRequest must specify at least one metadata_field")
    for field in request.metadata_field:
        if field != SIGNATURE_DEF:
            raise invalid(f"Metadata field {field} is not supported")
    with borrow(manager, request) as servable:
        response = get_model_metadata_pb2.GetModelMetadataResponse()
        response.model_spec.name = servable.name
        response.model_spec.version.value = servable.version
        signatures = get_model_metadata_pb2.SignatureDefMap()
        for name, signature in servable.signatures.items():
            signatures.signature_def[name].CopyFrom(signature)
        packed = any_pb2.Any()
        packed.Pack(signatures)
        response.metadata[SIGNATURE_DEF].CopyFrom(packed)
        return response


def status(manager, request):
    """Answer a `GetModelStatusRequest`. A label is ignored, as TF Serving ignores it here."""
    if not request.HasField("model_spec"):
        raise invalid("Missing ModelSpec")
    spec = request.model_spec
    if not spec.name:
        raise invalid("ModelSpec has no name specified.")
    number = spec.version.value if spec.HasField("version") else None
    response = get_model_status_pb2.GetModelStatusResponse()
    for version in manager.versions(spec.name, number):
        entry = response.model_version_status.add(version=version.number, state=version.state)
        entry.status.SetInParent()
        error = version.error  # Read once: a retry may take it back meanwhile.
        if error is not None:
            entry.status.error_code = error.number
            entry.status.error_message = error.message
    return response


def reload_config(manager, request):
    """Answer a `ReloadConfigRequest`: the new configuration is the whole truth."""
    response = model_management_pb2.ReloadConfigResponse()
    response.status.SetInParent()
    try:
        manager.reload(request.config)
    except ServingError as error:
        response.status.error_code = error.number
        response.status.error_message = error.message
    return response
