"""TF Serving's gRPC API, from the client's side."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from tfgen.export.serving.statuses import ServingError


class GrpcApi:
    """Requests to one model; errors are `ServingError`s.

    Args:
        address: `HOST:PORT` or `unix:PATH`.
        model, version, label: as for `tfgen.export.Client`.
        max_message_bytes: maximum size of a message in either direction.
        max_answer_bytes: maximum size of an answer, and of each array in it.
    """

    def __init__(
        self,
        address: str,
        model: str,
        version: int | None,
        label: str | None,
        max_message_bytes: int,
        max_answer_bytes: int,
    ):
        options = [
            ("grpc.max_receive_message_length", min(max_message_bytes, max_answer_bytes)),
            ("grpc.max_send_message_length", max_message_bytes),
            ("grpc.enable_retries", 0),  # the client retries, over REST too
        ]
        self._channel = grpc.insecure_channel(address, options)
        self._stub = prediction_service_pb2_grpc.PredictionServiceStub(self._channel)
        self._spec = (model, version, label)
        self._max_answer_bytes = max_answer_bytes

    def close(self) -> None:
        """Close the channel."""
        self._channel.close()

    def predict(
        self,
        signature: str,
        arrays: Mapping[str, np.ndarray],
        outputs: Sequence[str],
        seconds: float,
    ) -> dict[str, np.ndarray]:
        """Run a signature; `outputs` names the outputs to return, all if it is empty."""
        request = predict_pb2.PredictRequest(output_filter=outputs)
        self._fill(request.model_spec)
        request.model_spec.signature_name = signature
        for name, array in arrays.items():
            request.inputs[name].CopyFrom(tf.make_tensor_proto(array))
        response = self._call(self._stub.Predict, request, seconds)
        return {name: self._array(name, tensor) for name, tensor in response.outputs.items()}

    def metadata(self, seconds: float) -> get_model_metadata_pb2.GetModelMetadataResponse:
        """The model's metadata, which a server has once it can answer requests."""
        request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
        self._fill(request.model_spec)
        return self._call(self._stub.GetModelMetadata, request, seconds)

    def input_shapes(self, signature: str, seconds: float) -> dict[str, list[int]]:
        """The shape of each input, -1 for an unknown size; {} for an unknown signature."""
        found = get_model_metadata_pb2.SignatureDefMap()
        self.metadata(seconds).metadata["signature_def"].Unpack(found)
        if signature not in found.signature_def:
            return {}
        inputs = found.signature_def[signature].inputs
        return {n: [dim.size for dim in info.tensor_shape.dim] for n, info in inputs.items()}

    def _array(self, name, tensor):
        """A tensor of an answer; one that a few bytes declare to be huge is refused."""
        try:
            count = math.prod(dim.size for dim in tensor.tensor_shape.dim)
            if count * max(1, tf.as_dtype(tensor.dtype).size) > self._max_answer_bytes:
                text = f"output {name} exceeds max_answer_bytes={self._max_answer_bytes}"
                raise ServingError("RESOURCE_EXHAUSTED", text)
            return tf.make_ndarray(tensor)
        except (TypeError, ValueError, KeyError, OverflowError):
            shown = str(tensor)[:200].replace("\n", " ")
            text = f"the answer is not TF Serving's: {name} is {shown}"
            raise ServingError("UNKNOWN", text) from None

    def _fill(self, spec):
        spec.name, version, label = self._spec
        if version is not None:
            spec.version.value = version
        if label is not None:
            spec.version_label = label

    def _call(self, method, request, seconds):
        try:
            return method(request, timeout=max(seconds, 0.001))
        except grpc.RpcError as error:
            raise ServingError(error.code().name, error.details() or "") from None
