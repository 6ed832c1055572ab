"""TF Serving's gRPC services."""

import time
from concurrent import futures

import grpc
from tensorflow_serving.apis import (
    model_service_pb2_grpc,
    prediction_service_pb2_grpc,
)

from tfgen.errors import InputError
from tfgen.export.serving import predict
from tfgen.export.serving.statuses import ServingError


class _Predictions(prediction_service_pb2_grpc.PredictionServiceServicer):
    def __init__(self, manager):
        self._manager = manager

    def Predict(self, request, context):  # noqa: N802 - a name of the protocol
        left = context.time_remaining()
        deadline = None if left is None or left > 1e6 else time.monotonic() + left
        return _answered(context, predict.predict, self._manager, request, deadline=deadline)

    def GetModelMetadata(self, request, context):  # noqa: N802
        return _answered(context, predict.metadata, self._manager, request)


class _Models(model_service_pb2_grpc.ModelServiceServicer):
    def __init__(self, manager):
        self._manager = manager

    def GetModelStatus(self, request, context):  # noqa: N802
        return _answered(context, predict.status, self._manager, request)

    def HandleReloadConfigRequest(self, request, context):  # noqa: N802
        return _answered(context, predict.reload_config, self._manager, request)


def _answered(context, call, manager, request, **options):
    try:
        return call(manager, request, **options)
    except ServingError as error:
        context.abort(getattr(grpc.StatusCode, error.code), error.message)


def start(manager, addresses, *, threads, most_bytes, channel_arguments=()):
    """A running gRPC server, and the port of its first address.

    Args:
        manager: a `tfgen.export.serving.manager.Manager`.
        addresses: such as `127.0.0.1:8500`, where port 0 is any free one, or `unix:/path`.
        threads: requests that are answered at once.
        most_bytes: of a request.
        channel_arguments: pairs of a name and a value.

    Raises:
        InputError: an address that is taken or unknown.
    """
    options = [
        ("grpc.max_receive_message_length", most_bytes),
        ("grpc.max_send_message_length", 2**31 - 1),
        ("grpc.so_reuseport", 0),
        *channel_arguments,
    ]
    server = grpc.server(futures.ThreadPoolExecutor(threads, "grpc"), options=options)
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(
        _Predictions(manager), server
    )
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(_Models(manager), server)
    ports = []
    for address in addresses:
        try:
            ports.append(server.add_insecure_port(address))
        except RuntimeError as error:
            raise InputError(f"gRPC cannot listen on {address}: {error}") from None
    server.start()
    return server, ports[0]
