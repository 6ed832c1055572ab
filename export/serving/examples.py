"""Classify, Regress and MultiInference: signatures that take `tf.Example`s.

A signature is one of classification if its only input is called `inputs` and its outputs `classes`
or `scores` or both; of regression if its only input is `inputs` and its only output `outputs`.
"""

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import classification_pb2, inference_pb2, regression_pb2

from tfgen.export.serving import proto_tensors
from tfgen.export.serving.statuses import ServingError, invalid

DEFAULT = "serving_default"
CLASSIFY, REGRESS = "tensorflow/serving/classify", "tensorflow/serving/regress"
INPUTS, CLASSES, SCORES, OUTPUTS = "inputs", "classes", "scores", "outputs"


def classify(servable, request, seconds=None):
    """Answer a `ClassificationRequest`.

    Args:
        servable: a `tfgen.export.serving.servable.Servable`.
        request: the message.
        seconds: until DEADLINE_EXCEEDED.

    Raises:
        ServingError: as TF Serving answers, of a signature of another kind for instance.

    Source: `servables/tensorflow/classifier.cc` of tensorflow/serving.
    """
    signature = _signature(servable, request.model_spec.signature_name, _named)
    name, outputs = _classification(signature)
    examples = serialized(request.input)
    found = servable.run({name: examples}, list(outputs.values()), seconds, api="Classify")
    response = classification_pb2.ClassificationResponse()
    _fill(response.model_spec, servable, request.model_spec)
    found = dict(zip(outputs, found, strict=True))
    response.result.CopyFrom(_classifications(found, len(examples)))
    return response


def regress(servable, request, seconds=None):
    """Answer a `RegressionRequest`; see `classify`.

    Source: `servables/tensorflow/regressor.cc` of tensorflow/serving.
    """
    signature = _signature(servable, request.model_spec.signature_name, _named)
    name, outputs = _regression(signature)
    examples = serialized(request.input)
    (found,) = servable.run({name: examples}, list(outputs.values()), seconds, api="Regress")
    response = regression_pb2.RegressionResponse()
    _fill(response.model_spec, servable, request.model_spec)
    response.result.CopyFrom(_regressions(found, len(examples)))
    return response


def multi_inference(servable, request, seconds=None):
    """Answer a `MultiInferenceRequest`: several signatures of one model in one run.

    Source: `servables/tensorflow/multi_inference.cc` of tensorflow/serving.
    """
    tasks, seen = [], set()
    for task in request.tasks:
        if not task.model_spec.name:
            raise invalid("Found ModelSpec with an empty model name.")
        if task.model_spec.name != request.tasks[0].model_spec.name:
            raise invalid(
                "All ModelSpecs in a MultiInferenceRequest must access the same model name."
            )
        signature_name = task.model_spec.signature_name or DEFAULT
        if signature_name in seen:
            raise invalid("Duplicate evaluation of signature: ", signature_name)
        seen.add(signature_name)
        signature = _signature(servable, signature_name, _requested)
        kinds = {CLASSIFY: _classification, REGRESS: _regression}
        if task.method_name not in kinds:
            text = f"Unsupported signature method_name: {task.method_name}"
            raise ServingError("UNIMPLEMENTED", text)
        tasks.append((task, *kinds[task.method_name](signature)))
    examples = serialized(request.input)
    fetches = sorted({tensor for _, _, outputs in tasks for tensor in outputs.values()})
    feeds = {name: examples for _, name, _ in tasks}
    arrays = servable.run(feeds, fetches, seconds, api="MultiInference")
    arrays = dict(zip(fetches, arrays, strict=True))
    response = inference_pb2.MultiInferenceResponse()
    for task, _, outputs in tasks:
        result = response.results.add()
        _fill(result.model_spec, servable, task.model_spec)
        found = {alias: arrays[tensor] for alias, tensor in outputs.items()}
        if task.method_name == CLASSIFY:
            result.classification_result.CopyFrom(_classifications(found, len(examples)))
        else:
            result.regression_result.CopyFrom(_regressions(found[OUTPUTS], len(examples)))
    return response


