"""TF Serving's REST API, in a thread of its own."""

import asyncio
import json
import logging
import re
import time
from concurrent import futures
from urllib.parse import unquote

import orjson
from aiohttp import web
from google.protobuf import json_format
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    regression_pb2,
)

from tfgen.errors import InputError
from tfgen.export.serving import json_answers, json_examples, json_requests, page, predict
from tfgen.export.serving.event_loop import EventLoop
from tfgen.export.serving.statuses import ServingError, invalid

CALL = re.compile(
    r"(?i)/v1/models/([^/:]+)(?:/versions/([0-9]+)|/labels/([^/:]+))?:(classify|regress|predict)"
)
LOOK = re.compile(
    r"(?i)/v1/models(?:/([^/:]+))?(?:/versions/([0-9]+)|/labels/([^/:]+))?(?:/(metadata))?"
)
CORS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "POST, GET",
    "Access-Control-Allow-Headers": "Content-Type",
}
PLAIN = {"Content-Type": "text/plain; charset=utf-8"}
SHORT = 64 * 2**10  # bytes that are read or written in less than a millisecond
VERBS = ("predict", "classify", "regress")
EXAMPLES = {
    "classify": (
        classification_pb2.ClassificationRequest,
        predict.classify,
        json_examples.of_classifications,
    ),
    "regress": (
        regression_pb2.RegressionRequest,
        predict.regress,
        json_examples.of_regressions,
    ),
}
LOG = logging.getLogger(__name__)
PROTOCOL_LOG = LOG.getChild("protocol")
PROTOCOL_LOG.setLevel(logging.CRITICAL)  # a broken request is the client's; it gets its answer


class Rest:
    """A running HTTP server.

    Requests that batching takes are read and answered in the thread of the server, unless they are
    long; the others have threads of their own.

    Args:
        manager: a `tfgen.export.serving.manager.Manager`.
        host: a name or number of an interface of this machine.
        port: 0 for any free one; `port` says which.
        timeout: seconds until a request fails with 504.
        threads: requests that are answered at once without batching.
        most_bytes: of a body, also after decompression.
        cors: let pages from elsewhere ask.
        metrics: a `tfgen.export.serving.metrics.Metrics`.
        metrics_path: where Prometheus finds them; nowhere if None.

    Raises:
        InputError: the port is taken.

    Source: `model_servers/http_rest_api_handler.cc`, `model_servers/http_rest_api_util.cc`,
        `model_servers/http_server.cc` of tensorflow/serving.
    """

    def __init__(
        self,
        manager,
        host,
        port,
        *,
        timeout,
        threads,
        most_bytes,
        cors=False,
        metrics=None,
        metrics_path=None,
    ):
        self._manager = manager
        self._timeout = timeout
        self._most_bytes = most_bytes
        self._headers = CORS if cors else {}
        self._metrics = metrics
        self._metrics_path = metrics_path
        self._pool = futures.ThreadPoolExecutor(threads, "rest")
        self._thread = EventLoop("rest")
        self._loop = self._thread.loop
        try:
            self.port = self._thread.run(self._start(host, port))
        except OSError as error:
            self.close()
            raise InputError(f"REST cannot listen on {host}:{port}: {error.strerror}") from None

    def close(self):
        """Answer what has arrived, and stop."""
        self._thread.run(self._end())
        self._thread.close()
        self._pool.shutdown()

    async def _in_pool(self, call, *arguments):
        return await self._loop.run_in_executor(self._pool, call, *arguments)

    async def _start(self, host, port):
        def request(*parts):
            return web.BaseRequest(*parts, self._loop, client_max_size=self._most_bytes)

        server = web.Server(
            self._handle, request_factory=request, access_log=None, logger=PROTOCOL_LOG
        )
        self._runner = web.ServerRunner(server, shutdown_timeout=10.0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, host, port)
        await site.start()
        return self._runner.addresses[0][1]

    async def _end(self):
        await self._runner.cleanup()
        waiting = asyncio.all_tasks() - {asyncio.current_task()}  # for clients that went away
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)

    async def _handle(self, request):
        start = time.monotonic()
        path = request.raw_path.split("?", 1)[0]
        if path[:4].lower() != "/v1/":
            return await self._besides(request.method, path)
        if request.method == "OPTIONS":
            return self._preflight(request.headers.get("Origin", ""))
        broken, name, verb = False, "", ""
        try:
            if (request.content_length or 0) > self._most_bytes:  # do not wait for it
                raise web.HTTPRequestEntityTooLarge(self._most_bytes, request.content_length)
            content = await request.read()
            name, version, label, verb = _parts(request.method, path)
            deadline = start + self._timeout
            if verb == "predict":
                body = await self._predicted(name, version, label, content, deadline)
            elif verb in EXAMPLES:
                spec = (name, version, label)
                body = await self._in_pool(self._inferred, verb, spec, content, deadline)
            else:
                body = await self._in_pool(self._looked, name, version, label, verb)
            code, status = "OK", 200
        except ServingError as error:
            code, status = error.code, error.http_status
            body = _error(error.message) if error.message else b""
        except web.HTTPRequestEntityTooLarge:
            code, status = "RESOURCE_EXHAUSTED", 413
            body = _error(f"The body exceeds {self._most_bytes} bytes")
            broken = True
        except web.RequestPayloadError as error:
            code, status = "INVALID_ARGUMENT", 400
            body = _error(f"The body cannot be read: {error}")
            broken = True
        except Exception:
            LOG.exception("%s %s failed", request.method, path)
            code, status = "INTERNAL", 500
            body = _error("Internal error; the server's log says more")
        if self._metrics is not None:
            known, api = self._manager.known(name), verb if verb in VERBS else ""
            self._metrics.answered(known, api, "REST", code, time.monotonic() - start)
        response = web.Response(
            status=status, body=body, content_type="application/json", headers=self._headers
        )
        if broken:  # Where the next request begins is unknown.
            response.force_close()
        return response

    async def _besides(self, method, path):
        """What is not TF Serving's API: the metrics and the page."""
        at = self._metrics_path
        if at is not None and path == at:
            return web.Response(body=await self._in_pool(self._metrics.page), headers=PLAIN)
        if at is not None and path.startswith(at + "/"):
            text = f"Unexpected path: {path}. Should be {at}"
            return web.Response(status=400, text=text, headers=PLAIN)
        if method == "GET" and path == "/":
            headers = {"Content-Security-Policy": page.CONTENT_SECURITY}
            return web.Response(text=page.html(), content_type="text/html", headers=headers)
        if method == "GET" and path == "/models.json":
            found = await self._in_pool(page.models, self._manager)
            return web.Response(body=orjson.dumps(found), content_type="application/json")
        return web.Response(status=404, text="Not Found", headers=self._headers)

    def _preflight(self, origin):
        if origin.startswith(("http://", "https://")):
            return web.Response(headers=self._headers)
        text = _error("Origin header is missing in CORS preflight")
        return web.Response(status=400, body=text, content_type="application/json")

    async def _predicted(self, name, version, label, content, deadline):
        long = len(content) > SHORT
        if long:
            document = await self._in_pool(json_requests.parse, content)
        else:
            document = json_requests.parse(content)
        with self._manager.borrow(name, version, label) as servable:
            if not servable.batched:
                return await self._in_pool(_answer, servable, document, deadline)
            if long:
                request = await self._in_pool(_read, servable, document)
            else:
                request = _read(servable, document)
            signature_name, layout, inputs = request
            names, future = servable.submit(
                signature_name, inputs, seconds=deadline - time.monotonic()
            )
            outputs = dict(zip(names, await asyncio.wrap_future(future), strict=True))
        if sum(array.nbytes for array in outputs.values()) > SHORT:
            return await self._in_pool(json_answers.to_json, outputs, layout)
        return json_answers.to_json(outputs, layout)

    def _inferred(self, verb, spec, content, deadline):
        request_type, call, to_json = EXAMPLES[verb]
        document = json_requests.parse(content)
        request = request_type()
        _fill(request.model_spec, *spec)
        request.model_spec.signature_name = json_requests.signature_name(document)
        json_examples.to_input(document, request.input)
        return to_json(call(self._manager, request, deadline=deadline).result)

    def _looked(self, name, version, label, metadata):
        if name is None:
            raise invalid("Missing model name in request.")
        if metadata:
            request = get_model_metadata_pb2.GetModelMetadataRequest(
                metadata_field=[predict.SIGNATURE_DEF]
            )
            _fill(request.model_spec, name, version, label)
            return _metadata_json(predict.metadata(self._manager, request))
        request = get_model_status_pb2.GetModelStatusRequest()
        _fill(request.model_spec, name, version, label)
        return _json(predict.status(self._manager, request)).encode()


