"""TF Serving's REST API, from the client's side."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

import numpy as np
import requests

from tfgen.export.serving.statuses import HTTP, ServingError

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
        model, version, label: as for `tfgen.export.Client`.
    """

    def __init__(self, address: str, model: str, version: int | None, label: str | None):
        self._url = f"{address.rstrip('/')}/v1/models/{_quoted(model)}"
        if version is not None:
            self._url += f"/versions/{version}"
        if label is not None:
            self._url += f"/labels/{_quoted(label)}"
        self._session = requests.Session()
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
        found = self._call("POST", ":predict", end - time.monotonic(), content)["outputs"]
        if len(dtypes) == 1:
            found = {next(iter(dtypes)): found}
        missing = [name for name in outputs if name not in found]
        if missing:
            raise ServingError("INVALID_ARGUMENT", f"there is no output {', '.join(missing)}")
        return {name: np.array(found[name], dtypes[name]) for name in outputs or found}

    def metadata(self, seconds: float) -> dict[str, Any]:
        """The signatures by name, which a server has once it can answer requests."""
        found = self._call("GET", "/metadata", seconds)
        return found["metadata"]["signature_def"]["signature_def"]

    def input_shapes(self, signature: str, seconds: float) -> dict[str, list[int]]:
        """The shape of each input, -1 for an unknown size; {} for an unknown signature."""
        inputs = self._signature(signature, seconds).get("inputs", {})
        return {
            name: [int(dim["size"]) for dim in info["tensor_shape"]["dim"]]
            for name, info in inputs.items()
        }

    def _dtypes(self, signature, seconds):
        """The dtypes of the outputs, which JSON lacks."""
        outputs = self._signature(signature, seconds).get("outputs", {})
        return {name: _DTYPES.get(info["dtype"], object) for name, info in outputs.items()}

    def _signature(self, name, seconds):
        """A signature, {} if it is unknown. All versions have the same signatures."""
        if name not in self._signatures:
            self._signatures = self.metadata(seconds)
        return self._signatures.get(name, {})

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
                raise _error(answer)
            return answer.json()
        except requests.Timeout:
            raise ServingError("DEADLINE_EXCEEDED", "Deadline Exceeded") from None
        except requests.ConnectionError as error:
            raise ServingError("UNAVAILABLE", f"failed to connect: {error}") from None
        except requests.exceptions.ChunkedEncodingError as error:
            raise ServingError("UNAVAILABLE", f"the connection broke: {error}") from None
        except requests.RequestException as error:
            raise ServingError("UNKNOWN", f"the answer is not TF Serving's: {error}") from None


def _quoted(name):
    return quote(name, safe="")


def _to_json(array):
    if array.dtype != object:
        return array.tolist()
    return [{"b64": base64.b64encode(data).decode("ascii")} for data in array.tolist()]


def _error(answer):
    try:
        message = answer.json()["error"]
    except (ValueError, KeyError, TypeError):
        message = answer.text
    return ServingError(_CODES.get(answer.status_code, "UNKNOWN"), message)
