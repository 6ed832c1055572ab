"""A client of TF Serving, and of `tfgen serve`, for the four verbs."""

import base64
import json
import random
import secrets
import time

import numpy as np
import requests

from tfgen.errors import InputError
from tfgen.export.serving.statuses import HTTP, ServingError

_OF_HTTP = {400: "INVALID_ARGUMENT", 409: "ABORTED", 413: "RESOURCE_EXHAUSTED", 500: "INTERNAL"}
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 2.0  # seconds between attempts


class Client:
    """The verbs of a served model, over REST or gRPC, with NumPy arrays in and out.

    A request has one deadline, which all of its attempts share. It is sent again when the server
    says UNAVAILABLE (503) or cannot be reached, which no signature minds: none changes anything.

    Args:
        address: `http://HOST:PORT` or `https://...` of the REST API; `HOST:PORT` or `unix:PATH` of
            gRPC.
        model: its name on the server.
        version: a number; by default the latest.
        label: of a version, instead of its number.
        deadline: seconds that a request may take, from the call to the answer.
        attempts: at most so many; 1 never tries again.
        most_bytes: of a gRPC message either way; gRPC's own limit for answers is 4 MiB.

    Raises:
        InputError: an address of neither kind; a version and a label.

    Source: `apis/prediction_service.proto`, `g3doc/api_rest.md` of tensorflow/serving.

    Example:

    >>> import tempfile, numpy as np, tfgen
    >>> from tfgen.export.serving.server import Server
    >>> base = tempfile.mkdtemp()
    >>> _ = tfgen.export.saved_model("vae-digits", base)
    >>> with Server({"vae": base}, port=0, rest_api_port=None) as server:
    ...     with tfgen.export.Client(f"127.0.0.1:{server.port}", "vae") as client:
    ...         images = client.sample(4, temperature=0.7, seed=1)
    ...         images.shape, client.log_prob(images).shape, client.encode(images).dtype
    ((4, 8, 8, 1), (4,), dtype('float32'))
    """

    def __init__(
        self,
        address,
        model,
        *,
        version=None,
        label=None,
        deadline=30.0,
        attempts=5,
        most_bytes=2**31 - 1,
    ):
        if version is not None and label is not None:
            raise InputError("give version= or label=, not both")
        if attempts < 1 or not deadline > 0:
            raise InputError("attempts must be at least 1 and deadline more than 0 seconds")
        self._deadline = deadline
        self._attempts = attempts
        kind = _kind_of(address)
        self._api = kind(address, model, version, label, most_bytes)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()

    def close(self):
        """Close the connections."""
        self._api.close()

    def log_prob(self, images, labels=None):
        """The log-likelihoods of images, or their bounds, in nats; given labels if there are any.

        Args:
            images: uint8 `[N, H, W, C]`.
            labels: integers `[N]`, of a class-conditional model.

        Returns:
            float32 `[N]`.

        Raises:
            InputError: images of another dtype, labels that are no integers of 32 bits.
            ServingError: what the server answered instead.
        """
        inputs = {"images": _images(images)}
        if labels is None:
            return self.predict("log_prob", inputs)["log_prob"]
        inputs["labels"] = _labels(labels)
        return self.predict("log_prob_given", inputs)["log_prob"]

    def encode(self, images):
        """The latents of images, float32 `[N, D]`; see `log_prob`."""
        return self.predict("encode", {"images": _images(images)})["latents"]

    def decode(self, latents):
        """The images of latents, uint8 `[N, H, W, C]`; see `log_prob`."""
        return self.predict("decode", {"latents": np.asarray(latents, np.float32)})["images"]

    def sample(self, n, temperature=1.0, seed=None, labels=None):
        """Images drawn from the model, uint8 `[n, H, W, C]`.

        Args:
            n: how many.
            temperature: of the noise, one number or `[n]`.
            seed: an integer of 32 bits: the same images each time; image i has the seeds (seed, i)
                of `sample_seeded`.
            labels: integers `[n]`, of a class-conditional model.

        Raises:
            InputError: another seed, labels that are no integers of 32 bits.
            ServingError: what the server answered instead.
        """
        if seed is None:
            seed = secrets.randbits(31)
        _check_seed(seed)
        inputs = {
            "seeds": np.stack([np.full(n, seed, np.int32), np.arange(n, dtype=np.int32)], axis=1),
            "temperature": np.broadcast_to(np.float32(temperature), [n]),
        }
        if labels is not None:
            inputs["labels"] = _labels(labels)
        return self.predict("sample_seeded", inputs)["images"]

    def predict(self, signature, inputs, outputs=()):
        """Run any signature.

        Args:
            signature: its name.
            inputs: arrays by name; files for `*_encoded` as a list of bytes.
            outputs: the names of those that are wanted; all if there are none.

        Returns:
            A dict of arrays.

        Raises:
            ServingError: what the server answered instead.
        """
        arrays = {name: _array(value) for name, value in inputs.items()}
        end = time.monotonic() + self._deadline
        pause = _FIRST_PAUSE
        for attempt in range(1, self._attempts + 1):
            try:
                left = end - time.monotonic()
                return self._api.predict(signature, arrays, outputs, left)
            except ServingError as error:
                wait = pause * random.uniform(0.5, 1.0)
                out_of_time = time.monotonic() + wait >= end
                if error.code != "UNAVAILABLE" or attempt == self._attempts or out_of_time:
                    raise
            time.sleep(wait)
            pause = min(2 * pause, _LONGEST_PAUSE)
        raise AssertionError("the last attempt returns or raises")

    def ready(self):
        """Whether the server answers for the model; False while it loads or cannot be reached."""
        try:
            self._api.metadata(min(5.0, self._deadline))
        except ServingError as error:
            if error.code in ("UNAVAILABLE", "NOT_FOUND", "DEADLINE_EXCEEDED"):
                return False
            raise
        return True


