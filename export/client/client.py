"""The verbs of a served model, with NumPy arrays in and out."""

from __future__ import annotations

import random
import secrets
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tfgen import checks
from tfgen.errors import InputError
from tfgen.export.client import images as image_inputs
from tfgen.export.client.images import Images
from tfgen.export.client.rest_api import RestApi
from tfgen.export.serving.statuses import ServingError

if TYPE_CHECKING:
    from tfgen.export.client.grpc_api import GrpcApi

FIRST_PAUSE, LONGEST_PAUSE = 0.05, 2.0  # seconds between attempts
INT32 = -(2**31), 2**31 - 1


class Client:
    """The verbs of a model on TF Serving or `tfgen serve`, over REST or gRPC.

    Images are given as uint8 arrays `[N, H, W, C]` or `[H, W, C]`, as the path of a file, as its
    content (bytes), or as a list of these. Files are read as `tfgen score` reads them: one of
    another size is resized, with a warning. The model's shape is asked for once per client.

    A request has one deadline for all of its attempts. It is sent again when the server answers
    UNAVAILABLE (503) or cannot be reached; this is safe because no signature changes any state.

    Args:
        address: `http://HOST:PORT` or `https://...` of the REST API; `HOST:PORT` or `unix:PATH` of
            gRPC.
        model: its name on the server.
        version: a number; by default the latest.
        label: label of a version, instead of its number.
        deadline: maximum number of seconds from a call to the last byte of its answer, however
            steadily the server sends; looking up the host's name is not interrupted.
        max_attempts: maximum number of attempts per request; 1 never retries.
        max_message_bytes: maximum size of a gRPC message in either direction; gRPC's own limit for
            answers is 4 MiB.
        max_answer_bytes: maximum size of an answer over REST or gRPC, and of each array in it;
            larger ones raise RESOURCE_EXHAUSTED.

    Raises:
        InputError: the address has neither form, or both a version and a label are given.

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
        address: str,
        model: str,
        *,
        version: int | None = None,
        label: str | None = None,
        deadline: float = 30.0,
        max_attempts: int = 5,
        max_message_bytes: int = 2**31 - 1,
        max_answer_bytes: int = 2**29,
    ):
        if version is not None and label is not None:
            raise InputError("give version= or label=, not both")
        self._deadline = checks.number("deadline", deadline, 0, open_low=True)
        self._max_attempts = checks.integer("max_attempts", max_attempts, 1)
        checks.integer("max_answer_bytes", max_answer_bytes, 1)
        self._shapes: dict[str, dict[str, list[int]]] = {}
        self._api: RestApi | GrpcApi
        if address.startswith(("http://", "https://")):
            self._api = RestApi(address, model, version, label, max_answer_bytes)
        elif "://" in address or ":" not in address:
            raise InputError(
                f"address {address!r} is neither http://HOST:PORT (REST) nor HOST:PORT (gRPC)"
            )
        else:  # Imported here, as a client over REST needs neither gRPC nor TensorFlow.
            from tfgen.export.client.grpc_api import GrpcApi

            self._api = GrpcApi(address, model, version, label, max_message_bytes, max_answer_bytes)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._api.close()

    def log_prob(self, images: Images, labels: npt.ArrayLike | None = None) -> np.ndarray:
        """The log-likelihood of each image in nats, or a bound of it; given its label, if any.

        Args:
            images: N images; see above.
            labels: integers `[N]`, for a class-conditional model.

        Returns:
            float32 `[N]`.

        Raises:
            InputError: images of another shape or dtype, a file that cannot be read, labels that
                are not 32-bit integers.
            ServingError: the server's error.
        """
        if labels is None:
            return self._of_images("log_prob", {"images": images})["log_prob"]
        others = {"labels": _labels(labels)}
        return self._of_images("log_prob_given", {"images": images}, others)["log_prob"]

    def encode(self, images: Images) -> np.ndarray:
        """The latents of images, float32 `[N, D]`; see `log_prob`."""
        return self._of_images("encode", {"images": images})["latents"]

    def reconstruct(self, images: Images) -> np.ndarray:
        """The images of the latents of images, uint8 `[N, H, W, C]`; see `log_prob`."""
        return self._of_images("reconstruct", {"images": images})["images"]

    def interpolate(self, first: Images, second: Images, weight: npt.ArrayLike) -> np.ndarray:
        """Images between others, uint8 `[N, H, W, C]`.

        Equations: decode((1 - weight) encode(first) + weight encode(second)).

        Args:
            first: N images or one.
            second: likewise.
            weight: N numbers or one; 0 gives the first image, 1 the second.

        Raises:
            InputError, ServingError: as for `log_prob`.
        """
        weights = np.asarray(weight, np.float32).reshape(-1)
        given = {"first": first, "second": second}
        return self._of_images("interpolate", given, {"weight": weights}, broadcast=True)["images"]

    def decode(self, latents: npt.ArrayLike) -> np.ndarray:
        """The images of latents, uint8 `[N, H, W, C]`; see `log_prob`."""
        return self.predict("decode", {"latents": np.asarray(latents, np.float32)})["images"]

    def sample(
        self,
        n: int,
        temperature: npt.ArrayLike = 1.0,
        seed: int | None = None,
        labels: npt.ArrayLike | None = None,
    ) -> np.ndarray:
        """Images drawn from the model, uint8 `[n, H, W, C]`.

        Args:
            n: number of images.
            temperature: multiplies the standard deviation of the noise; one number or `[n]`.
            seed: a 32-bit integer that determines the images; image i has the seeds (seed, i) of
                the signature `sample_seeded`. By default a random one.
            labels: integers `[n]`, for a class-conditional model.

        Raises:
            InputError: a seed or labels that are not 32-bit integers.
            ServingError: the server's error.
        """
        if seed is None:
            seed = secrets.randbits(31)
        seed = checks.integer("sample: seed", seed, *INT32)
        inputs = {
            "seeds": np.stack([np.full(n, seed, np.int32), np.arange(n, dtype=np.int32)], axis=1),
            "temperature": np.broadcast_to(np.asarray(temperature, np.float32), [n]),
        }
        if labels is not None:
            inputs["labels"] = _labels(labels)
        return self.predict("sample_seeded", inputs)["images"]

    def predict(
        self, signature: str, inputs: Mapping[str, Any], outputs: Sequence[str] = ()
    ) -> dict[str, np.ndarray]:
        """Run any signature.

        Args:
            signature: its name.
            inputs: arrays by name; files for `*_encoded` as a list of bytes.
            outputs: the names of the outputs to return; all by default.

        Returns:
            A dict of arrays.

        Raises:
            ServingError: the server's error.
        """
        arrays = {name: _array(value) for name, value in inputs.items()}
        end = time.monotonic() + self._deadline
        return self._attempt(end, self._api.predict, signature, arrays, outputs)

    def _of_images(self, signature, images, others=None, *, broadcast=False):
        """Run a signature that takes images, which are arrays or files."""
        end = time.monotonic() + self._deadline
        if signature not in self._shapes:
            self._shapes[signature] = self._attempt(end, self._api.input_shapes, signature)
        shapes = self._shapes[signature]
        arrays = {
            name: image_inputs.to_array(
                given, shapes[name][1:] if len(shapes.get(name, ())) == 4 else None
            )
            for name, given in images.items()
        }
        arrays |= others or {}
        if broadcast:
            rows = max(map(len, arrays.values()))
            arrays = {
                name: np.repeat(array, rows, axis=0) if len(array) == 1 else array
                for name, array in arrays.items()
            }
        return self._attempt(end, self._api.predict, signature, arrays, ())

    def _attempt(self, end, call, *arguments):
        """Call with the seconds that are left, again while the server is unavailable."""
        pause, attempt = FIRST_PAUSE, 1
        while True:
            try:
                return call(*arguments, end - time.monotonic())
            except ServingError as error:
                wait = pause * random.uniform(0.5, 1.0)
                out_of_time = time.monotonic() + wait >= end
                if error.code != "UNAVAILABLE" or attempt == self._max_attempts or out_of_time:
                    raise
            time.sleep(wait)
            pause, attempt = min(2 * pause, LONGEST_PAUSE), attempt + 1

    def ready(self) -> bool:
        """Whether the server answers for the model; False if it is loading or cannot be reached."""
        try:
            self._api.metadata(min(5.0, self._deadline))
        except ServingError as error:
            if error.code in ("UNAVAILABLE", "NOT_FOUND", "DEADLINE_EXCEEDED"):
                return False
            raise
        return True


def _labels(labels):
    labels = np.asarray(labels)
    if labels.dtype.kind not in "iu" or np.any(labels != labels.astype(np.int32)):
        raise InputError(f"labels must be 32-bit integers, got {labels.dtype} {labels}")
    return labels.astype(np.int32)


def _array(value):
    is_bytes = isinstance(value, (list, tuple)) and any(isinstance(item, bytes) for item in value)
    array = np.asarray(value, object) if is_bytes else np.asarray(value)
    if array.dtype.kind in "SU":
        raise InputError("files must be a list of bytes objects, not text")
    return array