def serialized(given):
    """The examples of an `Input` as an array of bytes objects; the context comes before each.

    >>> import tensorflow as tf
    >>> from tensorflow_serving.apis import input_pb2
    >>> from tfgen.export.serving import examples
    >>> given = input_pb2.Input()
    >>> _ = given.example_list.examples.add()
    >>> examples.serialized(given).tolist()
    [b'']
    """
    kind = given.WhichOneof("kind")
    items = getattr(given, kind).examples if kind else ()
    if not items:
        raise invalid("Input is empty.")
    before = b""
    if kind == "example_list_with_context":
        before = given.example_list_with_context.context.SerializeToString()
    # One message after another is their union in protocol buffers.
    array = np.empty(len(items), object)
    array[:] = [before + item.SerializeToString() for item in items]
    return array


def _named(name):
    return f"No signature was found with the name: {name}"


def _requested(name):
    return f"Requested signature not found in model graph: {name}"


def _signature(servable, name, missing):
    try:
        return servable.signature(name)
    except ServingError:
        raise invalid(missing(name or DEFAULT)) from None


def _classification(signature):
    """The tensor of the input, and those of the outputs by alias."""
    if len(signature.inputs) != 1:
        raise invalid("Expected one input Tensor.")
    if len(signature.outputs) not in (1, 2):
        raise invalid(f"Expected one or two output Tensors, found {len(signature.outputs)}")
    if INPUTS not in signature.inputs:
        raise invalid("No classification inputs found in SignatureDef: ", signature)
    there = [alias for alias in (CLASSES, SCORES) if alias in signature.outputs]
    if not there:
        raise invalid(
            "Expected classification signature outputs to contain at least one of "
            f'"{CLASSES}" or "{SCORES}". Signature was: {signature}'
        )
    return signature.inputs[INPUTS].name, {a: signature.outputs[a].name for a in there}


def _regression(signature):
    if len(signature.inputs) != 1:
        raise invalid("Expected one input Tensor.")
    if len(signature.outputs) != 1:
        raise invalid("Expected one output Tensor.")
    if INPUTS not in signature.inputs:
        raise invalid("No regression inputs found in SignatureDef: ", signature)
    if OUTPUTS not in signature.outputs:
        raise invalid("No regression outputs found in SignatureDef: ", signature)
    return signature.inputs[INPUTS].name, {OUTPUTS: signature.outputs[OUTPUTS].name}


def _classifications(found, count):
    for alias, dtype in ((CLASSES, tf.string), (SCORES, tf.float32)):
        if alias not in found:
            continue
        array = found[alias]
        if array.ndim != 2:
            raise invalid(
                f"Expected Tensor shape: [batch_size num_classes] but got {_shape(array)}"
            )
        if proto_tensors.dtype_of(array) != dtype:
            raise invalid(
                f"Expected {alias} Tensor of {_enum(dtype)}. "
                f"Got: {_enum(proto_tensors.dtype_of(array))}"
            )
        if len(array) != count:
            raise invalid(f"Expected {alias} output batch size of {count}. Got: {len(array)}")
    widths = [array.shape[1] for array in found.values()]
    if len(set(widths)) > 1:
        raise invalid(
            f"Tensors class and score should match in dim_size(1). Got {widths[0]} vs. {widths[1]}"
        )
    result = classification_pb2.ClassificationResult()
    for i in range(count):
        row = result.classifications.add()
        for c in range(widths[0]):
            entry = row.classes.add()
            if CLASSES in found:
                entry.label = found[CLASSES][i, c].decode("utf-8", "replace")
            if SCORES in found:
                entry.score = found[SCORES][i, c]
    return result


def _regressions(array, count):
    if array.ndim != 1 and not (array.ndim == 2 and array.shape[1] == 1):
        raise invalid(
            "Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got "
            f"{_shape(array)}"
        )
    if len(array) != count:
        raise invalid(f"Input batch size did not match output batch size: {count} vs. {len(array)}")
    if array.dtype != np.float32:
        raise invalid(
            f"Expected output Tensor of DT_FLOAT.  Got: {_enum(proto_tensors.dtype_of(array))}"
        )
    result = regression_pb2.RegressionResult()
    for value in array.ravel().tolist():
        result.regressions.add().value = value
    return result


def _fill(spec, servable, asked):
    spec.name = asked.name
    spec.version.value = servable.version
    spec.signature_name = asked.signature_name or DEFAULT


def _shape(array):
    return "[" + ",".join(map(str, array.shape)) + "]"


def _enum(dtype):
    return "DT_" + {"float32": "FLOAT", "float64": "DOUBLE"}.get(dtype.name, dtype.name.upper())