def _kind_of(address):
    if address.startswith(("http://", "https://")):
        return _Rest
    if "://" in address or ":" not in address:
        raise InputError(
            f"address {address!r} is neither http://HOST:PORT (REST) nor HOST:PORT (gRPC)"
        )
    return _Grpc


def _images(images):
    images = np.asarray(images)
    if images.dtype != np.uint8:
        raise InputError(f"images must be uint8 [N, H, W, C], got {images.dtype}")
    return images


def _labels(labels):
    labels = np.asarray(labels)
    if labels.dtype.kind not in "iu" or np.any(labels != labels.astype(np.int32)):
        raise InputError(f"labels must be integers of 32 bits, got {labels.dtype} {labels}")
    return labels.astype(np.int32)


def _check_seed(seed):
    integer = isinstance(seed, (int, np.integer)) and not isinstance(seed, bool)
    if not integer or not -(2**31) <= seed < 2**31:
        raise InputError(
            f"sample: seed must be an integer from {-(2**31)} to {2**31 - 1}, as sample_seeded "
            f"takes 32 bits, got {seed!r}"
        )


def _array(value):
    array = np.asarray(value, object) if _is_bytes(value) else np.asarray(value)
    if array.dtype.kind in "SU":
        raise InputError("files are given as a list of bytes objects, texts are not taken")
    return array


def _is_bytes(value):
    return isinstance(value, (list, tuple)) and any(isinstance(item, bytes) for item in value)


class _Grpc:
    def __init__(self, address, model, version, label, most_bytes):
        import grpc
        from tensorflow_serving.apis import prediction_service_pb2_grpc

        options = [
            ("grpc.max_receive_message_length", most_bytes),
            ("grpc.max_send_message_length", most_bytes),
            ("grpc.enable_retries", 0),  # Client tries again itself, as over REST
        ]
        self._channel = grpc.insecure_channel(address, options)
        self._stub = prediction_service_pb2_grpc.PredictionServiceStub(self._channel)
        self._spec = (model, version, label)
        self._rpc_error = grpc.RpcError

    def close(self):
        self._channel.close()

    def predict(self, signature, arrays, outputs, seconds):
        from tensorflow_serving.apis import predict_pb2

        from tfgen.export.serving import proto_tensors

        request = predict_pb2.PredictRequest(output_filter=outputs)
        self._fill(request.model_spec)
        request.model_spec.signature_name = signature
        for name, array in arrays.items():
            _into_proto(request.inputs[name], array)
        response = self._call(self._stub.Predict, request, seconds)
        return {name: proto_tensors.to_numpy(name, t) for name, t in response.outputs.items()}

    def metadata(self, seconds):
        from tensorflow_serving.apis import get_model_metadata_pb2

        request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
        self._fill(request.model_spec)
        return self._call(self._stub.GetModelMetadata, request, seconds)

    def _fill(self, spec):
        spec.name, version, label = self._spec
        if version is not None:
            spec.version.value = version
        if label is not None:
            spec.version_label = label

    def _call(self, method, request, seconds):
        try:
            return method(request, timeout=max(seconds, 0.001))
        except self._rpc_error as error:
            raise ServingError(error.code().name, error.details() or "") from None