def _parts(method, path):
    """Name, version, label and verb of a path; the verb of a GET is "metadata" or None."""
    found = None
    if method in ("GET", "POST"):
        found = (CALL if method == "POST" else LOOK).fullmatch(path)
    if found is None:
        raise invalid(f"Malformed request: {method} {path}")
    name, version, label, verb = found.groups()
    name, label = (None if part is None else unquote(part) for part in (name, label))
    if version is not None:
        version = int(version) if len(version) < 20 else 2**63
        if version >= 2**63:
            raise ServingError("INVALID_ARGUMENT", "")  # TF Serving's body is empty here
    return name, version, label, verb and verb.lower()


def _read(servable, document):
    """The signature's name, the layout and the arrays of a request."""
    signature_name = json_requests.signature_name(document)
    try:
        signature = servable.signature(signature_name)
    except ServingError:
        raise invalid(
            f'Serving signature name: "{signature_name}" not found in signature def'
        ) from None
    return signature_name, *json_requests.to_arrays(document, signature.inputs)


def _answer(servable, document, deadline):
    signature_name, layout, inputs = _read(servable, document)
    left = deadline - time.monotonic()
    return json_answers.to_json(servable.predict(signature_name, inputs, seconds=left), layout)


def _fill(spec, name, version, label):
    spec.name = name
    if version is not None:
        spec.version.value = version
    if label is not None:
        spec.version_label = label


def _error(message):
    return f'{{ "error": {json.dumps(message)} }}'.encode()


def _json(message):
    return json_format.MessageToJson(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )


def _metadata_json(response):
    signatures = get_model_metadata_pb2.SignatureDefMap()
    response.metadata[predict.SIGNATURE_DEF].Unpack(signatures)
    metadata = f'{{"{predict.SIGNATURE_DEF}": {_json(signatures)}}}'
    return f'{{"model_spec": {_json(response.model_spec)}, "metadata": {metadata}}}'.encode()
