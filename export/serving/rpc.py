"""TF Serving's gRPC services."""

import asyncio
import functools
import time
from concurrent import futures

import grpc
from google.protobuf import message_factory
from google.protobuf.message import DecodeError
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from tensorflow_serving.apis import (
    model_service_pb2,
    prediction_service_pb2,
)

from tfgen.errors import InputError
from tfgen.export.serving import predict
from tfgen.export.serving.event_loop import EventLoop
from tfgen.export.serving.statuses import ServingError

PREDICTIONS = prediction_service_pb2.DESCRIPTOR.services_by_name["PredictionService"]
MODELS = model_service_pb2.DESCRIPTOR.services_by_name["ModelService"]
SHORT = 64 * 2**10  # bytes of a request that is read in less than a millisecond


class Rpc:
    """A running gRPC server, in a thread of its own.

    Requests that batching takes are read and answered in that thread, unless they are large; the
    others have threads of their own.

    Args:
        manager: a `tfgen.export.serving.manager.Manager`.
        addresses: such as `127.0.0.1:8500`, where port 0 is any free one, or `unix:/path`.
        threads: requests that are answered at once without batching.
        most_bytes: of a request.
        channel_arguments: pairs of a name and a value.
        healthcheck: offer gRPC's standard health service, for the services `ModelService` and
            `PredictionService` as TF Serving does, and for the server as a whole.
        metrics: a `tfgen.export.serving.metrics.Metrics`.

    Attributes:
        port: of the first address.

    Raises:
        InputError: an address that is taken or unknown.

    Source: `model_servers/server.cc`, `model_servers/prediction_service_impl.cc` of
        tensorflow/serving.
    """

    def __init__(
        self,
        manager,
        addresses,
        *,
        threads,
        most_bytes,
        channel_arguments=(),
        healthcheck=False,
        metrics=None,
    ):
        options = [
            ("grpc.max_receive_message_length", most_bytes),
            ("grpc.max_send_message_length", 2**31 - 1),
            ("grpc.so_reuseport", 0),
            *channel_arguments,
        ]
        self._manager = manager
        self._pool = futures.ThreadPoolExecutor(threads, "grpc")
        self._runner = EventLoop("grpc")
        self._server = None
        try:
            self.port = self._runner.run(self._start(addresses, options, healthcheck, metrics))
        except BaseException:
            self.close()
            raise

    def close(self):
        """Answer what has arrived, and stop."""
        if self._server is not None:
            self._runner.run(self._server.stop(grace=10))
        self._runner.close()
        self._pool.shutdown()

    async def _start(self, addresses, options, healthcheck, metrics):
        self._server = server = grpc.aio.server(options=options)
        predictions = _Predictions(self._manager, self._pool, metrics)
        models = _Models(self._manager, self._pool)
        services = ((PREDICTIONS, predictions), (MODELS, models))
        server.add_generic_rpc_handlers([_handler(*service) for service in services])
        if healthcheck:
            service = health.aio.HealthServicer()
            for name in ("", "ModelService", "PredictionService"):
                await service.set(name, health_pb2.HealthCheckResponse.SERVING)
            health_pb2_grpc.add_HealthServicer_to_server(service, server)
        ports = []
        for address in addresses:
            try:
                ports.append(server.add_insecure_port(address))
            except RuntimeError as error:
                raise InputError(f"gRPC cannot listen on {address}: {error}") from None
        await server.start()
        return ports[0]


def _handler(service, servicer):
    """The methods of a service.

    A request that is no message of its type is INTERNAL, and nothing for the server's log.
    """
    methods = {}
    for method in service.methods:
        answer = _guarded(getattr(servicer, method.name))
        read = _reader(message_factory.GetMessageClass(method.input_type))
        write = message_factory.GetMessageClass(method.output_type).SerializeToString
        methods[method.name] = grpc.unary_unary_rpc_method_handler(answer, read, write)
    return grpc.method_handlers_generic_handler(service.full_name, methods)


def _reader(message):
    def read(data):
        try:
            return message.FromString(data)
        except DecodeError:
            return None

    return read


def _guarded(method):
    async def answer(request, context):
        if request is None:
            await context.abort(grpc.StatusCode.INTERNAL, "Exception deserializing request!")
        return await method(request, context)

    return answer


class _Service:
    def __init__(self, manager, pool):
        self._manager = manager
        self._pool = pool

    async def _in_pool(self, call, request, **options):
        work = functools.partial(call, self._manager, request, **options)
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)

    async def _answered(self, context, call, request, **options):
        try:
            return await self._in_pool(call, request, **options)
        except ServingError as error:
            await _abort(context, error)


class _Predictions(_Service):
    def __init__(self, manager, pool, metrics):
        super().__init__(manager, pool)
        self._metrics = metrics

    async def Predict(self, request, context):  # noqa: N802 - a name of the protocol
        return await self._counted("Predict", predict.predict, request, context)

    async def Classify(self, request, context):  # noqa: N802
        return await self._counted("Classify", predict.classify, request, context)

    async def Regress(self, request, context):  # noqa: N802
        return await self._counted("Regress", predict.regress, request, context)

    async def MultiInference(self, request, context):  # noqa: N802
        deadline = _deadline(context)
        return await self._answered(context, predict.multi_inference, request, deadline=deadline)

    async def GetModelMetadata(self, request, context):  # noqa: N802
        return await self._answered(context, predict.metadata, request)

    async def _counted(self, api, call, request, context):
        start, status, deadline = time.perf_counter(), "OK", _deadline(context)
        try:
            if self._manager.batched and api == "Predict" and request.ByteSize() <= SHORT:
                return await predict.predict_soon(self._manager, request, deadline=deadline)
            return await self._in_pool(call, request, deadline=deadline)
        except ServingError as error:
            status = error.code
            await _abort(context, error)
        except asyncio.CancelledError:
            late = deadline is not None and deadline <= time.monotonic()
            status = "DEADLINE_EXCEEDED" if late else "CANCELLED"
            raise
        except Exception:
            status = "UNKNOWN"
            raise
        finally:
            if self._metrics is not None:
                seconds = time.perf_counter() - start
                name = self._manager.known(request.model_spec.name)
                self._metrics.answered(name, api, "GRPC", status, seconds)


class _Models(_Service):
    async def GetModelStatus(self, request, context):  # noqa: N802
        return await self._answered(context, predict.status, request)

    async def HandleReloadConfigRequest(self, request, context):  # noqa: N802
        return await self._answered(context, predict.reload_config, request)


def _deadline(context):
    left = context.time_remaining()
    return None if left is None or left > 1e6 else time.monotonic() + left


async def _abort(context, error):
    await context.abort(getattr(grpc.StatusCode, error.code), error.message)