def _into_proto(tensor, array):
    from tfgen.export.serving import proto_tensors

    if array.dtype == object:
        proto_tensors.fill(tensor, array)
        return
    tensor.dtype = proto_tensors.dtype_of(array).as_datatype_enum
    tensor.tensor_shape.SetInParent()
    for size in array.shape:
        tensor.tensor_shape.dim.add().size = size
    tensor.tensor_content = np.ascontiguousarray(array).tobytes()


class _Rest:
    def __init__(self, address, model, version, label, most_bytes):
        quoted = requests.utils.quote(model, safe="")
        self._url = f"{address.rstrip('/')}/v1/models/{quoted}"
        if version is not None:
            self._url += f"/versions/{version}"
        if label is not None:
            self._url += f"/labels/{requests.utils.quote(label, safe='')}"
        self._session = requests.Session()
        self._outputs = None

    def close(self):
        self._session.close()

    def predict(self, signature, arrays, outputs, seconds):
        end = time.monotonic() + seconds
        dtypes = self._dtypes(signature, seconds)
        body = {
            "signature_name": signature,
            "inputs": {name: _into_json(array) for name, array in arrays.items()},
        }
        content = json.dumps(body).encode()  # NaN and Infinity as TF Serving takes them
        seconds = end - time.monotonic()
        found = self._call("POST", ":predict", seconds, content)["outputs"]
        if len(dtypes) == 1:
            found = {next(iter(dtypes)): found}
        missing = [name for name in outputs if name not in found]
        if missing:
            raise ServingError("INVALID_ARGUMENT", f"there is no output {', '.join(missing)}")
        return {
            name: np.array(value, dtypes[name])
            for name, value in found.items()
            if not outputs or name in outputs
        }

    def metadata(self, seconds):
        found = self._call("GET", "/metadata", seconds)
        return found["metadata"]["signature_def"]["signature_def"]

    def _dtypes(self, signature, seconds):
        """JSON does not say what its numbers were; the signatures of all versions agree."""
        if self._outputs is None or signature not in self._outputs:
            found = self.metadata(seconds)
            self._outputs = {
                key: {name: _DTYPES.get(i["dtype"], object) for name, i in s["outputs"].items()}
                for key, s in found.items()
            }
        # A signature that is unknown here is unknown to the server, which says so best.
        return self._outputs.get(signature, {})

    def _call(self, method, path, seconds, content=None):
        try:
            answer = self._session.request(
                method,
                self._url + path,
                data=content,
                headers={"Content-Type": "application/json"},
                timeout=max(seconds, 0.001),
            )
            if answer.status_code != 200:
                raise _of_http(answer)
            return answer.json()
        except requests.Timeout:
            raise ServingError("DEADLINE_EXCEEDED", "Deadline Exceeded") from None
        except requests.ConnectionError as error:
            raise ServingError("UNAVAILABLE", f"failed to connect: {error}") from None
        except requests.exceptions.ChunkedEncodingError as error:
            raise ServingError("UNAVAILABLE", f"the connection broke: {error}") from None
        except requests.RequestException as error:
            raise ServingError("UNKNOWN", f"no answer of TF Serving: {error}") from None


_DTYPES = {
    "DT_FLOAT": np.float32,
    "DT_DOUBLE": np.float64,
    "DT_UINT8": np.uint8,
    "DT_INT32": np.int32,
    "DT_INT64": np.int64,
    "DT_BOOL": np.bool_,
}


def _into_json(array):
    if array.dtype != object:
        return array.tolist()
    return [{"b64": base64.b64encode(data).decode("ascii")} for data in array.tolist()]


def _of_http(answer):
    try:
        message = answer.json()["error"]
    except (ValueError, KeyError, TypeError):
        message = answer.text
    code = _OF_HTTP.get(answer.status_code)
    if code is None:
        code = next((c for c, status in HTTP.items() if status == answer.status_code), "UNKNOWN")
    return ServingError(code, message)
