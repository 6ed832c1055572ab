"""Requests and answers of classify and regress in TF Serving's JSON."""

import orjson
from tensorflow.core.example import example_pb2

from tfgen.export.serving import json_requests
from tfgen.export.serving.statuses import invalid

KINDS = {"bytes_list": "bytes", "float_list": "float", "int64_list": "int64"}


def to_input(document, given):
    """Fill an `Input` with the examples of a request.

    Args:
        document: the object of the body: `examples`, perhaps `context`.
        given: the message.

    Raises:
        ServingError: with TF Serving's texts.

    Source: `util/json_tensor.cc` of tensorflow/serving.

    Example:

    >>> from tensorflow_serving.apis import input_pb2
    >>> from tfgen.export.serving import json_examples
    >>> given = input_pb2.Input()
    >>> json_examples.to_input({"examples": [{"x": 1.5}, {"x": [2.5]}]}, given)
    >>> [e.features.feature["x"].float_list.value[0] for e in given.example_list.examples]
    [1.5, 2.5]
    """
    target = given.example_list
    if "context" in document:
        target = given.example_list_with_context
        target.context.CopyFrom(_example(document["context"]))
    if "examples" not in document:
        raise _malformed(
            document, "When method is classify, key 'examples' is expected and was not found"
        )
    examples = document["examples"]
    if not isinstance(examples, list):
        raise _malformed(document, "Expecting 'examples' value to be an list/array")
    if not examples:
        raise _malformed(document, "'examples' value is an empty array")
    target.examples.extend(_example(item) for item in examples)


def of_classifications(result):
    """The body of an answer: for each example a list of [label, score].

    Raises:
        ServingError: an empty result.
    """
    if not result.classifications:
        raise invalid("Cannot convert empty ClassificationResults to JSON")
    rows = [[[c.label, c.score] for c in row.classes] for row in result.classifications]
    return orjson.dumps({"results": rows})


def of_regressions(result):
    """The body of an answer: a number for each example.

    Raises:
        ServingError: an empty result.
    """
    if not result.regressions:
        raise invalid("Cannot convert empty RegressionResults to JSON")
    return orjson.dumps({"results": [row.value for row in result.regressions]})


def _malformed(document, text):
    return invalid("JSON Value: ", json_requests.shown(document), " ", text)


def _example(value):
    if not isinstance(value, dict):
        kind = json_requests.type_name(value)
        raise invalid(f"Example must be JSON object but got JSON {kind}")
    example = example_pb2.Example()
    for name, content in value.items():
        feature = example.features.feature[name]
        for item in content if isinstance(content, list) else [content]:
            _add(item, name, feature)
    return example


def _add(value, name, feature):
    kind, found = _converted(value, name)
    known = feature.WhichOneof("kind")
    if known not in (None, kind):
        raise invalid(f"Unexpected element type in feature: {name} expecting type: {KINDS[known]}")
    try:
        getattr(feature, kind).value.append(found)
    except ValueError:  # Beyond 64 bits.
        raise invalid(f"Feature: {name} has uint64_t element. Only int64_t is supported.") from None


def _converted(value, name):
    if isinstance(value, (bool, int)):
        return "int64_list", int(value)
    if isinstance(value, float):
        return "float_list", value
    if isinstance(value, str):
        return "bytes_list", value.encode()
    if isinstance(value, dict) and json_requests.is_base64(value):
        return "bytes_list", json_requests.decoded(value)
    raise invalid(
        f"Feature: {name} has element with unexpected JSON type: {json_requests.type_name(value)}"
    )
