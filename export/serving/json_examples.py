"""Requests and answers of classify and regress in TF Serving's JSON."""

from collections.abc import Mapping
from typing import Any

import orjson
from tensorflow.core.example.example_pb2 import Example
from tensorflow.core.example.feature_pb2 import Feature
from tensorflow_serving.apis.classification_pb2 import ClassificationResult
from tensorflow_serving.apis.input_pb2 import Input
from tensorflow_serving.apis.regression_pb2 import RegressionResult

from tfgen.export.serving import json_tensors
from tfgen.export.serving.statuses import invalid


def to_input(document: Mapping[str, Any]) -> Input:
    """The examples of a request.

    Args:
        document: the object of the body: `examples`, perhaps `context`.

    Raises:
        ServingError: a value that cannot be a feature, for example.

    Source: `util/json_tensor.cc` of tensorflow/serving.
    """
    examples = document.get("examples")
    if not isinstance(examples, list) or not examples:
        raise invalid("Key 'examples' must be a list that is not empty")
    examples = [_example(item) for item in examples]
    if "context" not in document:
        return Input(example_list={"examples": examples})
    context = _example(document["context"])
    return Input(example_list_with_context={"examples": examples, "context": context})


def to_json(result: ClassificationResult | RegressionResult) -> bytes:
    """The body of an answer: for each example a list of [label, score], or a number."""
    if isinstance(result, RegressionResult):
        return orjson.dumps({"results": [row.value for row in result.regressions]})
    rows = [[[c.label, c.score] for c in row.classes] for row in result.classifications]
    return orjson.dumps({"results": rows})


def _example(value):
    if not isinstance(value, dict):
        raise invalid(f"Example must be a JSON object, got {json_tensors.shown(value)}")
    example = Example()
    for name, content in value.items():
        items = content if isinstance(content, list) else [content]
        example.features.feature[name].CopyFrom(_feature(name, items))
    return example


def _feature(name, items):
    kinds = set(map(type, items))
    feature = Feature()
    if kinds <= {str, dict}:
        feature.bytes_list.value.extend(json_tensors.to_bytes(name, item) for item in items)
    elif kinds <= {int, bool}:
        if not all(-(2**63) <= item < 2**63 for item in items):
            raise invalid(f"Feature {name} has an integer of more than 64 bits")
        feature.int64_list.value.extend(map(int, items))
    elif kinds == {float}:
        feature.float_list.value.extend(items)
    else:
        shown = json_tensors.shown(items)
        raise invalid(f"Feature {name} must be numbers or strings of one type, got {shown}")
    return feature
