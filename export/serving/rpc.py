"""TF Serving's gRPC services."""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Sequence
from concurrent import futures

import grpc
from google.protobuf import message_factory
from google.protobuf.message import DecodeError
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from tensorflow_serving.apis import model_service_pb2, prediction_service_pb2
from tensorflow_serving.apis.model_pb2 import ModelSpec
from tensorflow_serving.apis.predict_pb2 import PredictResponse

from tfgen.errors import InputError
from tfgen.export.serving import calls, examples, proto_tensors
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
COUNTED = ("Predict", "Classify", "Regress")


class Rpc:
    """A gRPC server on the running event loop.

    Args:
        manager: of the models.
        metrics: counts the requests.
        addresses: such as `127.0.0.1:8500`, where port 0 is any free one, or `unix:/path`.
        threads: requests that are answered at the same time without batching.
        max_bytes: of a request.
        channel_arguments: pairs of a name and a value.
        healthcheck: offer gRPC's standard health service, for the services `ModelService` and
            `PredictionService` as TF Serving does, and for the server as a whole.

    Attributes:
        port: of the first address, when it has started.

    Source: `model_servers/server.cc`, `model_servers/prediction_service_impl.cc` of
        tensorflow/serving.
    """

    def __init__(
        self,
        manager: Manager,
        metrics: Metrics,
        addresses: Sequence[str],
        *,
        threads: int,
        max_bytes: int,
        channel_arguments: Sequence[tuple[str, int | str]] = (),
        healthcheck: bool = False,
    ):
        self._manager = manager
        self._metrics = metrics
        self._addresses = addresses
        self._pool = futures.ThreadPoolExecutor(threads, "grpc")
        self._healthcheck = healthcheck
        self._options = [
            ("grpc.max_receive_message_length", max_bytes),
            ("grpc.max_send_message_length", 2**31 - 1),
            ("grpc.so_reuseport", 0),
            *channel_arguments,
        ]

    async def start(self) -> None:
        """Listen.

        Raises:
            InputError: an address that is in use or unknown.
        """
        self._server = server = grpc.aio.server(options=self._options)
        for service in SERVICES:
            methods = {method.name: self._handler(method) for method in service.methods}
            handler = grpc.method_handlers_generic_handler(service.full_name, methods)
            server.add_generic_rpc_handlers([handler])
        if self._healthcheck:
            servicer = health.aio.HealthServicer()
            for name in ("", "ModelService", "PredictionService"):
                await servicer.set(name, health_pb2.HealthCheckResponse.SERVING)
            health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
        ports = []
        for address in self._addresses:
            try:
                ports.append(server.add_insecure_port(address))
            except RuntimeError as error:
                raise InputError(f"gRPC cannot listen on {address}: {error}") from None
        await server.start()
        self.port = ports[0]

    async def stop(self) -> None:
        """Answer what has arrived, and stop."""
        await self._server.stop(grace=10)
        self._pool.shutdown()

    def _handler(self, method):
        parse = message_factory.GetMessageClass(method.input_type).FromString
        answer = functools.partial(self._answer, method.name, parse)
        write = message_factory.GetMessageClass(method.output_type).SerializeToString
        return grpc.unary_unary_rpc_method_handler(answer, response_serializer=write)

    async def _answer(self, method, parse, data, context):
        start, left, name = time.monotonic(), context.time_remaining(), ""
        deadline = None if left is None or left > 1e6 else start + left
        status = "UNKNOWN"  # of any other exception
        try:
            request = parse(data)
            if method in COUNTED:
                asked = request.model_spec.name
                name = asked if asked in self._manager.models else ""
            response = await self._response(method, request, deadline)
            status = "OK"
            return response
        except DecodeError:  # grpc would write it to the log.
            status = "INTERNAL"
            await context.abort(grpc.StatusCode.INTERNAL, "Exception deserializing request!")
        except ServingError as error:
            status = error.code
            await context.abort(grpc.StatusCode[error.code], error.message)
        except asyncio.CancelledError:
            late = deadline is not None and deadline <= time.monotonic()
            status = "DEADLINE_EXCEEDED" if late else "CANCELLED"
            raise
        finally:
            if method in COUNTED:
                self._metrics.answered(name, method, "GRPC", status, time.monotonic() - start)

    async def _response(self, method, request, deadline):
        if method == "Predict":
            return await self._predict(request, deadline)
        if method in ON_EXAMPLES:
            tasks = request.tasks if method == "MultiInference" else [request]
            spec = tasks[0].model_spec if tasks else ModelSpec()
            servable = calls.find(self._manager, spec)
            call = functools.partial(ON_EXAMPLES[method], servable, request, deadline)
        else:
            call = functools.partial(ON_MODELS[method], self._manager, request)
        return await asyncio.get_running_loop().run_in_executor(self._pool, call)

    async def _predict(self, request, deadline):
        def read(servable):
            inputs = {name: proto_tensors.to_numpy(name, t) for name, t in request.inputs.items()}
            return request.model_spec.signature_name, inputs, request.output_filter

        def write(servable, outputs):
            response = PredictResponse(model_spec=examples.spec_of(servable, request.model_spec))
            for name, array in outputs.items():
                proto_tensors.fill(response.outputs[name], array)
            return response

        servable = calls.find(self._manager, request.model_spec)
        options = {"pool": self._pool, "num_bytes": request.ByteSize(), "deadline": deadline}
        return await calls.predict(servable, read, write, **options)
