"""TF Serving's gRPC services."""

from __future__ import annotations

import asyncio
import functools
import time
from concurrent import futures

import grpc
from google.protobuf import message_factory
from google.protobuf.message import DecodeError
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from tensorflow_serving.apis import model_service_pb2, prediction_service_pb2
from tensorflow_serving.apis.model_pb2 import ModelSpec
from tensorflow_serving.apis.predict_pb2 import PredictResponse

from tfgen.errors import InputError
from tfgen.export.serving import calls, connections, examples, proto_tensors, wire
from tfgen.export.serving.deadlines import Deadline
from tfgen.export.serving.flags import Flags
from tfgen.export.serving.limits import NUMBER, Turn, Turns
from tfgen.export.serving.manager import Manager
from tfgen.export.serving.metrics import Metrics
from tfgen.export.serving.statuses import ServingError

SERVICES = (
    prediction_service_pb2.DESCRIPTOR.services_by_name["PredictionService"],
    model_service_pb2.DESCRIPTOR.services_by_name["ModelService"],
)
ON_MODELS = {
    "GetModelMetadata": calls.metadata,
    "GetModelStatus": calls.status,
    "HandleReloadConfigRequest": calls.reload_config,
}
ON_EXAMPLES = {
    "Classify": examples.classify,
    "Regress": examples.regress,
    "MultiInference": examples.multi_inference,
}
CONNECTIONS = {  # `grpc_channel_arguments` may change them.
    "grpc.server_handshake_timeout_ms": 10_000,  # to become a connection of HTTP/2
    "grpc.max_connection_idle_ms": 600_000,
    "grpc.keepalive_time_ms": 60_000,  # a client that does not answer in time is gone
    "grpc.keepalive_timeout_ms": 20_000,
    "grpc.max_concurrent_streams": 256,  # of a connection; the client lets others wait
}
COUNTED = ("Predict", "Classify", "Regress")


class Rpc:
    """A gRPC server on the running event loop.

    Attributes:
        port: the port on which it listens, None if it only listens on a socket.

    Source: `model_servers/server.cc`, `model_servers/prediction_service_impl.cc` of
        tensorflow/serving.
    """

    def __init__(self, manager: Manager, metrics: Metrics, flags: Flags, turns: Turns):
        self.port = flags.port
        self._turns = turns
        self._manager = manager
        self._metrics = metrics
        self._flags = flags
        self._pool = futures.ThreadPoolExecutor(flags.grpc_max_threads, "grpc")

    async def start(self) -> None:
        """Listen.

        Raises:
            InputError: an address that is in use or unknown.
        """
        options = {
            "grpc.max_receive_message_length": self._flags.max_bytes,
            "grpc.max_send_message_length": 2**31 - 1,
            "grpc.so_reuseport": 0,
            "grpc.max_allowed_incoming_connections": connections.limit(self._flags, part=4),
            **CONNECTIONS,
            **dict(self._flags.grpc_channel_arguments),
        }
        self._server = server = grpc.aio.server(options=list(options.items()))
        for service in SERVICES:
            methods = {method.name: self._handler(method) for method in service.methods}
            handler = grpc.method_handlers_generic_handler(service.full_name, methods)
            server.add_generic_rpc_handlers([handler])
        if self._flags.enable_grpc_healthcheck_service:
            servicer = health.aio.HealthServicer()
            for name in ("", "ModelService", "PredictionService"):
                await servicer.set(name, health_pb2.HealthCheckResponse.SERVING)
            health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
        if self.port is not None:
            host = self._flags.host
            self.port = self._listen(
                f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"
            )
        if self._flags.grpc_socket_path:
            self._listen(f"unix:{self._flags.grpc_socket_path}")
        await server.start()

    async def stop(self) -> None:
        """Answer the requests that have arrived, and stop."""
        await self._server.stop(grace=10)
        self._pool.shutdown()

    def _listen(self, address):
        try:
            return self._server.add_insecure_port(address)
        except RuntimeError as error:
            raise InputError(f"gRPC cannot listen on {address}: {error}") from None

    def _handler(self, method):
        kind = message_factory.GetMessageClass(method.input_type)
        answer = functools.partial(self._answer, method.name, kind)
        write = message_factory.GetMessageClass(method.output_type).SerializeToString
        return grpc.unary_unary_rpc_method_handler(answer, response_serializer=write)

    async def _answer(self, method, kind, data, context):
        start, left, name = time.monotonic(), context.time_remaining(), ""
        deadline = Deadline(None if left is None or left > 1e6 else start + left)
        status = "UNKNOWN"  # of any other exception
        try:
            with Turn(self._turns, deadline) as turn:
                if len(data) > calls.SHORT:
                    memory = functools.partial(wire.memory, data, kind.DESCRIPTOR)
                    if turn.needed(await calls.in_pool(self._pool, len(data), memory)):
                        await turn.take()
                request = kind.FromString(data)
                if method in COUNTED and request.model_spec.name in self._manager.models:
                    name = request.model_spec.name
                response = await self._response(method, request, deadline, turn)
            status = "OK"
            return response
        except DecodeError:  # grpc would write it to the log.
            status = "INTERNAL"
            await context.abort(grpc.StatusCode.INTERNAL, "Exception deserializing request!")
        except ServingError as error:
            status = error.code
            await context.abort(grpc.StatusCode[error.code], error.message)
        except asyncio.CancelledError:
            status = "DEADLINE_EXCEEDED" if deadline.late else "CANCELLED"
            raise
        finally:
            deadline.gone = True  # Nobody waits for what still runs.
            if method in COUNTED:
                self._metrics.answered(name, method, "GRPC", status, time.monotonic() - start)

    async def _response(self, method, request, deadline, turn):
        if method == "Predict":
            return await self._predict(request, deadline, turn)
        if method in ON_EXAMPLES:
            tasks = request.tasks if method == "MultiInference" else [request]
            servable = calls.find(self._manager, tasks[0].model_spec if tasks else ModelSpec())
            call = functools.partial(ON_EXAMPLES[method], servable, request, deadline)
        else:
            call = functools.partial(ON_MODELS[method], self._manager, request)
        return await asyncio.get_running_loop().run_in_executor(self._pool, call)

    async def _predict(self, request, deadline, turn):
        def read(servable):
            inputs = proto_tensors.to_arrays(request.inputs)
            return spec.signature_name, inputs, request.output_filter

        def write(servable, outputs):
            response = PredictResponse(model_spec=examples.spec_of(servable, spec))
            for name, array in outputs.items():
                proto_tensors.fill(response.outputs[name], array)
            return response

        spec = request.model_spec
        servable = calls.find(self._manager, spec)
        num_bytes = proto_tensors.num_bytes(request.inputs, servable.limits.max_bytes)
        shapes = proto_tensors.shapes(request.inputs)
        numbers = servable.admit(spec.signature_name, shapes, request.output_filter)
        if turn.needed(num_bytes + numbers * NUMBER):
            await turn.take()
        return await calls.predict(servable, read, write, self._pool, num_bytes, deadline, turn)
