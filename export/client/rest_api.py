"""TF Serving's REST API, from the client's side."""

from __future__ import annotations

import base64
import contextlib
import json
import time
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

import numpy as np
import requests

from tfgen.export.client import deadlines
from tfgen.export.serving.statuses import HTTP, ServingError

SHOWN = 200  # characters of an answer in a message
# What reading an answer of another format raises.
_MALFORMED = (AttributeError, LookupError, OverflowError, RecursionError, TypeError, ValueError)

# The most likely code for each HTTP status that several codes share, or that has no code.
_CODES = {
    **{status: code for code, status in HTTP.items()},
    400: "INVALID_ARGUMENT",
    409: "ABORTED",
    413: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
}
_DTYPES = {
    "DT_FLOAT": np.float32,
    "DT_DOUBLE": np.float64,
    "DT_UINT8": np.uint8,
    "DT_INT32": np.int32,
    "DT_INT64": np.int64,
    "DT_BOOL": np.bool_,
}


class RestApi:
    """Requests to one model; errors are `ServingError`s.

    Args:
        address: `http://HOST:PORT` or `https://...`.
        model, version, label, max_answer_bytes: as for `tfgen.export.Client`.
    """

    def __init__(
        self,
        address: str,
        model: str,
        version: int | None,
        label: str | None,
        max_answer_bytes: int,
    ):
        self._url = f"{address.rstrip('/')}/v1/models/{_quoted(model)}"
        if version is not None:
            self._url += f"/versions/{version}"
        if label is not None:
            self._url += f"/labels/{_quoted(label)}"
        self._max_answer_bytes = max_answer_bytes
        self._session = deadlines.session()
        self._signatures: dict[str, Any] = {}

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def predict(
        self,
        signature: str,
        arrays: Mapping[str, np.ndarray],
        outputs: Sequence[str],
        seconds: float,
    ) -> dict[str, np.ndarray]:
        """Run a signature; `outputs` names the outputs to return, all if it is empty."""
        end = time.monotonic() + seconds
        dtypes = self._dtypes(signature, seconds)
        body = {
            "signature_name": signature,
            "inputs": {name: _to_json(array) for name, array in arrays.items()},
        }
        content = json.dumps(body).encode()  # with NaN and Infinity as TF Serving reads them
        answer = self._call("POST", ":predict", end - time.monotonic(), content)
        with _in_the_format_of_tf_serving(answer):
            found = answer["outputs"]
            if len(dtypes) == 1:
                found = {next(iter(dtypes)): found}
            missing = [name for name in outputs if name not in found]
            if not missing:
                return {name: np.array(found[name], dtypes[name]) for name in outputs or found}
        raise ServingError("INVALID_ARGUMENT", f"there is no output {', '.join(missing)}")

    def metadata(self, seconds: float) -> dict[str, Any]:
        """The signatures by name, which a server has once it can answer requests."""
        answer = self._call("GET", "/metadata", seconds)
        with _in_the_format_of_tf_serving(answer):
            return dict(answer["metadata"]["signature_def"]["signature_def"])

    def input_shapes(self, signature: str, seconds: float) -> dict[str, list[int]]:
        """The shape of each input, -1 for an unknown size; {} for an unknown signature."""
        found = self._signature(signature, seconds)
        with _in_the_format_of_tf_serving(found):
            return {
                name: [int(dim["size"]) for dim in info["tensor_shape"]["dim"]]
                for name, info in found.get("inputs", {}).items()
            }

    def _dtypes(self, signature, seconds):
        """The dtypes of the outputs, which JSON lacks."""
        found = self._signature(signature, seconds)
        with _in_the_format_of_tf_serving(found):
            outputs = found.get("outputs", {})
            return {name: _DTYPES.get(info["dtype"], object) for name, info in outputs.items()}

    def _signature(self, name, seconds):
        """A signature, {} if it is unknown. All versions have the same signatures."""
        if name not in self._signatures:
            self._signatures = self.metadata(seconds)
        return self._signatures.get(name, {})

    def _call(self, method, path, seconds, content=None):
        end = time.monotonic() + max(seconds, 0.001)
        token = deadlines.END.set(end)
        try:
            with self._session.request(
                method,
                self._url + path,
                data=content,
                headers={"Content-Type": "application/json", "Accept-Encoding": "identity"},
                timeout=deadlines.left(),
                stream=True,
            ) as answer:
                text = self._text(answer)
        except requests.RequestException as error:
            if isinstance(error, requests.Timeout) or time.monotonic() >= end:
                raise ServingError("DEADLINE_EXCEEDED", "Deadline Exceeded") from None
            if isinstance(error, requests.exceptions.ChunkedEncodingError):
                raise ServingError("UNAVAILABLE", f"the connection broke: {error}") from None
            if isinstance(error, requests.ConnectionError):
                raise ServingError("UNAVAILABLE", f"failed to connect: {error}") from None
            raise _malformed(error) from None
        finally:
            deadlines.END.reset(token)
        if answer.status_code != 200:
            raise _error(answer.status_code, text)
        try:
            found = json.loads(text)
        except (ValueError, RecursionError):
            raise _malformed(text) from None
        if not isinstance(found, dict):
            raise _malformed(text)
        return found

    def _text(self, answer):
        """The body of an answer, whose size is limited while it is read."""
        if answer.headers.get("Content-Encoding", "identity") != "identity":
            raise _malformed("it is compressed, which was not asked for")
        found = bytearray()
        for chunk in answer.iter_content(2**18):
            found += chunk
            if len(found) > self._max_answer_bytes:
                text = f"the answer exceeds max_answer_bytes={self._max_answer_bytes}"
                raise ServingError("RESOURCE_EXHAUSTED", text)
        return found.decode(errors="replace")


@contextlib.contextmanager
def _in_the_format_of_tf_serving(answer):
    """Whatever reading an answer of another format raises, it becomes an error that shows it."""
    try:
        yield
    except _MALFORMED:
        try:
            shown = json.dumps(answer)
        except RecursionError:
            shown = "(nested too deeply to be shown)"
        raise _malformed(shown) from None


def _malformed(shown):
    shown = str(shown)
    shown = shown if len(shown) <= SHOWN else shown[:SHOWN] + "..."
    return ServingError("UNKNOWN", f"the answer is not TF Serving's: {shown}")


def _quoted(name):
    return quote(name, safe="")


def _to_json(array):
    if array.dtype != object:
        return array.tolist()
    return [{"b64": base64.b64encode(data).decode("ascii")} for data in array.tolist()]


def _error(status, text):
    try:
        message = json.loads(text)["error"]
    except (ValueError, KeyError, TypeError, RecursionError):
        message = text
    return ServingError(_CODES.get(status, "UNKNOWN"), str(message))
