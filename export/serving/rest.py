"""TF Serving's REST API, in a thread of its own."""

import asyncio
import functools
import json
import logging
import re
import threading
import time
from concurrent import futures
from urllib.parse import unquote

from aiohttp import web
from google.protobuf import json_format
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
)

from tfgen.errors import InputError
from tfgen.export.serving import json_answers, json_requests, predict
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
LOG = logging.getLogger(__name__)
PROTOCOL_LOG = LOG.getChild("protocol")
PROTOCOL_LOG.setLevel(logging.CRITICAL)  # a broken request is the client's; it gets its answer


class Rest:
    """A running HTTP server.

    Args:
        manager: a `tfgen.export.serving.manager.Manager`.
        host: a name or number of an interface of this machine.
        port: 0 for any free one; `port` says which.
        timeout: seconds until a request fails with 504.
        threads: requests that are answered at once.
        most_bytes: of a body, also after decompression.
        cors: let pages from elsewhere ask.

    Raises:
        InputError: the port is taken.

    Source: `model_servers/http_rest_api_handler.cc`, `model_servers/http_rest_api_util.cc` of
        tensorflow/serving.
    """

    def __init__(self, manager, host, port, *, timeout, threads, most_bytes, cors=False):
        self._manager = manager
        self._timeout = timeout
        self._most_bytes = most_bytes
        self._headers = CORS if cors else {}
        self._pool = futures.ThreadPoolExecutor(threads, "rest")
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True, name="rest")
        self._thread.start()
        try:
            self.port = self._in_loop(self._start(host, port))
        except OSError as error:
            self.close()
            raise InputError(f"REST cannot listen on {host}:{port}: {error.strerror}") from None

    def close(self):
        """Answer what has arrived, and stop."""
        self._in_loop(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._pool.shutdown()

    def _in_loop(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    async def _start(self, host, port):
        application = web.Application(client_max_size=self._most_bytes)
        application.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(
            application, access_log=None, logger=PROTOCOL_LOG, shutdown_timeout=10.0
        )
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
        deadline = time.monotonic() + self._timeout
        path = request.raw_path.split("?", 1)[0]
        if not path.lower().startswith("/v1/"):
            return web.Response(status=404, text="Not Found", headers=self._headers)
        broken = False
        try:
            if (request.content_length or 0) > self._most_bytes:  # do not wait for it
                raise web.HTTPRequestEntityTooLarge(self._most_bytes, request.content_length)
            body = await request.read()
            work = functools.partial(self._answer, request.method, path, body, deadline)
            status, text = await self._loop.run_in_executor(self._pool, work)
        except web.HTTPRequestEntityTooLarge:
            status, text = 413, _error(f"The body exceeds {self._most_bytes} bytes")
            broken = True
        except web.RequestPayloadError as error:
            status, text = 400, _error(f"The body cannot be read: {error}")
            broken = True
        response = web.Response(
            status=status, text=text, content_type="application/json", headers=self._headers
        )
        if broken:  # Where the next request begins is unknown.
            response.force_close()
        return response

    def _answer(self, method, path, body, deadline):
        try:
            return 200, self._called(method, path, body, deadline)
        except ServingError as error:
            return error.http_status, _error(error.message) if error.message else ""
        except Exception:
            LOG.exception("%s %s failed", method, path)
            return 500, _error("Internal error; the server's log says more")

    def _called(self, method, path, body, deadline):
        call = CALL.fullmatch(path) if method == "POST" else None
        look = LOOK.fullmatch(path) if method == "GET" else None
        if call is None and look is None:
            raise invalid(f"Malformed request: {method} {path}")
        name, version, label, verb = (call or look).groups()
        name, label = (None if part is None else unquote(part) for part in (name, label))
        if version is not None:
            version = int(version) if len(version) < 20 else 2**63
            if version >= 2**63:
                raise ServingError("INVALID_ARGUMENT", "")  # TF Serving's body is empty here
        if look is not None:
            return self._looked(name, version, label, verb)
        if verb == "predict":
            return self._predicted(name, version, label, body, deadline)
        if verb in ("classify", "regress"):
            raise ServingError(
                "UNIMPLEMENTED", f"{verb} takes tf.Examples, which tfgen's models do not: predict"
            )
        raise invalid(f"Malformed request: {method} {path}")

    def _predicted(self, name, version, label, body, deadline):
        document = json_requests.parse(body)
        signature_name = json_requests.signature_name(document)
        with self._manager.borrow(name, version, label) as servable:
            try:
                signature = servable.signature(signature_name)
            except ServingError:
                raise invalid(
                    f'Serving signature name: "{signature_name}" not found in signature def'
                ) from None
            layout, inputs = json_requests.to_arrays(document, signature.inputs)
            left = deadline - time.monotonic()
            outputs = servable.predict(signature_name, inputs, seconds=left)
        return json_answers.to_json(outputs, layout)

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
        return _json(predict.status(self._manager, request))


def _fill(spec, name, version, label):
    spec.name = name
    if version is not None:
        spec.version.value = version
    if label is not None:
        spec.version_label = label


def _error(message):
    return f'{{ "error": {json.dumps(message)} }}'


def _json(message):
    return json_format.MessageToJson(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )


def _metadata_json(response):
    signatures = get_model_metadata_pb2.SignatureDefMap()
    response.metadata[predict.SIGNATURE_DEF].Unpack(signatures)
    metadata = f'{{"{predict.SIGNATURE_DEF}": {_json(signatures)}}}'
    return f'{{"model_spec": {_json(response.model_spec)}, "metadata": {metadata}}}'
