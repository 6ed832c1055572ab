"""TF Serving's REST API."""

from __future__ import annotations

import asyncio
import functools
import logging
import re
import time
from concurrent import futures
from urllib.parse import unquote

import orjson
from aiohttp import web
from google.protobuf import json_format
from tensorflow_serving.apis import classification_pb2, regression_pb2
from tensorflow_serving.apis import get_model_metadata_pb2 as metadata_pb2
from tensorflow_serving.apis import get_model_status_pb2 as status_pb2
from tensorflow_serving.apis.model_pb2 import ModelSpec

from tfgen.errors import InputError
from tfgen.export.serving import calls, examples, image_bodies, json_tensors, page
from tfgen.export.serving.connections import Connections
from tfgen.export.serving.deadlines import Deadline
from tfgen.export.serving.flags import Flags
from tfgen.export.serving.limits import Turn, Turns
from tfgen.export.serving.manager import Manager
from tfgen.export.serving.metrics import Metrics
from tfgen.export.serving.origins import Origins
from tfgen.export.serving.statuses import ServingError, invalid

MODEL = r"/v1/models(?:/([^/:]+))?(?:/versions/([0-9]+)|/labels/([^/:]+))?"
PATHS = {
    "GET": re.compile(rf"(?i){MODEL}(?:/(metadata))?"),
    "POST": re.compile(rf"(?i){MODEL}:(classify|regress|predict)"),
}
CORS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "POST, GET",
    "Access-Control-Allow-Headers": "Content-Type",
}
ON_EXAMPLES = {
    "classify": (classification_pb2.ClassificationRequest, examples.classify),
    "regress": (regression_pb2.RegressionRequest, examples.regress),
}
LOG = logging.getLogger(__name__)
PROTOCOL_LOG = LOG.getChild("protocol")
PROTOCOL_LOG.setLevel(logging.CRITICAL)  # A malformed request is answered, and not logged.


