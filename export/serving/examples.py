"""Classify, Regress and MultiInference: signatures that take `tf.Example`s.

Such a signature has one input, `inputs`. The outputs of a classification are `classes`, `scores` or
both; the only output of a regression is `outputs`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from tensorflow_serving.apis import classification_pb2, inference_pb2, regression_pb2
from tensorflow_serving.apis.input_pb2 import Input
from tensorflow_serving.apis.model_pb2 import ModelSpec

from tfgen.export.serving.deadlines import Deadline
from tfgen.export.serving.statuses import ServingError, invalid, too_large

if TYPE_CHECKING:
    from tfgen.export.serving.servable import Servable

CLASSIFY, REGRESS = "tensorflow/serving/classify", "tensorflow/serving/regress"


def classify(
    servable: Servable,
    request: classification_pb2.ClassificationRequest,
    deadline: Deadline | None = None,
) -> classification_pb2.ClassificationResponse:
    """Answer a `ClassificationRequest` before a deadline.

    Raises:
        ServingError: a signature of another kind, for example.

    Source: `servables/tensorflow/classifier.cc` of tensorflow/serving.
    """
    result = _classified(servable, request.model_spec, request.input, deadline)
    return classification_pb2.ClassificationResponse(
        model_spec=spec_of(servable, request.model_spec), result=result
    )


def regress(
    servable: Servable, request: regression_pb2.RegressionRequest, deadline: Deadline | None = None
) -> regression_pb2.RegressionResponse:
    """Answer a `RegressionRequest`; see `classify`.

    Source: `servables/tensorflow/regressor.cc` of tensorflow/serving.
    """
    result = _regressed(servable, request.model_spec, request.input, deadline)
    return regression_pb2.RegressionResponse(
        model_spec=spec_of(servable, request.model_spec), result=result
    )


def multi_inference(
    servable: Servable,
    request: inference_pb2.MultiInferenceRequest,
    deadline: Deadline | None = None,
) -> inference_pb2.MultiInferenceResponse:
    """Answer a `MultiInferenceRequest`: several signatures of one model on the same examples.

    Source: `servables/tensorflow/multi_inference.cc` of tensorflow/serving.
    """
    specs = [spec_of(servable, task.model_spec) for task in request.tasks]
    if {spec.name for spec in specs} != {request.tasks[0].model_spec.name}:
        raise invalid("All ModelSpecs in a MultiInferenceRequest must access the same model name.")
    names = [spec.signature_name for spec in specs]
    for name in names:
        if names.count(name) > 1:
            raise invalid(f"Duplicate evaluation of signature: {name}")
    response = inference_pb2.MultiInferenceResponse()
    for task, spec in zip(request.tasks, specs, strict=True):
        result = response.results.add(model_spec=spec)
        if task.method_name == CLASSIFY:
            found = _classified(servable, spec, request.input, deadline, api="MultiInference")
            result.classification_result.CopyFrom(found)
        elif task.method_name == REGRESS:
            found = _regressed(servable, spec, request.input, deadline, api="MultiInference")
            result.regression_result.CopyFrom(found)
        else:
            text = f"Unsupported signature method_name: {task.method_name}"
            raise ServingError("UNIMPLEMENTED", text)
    return response


def serialized(given: Input, max_bytes: int) -> np.ndarray:
    """The examples of an `Input` as an array of bytes objects; the context comes before each.

    Raises:
        ServingError: RESOURCE_EXHAUSTED: a small request whose context makes it large.
    """
    kind = given.WhichOneof("kind")
    items = getattr(given, kind).examples if kind else ()
    if not items:
        raise invalid("Input is empty.")
    context = b""
    if kind == "example_list_with_context":
        context = given.example_list_with_context.context.SerializeToString()
    num_bytes = len(items) * len(context)
    if num_bytes > max_bytes:
        raise too_large(
            f"The context takes {num_bytes} bytes with {len(items)} examples, more than "
            f"{max_bytes} (--max_bytes): send fewer examples at a time"
        )
    # Protocol buffers that follow each other are parsed as their union.
    array = np.empty(len(items), object)
    array[:] = [context + item.SerializeToString() for item in items]
    return array


def _classified(servable, spec, given, deadline, api="Classify"):
    kinds = {"classes": "O", "scores": "f4"}
    outputs = _outputs(servable, spec, given, deadline, api, kinds)
    shapes = {array.shape for array in outputs.values()}
    if len(shapes) > 1 or {len(shape) for shape in shapes} != {2}:
        raise invalid(f"Outputs must have one shape [batch_size, num_classes], got {shapes}")
    result = classification_pb2.ClassificationResult()
    for i in range(next(iter(shapes))[0]):
        row = result.classifications.add()
        for c in range(next(iter(shapes))[1]):
            entry = row.classes.add()
            if "classes" in outputs:
                entry.label = outputs["classes"][i, c].decode("utf-8", "replace")
            if "scores" in outputs:
                entry.score = outputs["scores"][i, c]
    return result


def _regressed(servable, spec, given, deadline, api="Regress"):
    array = _outputs(servable, spec, given, deadline, api, {"outputs": "f4"})["outputs"]
    if array.shape not in [(len(array),), (len(array), 1)]:
        shape = list(array.shape)
        raise invalid(f"Output must have shape [batch_size] or [batch_size, 1], got {shape}")
    result = regression_pb2.RegressionResult()
    for value in array.ravel().tolist():
        result.regressions.add(value=value)
    return result


def _outputs(servable, spec, given, deadline, api, kinds):
    """The outputs of a signature that a method reads, after all checks except that of the shape."""
    name = spec_of(servable, spec).signature_name
    try:
        signature = servable.signature(name)
    except ServingError as error:  # FAILED_PRECONDITION only for Predict
        raise invalid(error.message) from None
    wanted = [alias for alias in kinds if alias in signature.outputs]
    if list(signature.inputs) != ["inputs"] or not 0 < len(wanted) == len(signature.outputs):
        raise invalid(
            f'Signature "{name}" has inputs {sorted(signature.inputs)} and outputs '
            f"{sorted(signature.outputs)}; {api} needs inputs ['inputs'] and outputs {list(kinds)}"
        )
    examples = serialized(given, servable.limits.max_bytes)
    servable.admit(name, {"inputs": examples.shape}, wanted)
    outputs = servable.predict(name, {"inputs": examples}, wanted, deadline=deadline, api=api)
    for alias, array in outputs.items():
        if not array.ndim or len(array) != len(examples):
            raise invalid(f"Output {alias} has shape {list(array.shape)} for {len(examples)} rows")
        if array.dtype != kinds[alias]:
            raise invalid(f"Output {alias} has dtype {array.dtype}, which {api} does not return")
    return outputs


def spec_of(servable: Servable, asked: ModelSpec) -> ModelSpec:
    """The model, version and signature that answer a request."""
    spec = ModelSpec(name=asked.name, signature_name=asked.signature_name or "serving_default")
    spec.version.value = servable.version
    return spec