class Rest:
    """An HTTP server on the running event loop.

    Attributes:
        port: the port on which it listens.

    Source: `model_servers/http_rest_api_handler.cc`, `model_servers/http_rest_api_util.cc`,
        `model_servers/http_server.cc` of tensorflow/serving.
    """

    def __init__(
        self,
        manager: Manager,
        metrics: Metrics,
        flags: Flags,
        turns: Turns,
        metrics_path: str | None,
    ):
        self.port = flags.rest_api_port
        self._turns = turns
        self._manager = manager
        self._metrics = metrics
        self._metrics_path = metrics_path
        self._flags = flags
        self._headers = CORS if flags.rest_api_enable_cors_support else {}
        self._origins = Origins(flags)
        self._pool = futures.ThreadPoolExecutor(flags.rest_api_num_threads, "rest")

    async def start(self) -> None:
        """Listen.

        Raises:
            InputError: the port is in use.
        """
        loop = asyncio.get_running_loop()

        def request(message, payload, protocol, writer, task):
            limit = self._flags.max_bytes
            return web.BaseRequest(
                message, payload, protocol, writer, task, loop, client_max_size=limit
            )

        self._connections = Connections(
            self._handle,
            self._flags,
            request_factory=request,
            access_log=None,
            logger=PROTOCOL_LOG,
        )
        try:
            self.port = await self._connections.listen(self._flags.host, self.port or 0)
        except OSError as error:
            address = f"{self._flags.host}:{self.port}"
            raise InputError(f"REST cannot listen on {address}: {error.strerror}") from None

    async def stop(self) -> None:
        """Answer the requests that have arrived, and stop."""
        await self._connections.stop()
        self._pool.shutdown()

    async def _handle(self, request):
        path = request.raw_path.split("?", 1)[0]
        refusal = self._origins.refusal(request)
        if refusal is not None:
            self._metrics.answered("", "", "REST", refusal.code, 0.0)
            error = {"error": refusal.message}
            return web.json_response(error, status=refusal.status)
        if path[:4].lower() != "/v1/":
            return await self._other(request.method, path)
        if request.method == "OPTIONS":
            if request.headers.get("Origin", "").startswith(("http://", "https://")):
                return web.Response(headers=self._headers)
            error = {"error": "Origin header is missing in CORS preflight"}
            return web.json_response(error, status=400)
        start, name, verb, broken = time.monotonic(), "", "", False
        deadline = Deadline(start + self._flags.rest_api_timeout_in_ms / 1000)
        try:
            if (request.content_length or 0) > self._flags.max_bytes:  # do not wait for it
                raise web.HTTPRequestEntityTooLarge(self._flags.max_bytes, request.content_length)
            content = await self._body(request, start)
            spec, verb = _parsed(request.method, path)
            name = spec.name if spec.name in self._manager.models else ""
            with Turn(self._turns, deadline) as turn:
                if verb == "predict":
                    body = await self._predict(spec, request, content, deadline, turn)
                else:
                    body = await self._answer(spec, verb, content, deadline, turn)
            code, status = "OK", 200
        except ServingError as error:
            code, status = error.code, error.http_status
            body = _error(error.message) if error.message else b""
        except web.HTTPRequestEntityTooLarge:
            code, status, broken = "RESOURCE_EXHAUSTED", 413, True
            body = _error(f"The body exceeds {self._flags.max_bytes} bytes")
        except web.RequestPayloadError as error:
            code, status, broken = "INVALID_ARGUMENT", 400, True
            body = _error(f"The body cannot be read: {error}")
        except web.HTTPRequestTimeout:
            code, status, broken = "DEADLINE_EXCEEDED", 408, True
            body = _error("The body of the request did not arrive in time")
        except asyncio.CancelledError:  # The client has closed its connection.
            deadline.gone = True
            LOG.info("%s %s: the client hung up", request.method, path[:200])
            self._answered(name, verb, request.method, "CANCELLED", start)
            raise
        except Exception:
            LOG.exception("%s %s failed", request.method, path)
            code, status = "INTERNAL", 500
            body = _error("Internal error; see the log of the server")
        self._answered(name, verb, request.method, code, start)
        response = web.Response(
            status=status, body=body, content_type="application/json", headers=self._headers
        )
        if broken:  # It is not known where the next request begins.
            response.force_close()
        return response

    async def _body(self, request, start):
        """The body of a request; most have arrived with their header."""
        if request.content.is_eof():
            return await request.read()
        left = start + self._flags.rest_api_timeout_in_ms / 1000 - time.monotonic()
        try:
            return await asyncio.wait_for(request.read(), left)
        except asyncio.TimeoutError:
            raise web.HTTPRequestTimeout from None
        except OSError:
            LOG.info("%s %s: the client hung up", request.method, request.raw_path[:200])
            raise ServingError("CANCELLED", "") from None

    def _answered(self, name, verb, method, code, start):
        api = verb if method == "POST" else ""
        self._metrics.answered(name, api, "REST", code, time.monotonic() - start)

    async def _other(self, method, path):
        """Answer requests that are not part of TF Serving's API: the metrics and the page."""
        at = self._metrics_path
        if at is not None and path == at:
            return web.Response(body=self._metrics.page(), content_type="text/plain")
        if at is not None and path.startswith(at + "/"):
            return web.Response(status=400, text=f"Unexpected path: {path}. Should be {at}")
        if method == "GET" and path == "/":
            headers = {"Content-Security-Policy": page.CONTENT_SECURITY}
            return web.Response(text=page.html(), content_type="text/html", headers=headers)
        if method == "GET" and path == "/models.json":
            found = page.models(self._manager)
            return web.Response(body=orjson.dumps(found), content_type="application/json")
        return web.Response(status=404, text="Not Found", headers=self._headers)

    async def _answer(self, spec, verb, content, deadline, turn):
        if verb in ON_EXAMPLES:
            if turn.needed(json_tensors.memory(content)):
                await turn.take()
            call = functools.partial(self._on_examples, spec, verb, content, deadline)
        else:
            call = functools.partial(self._look, spec, verb)
        return await asyncio.get_running_loop().run_in_executor(self._pool, call)

    async def _predict(self, spec, request, content, deadline, turn):
        layout = json_tensors.ROW

        def read(servable):
            nonlocal layout
            if document is None:
                name = request.query.get(image_bodies.SIGNATURE_NAME, "")
                return *image_bodies.to_arrays(servable, name, content), ()
            name = json_tensors.signature_name(document)
            try:
                signature = servable.signature(name)
            except ServingError as error:  # FAILED_PRECONDITION only over gRPC
                raise invalid(error.message) from None
            layout, arrays = json_tensors.to_arrays(document, signature.inputs)
            return name, arrays, ()

        def write(_, outputs):
            return json_tensors.to_json(outputs, layout)

        pool, num_bytes, document = self._pool, len(content), None
        if not image_bodies.is_image(request.content_type, request.query, content):
            if turn.needed(json_tensors.memory(content)):
                await turn.take()
            document = await calls.in_pool(pool, num_bytes, json_tensors.parse, content)
        servable = calls.find(self._manager, spec)
        return await calls.predict(servable, read, write, pool, num_bytes, deadline, turn)

    def _on_examples(self, spec, verb, content, deadline):
        request_type, call = ON_EXAMPLES[verb]
        document = json_tensors.parse(content)
        spec.signature_name = json_tensors.signature_name(document)
        request = request_type(model_spec=spec, input=json_tensors.to_examples(document))
        response = call(calls.find(self._manager, spec), request, deadline)
        return json_tensors.of_results(response.result)

    def _look(self, spec, metadata):
        if not spec.name:
            raise invalid("Missing model name in request.")
        if not metadata:
            request = status_pb2.GetModelStatusRequest(model_spec=spec)
            return orjson.dumps(_plain(calls.status(self._manager, request)))
        request = metadata_pb2.GetModelMetadataRequest(
            model_spec=spec, metadata_field=[calls.SIGNATURE_DEF]
        )
        response = calls.metadata(self._manager, request)
        signatures = metadata_pb2.SignatureDefMap()
        response.metadata[calls.SIGNATURE_DEF].Unpack(signatures)
        found = {calls.SIGNATURE_DEF: _plain(signatures)}
        return orjson.dumps({"model_spec": _plain(response.model_spec), "metadata": found})


def _parsed(method, path):
    """The model and the verb of a path; the verb of a GET is "metadata" or empty."""
    found = PATHS[method].fullmatch(path) if method in PATHS else None
    if found is None or (method == "POST" and not found[1]):
        raise invalid(f"Malformed request: {method} {path}")
    name, version, label, verb = found.groups(default="")
    spec = ModelSpec(name=unquote(name))
    if len(version) > 19 or int(version or 0) >= 2**63:
        raise invalid("")  # TF Serving's body is empty here.
    if version:
        spec.version.value = int(version)
    if label:
        spec.version_label = unquote(label)
    return spec, verb.lower()


def _error(message):
    return orjson.dumps({"error": message})


def _plain(message):
    return json_format.MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
