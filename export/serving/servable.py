"""One loaded version of a model: TensorFlow's SavedModel loader and one session."""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow.core.protobuf.meta_graph_pb2 import SignatureDef
from tensorflow.python.client import pywrap_tf_session
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog

from tfgen.export.serving import examples, proto_tensors
from tfgen.export.serving.batching import Scheduler
from tfgen.export.serving.deadlines import Deadline
from tfgen.export.serving.limits import Limits, Sizes, check_result, check_rows
from tfgen.export.serving.metrics import Metrics
from tfgen.export.serving.proto_tensors import Arrays
from tfgen.export.serving.statuses import NAMES, ServingError, invalid

DEFAULT = "serving_default"
WARMUP = "assets.extra/tf_serving_warmup_requests"
CARD = "assets.extra/card.json"  # of tfgen's exports, whose rows do not depend on each other
MAX_WARMUP_RECORDS = 1000
LARGEST_CHUNK = 128  # rows
NUMBERS_AT_A_TIME = 2**17  # pixels
LOG = logging.getLogger(__name__)


class Servable:
    """A SavedModel as TF Serving runs it: by the names in its signatures, without Keras.

    TF Serving's server runs a TF1 session on the graph, and so does this one, by the function below
    `Session.run`: that method would check shapes, which TF Serving leaves to the graph, and costs a
    third of the throughput over gRPC; a signature of `tf.saved_model.load` takes 1.6 times as long.
    The session is closed when nothing refers to the servable any more.

    Args:
        name: name of the model, for messages.
        version: its number.
        path: the directory of the version.
        warm_up: run the requests in `assets.extra/tf_serving_warmup_requests`; if one fails, the
            version does not load, as in TF Serving.
        scheduler: runs rows of several requests together.
        metrics: measures the runs.
        limits: those of a request.

    Raises:
        ServingError: the directory does not contain a SavedModel, or its warm-up fails.

    Source: `servables/tensorflow/predict_util.cc`, `g3doc/saved_model_warmup.md` of
        tensorflow/serving.
    """

    def __init__(
        self,
        name: str,
        version: int,
        path: str | Path,
        *,
        warm_up: bool = True,
        scheduler: Scheduler | None = None,
        metrics: Metrics | None = None,
        limits: Limits | None = None,
    ):
        self.limits = limits or Limits()
        self.name = name
        self.version = version
        self.path = Path(path)
        self._scheduler = scheduler
        self._metrics = metrics or Metrics()
        self._session, self.signatures = _loaded(self.path)
        self._sizes = {name: Sizes(found) for name, found in self.signatures.items()}
        self._chunk: int | None = None
        if (self.path / CARD).exists():
            numbers = max((sizes.numbers_per_row for sizes in self._sizes.values()), default=0)
            self._chunk = max(1, min(LARGEST_CHUNK, NUMBERS_AT_A_TIME // max(1, numbers)))
        tensor = self._session.graph.get_tensor_by_name
        self._tensor = functools.cache(lambda name: tensor(name)._as_tf_output())
        if warm_up and (self.path / WARMUP).exists():
            start = time.perf_counter()
            self._warm_up(self.path / WARMUP)
            self._metrics.warmed_up(str(path), time.perf_counter() - start)

    def signature(self, name: str) -> SignatureDef:
        """The `SignatureDef` of a name, empty for the default one; a `ServingError` without."""
        name = name or DEFAULT
        if name not in self.signatures or name.startswith("__"):
            raise ServingError("FAILED_PRECONDITION", f'Serving signature key "{name}" not found.')
        return self.signatures[name]

    def admit(
        self, signature_name: str, shapes: Mapping[str, Sequence[int]], outputs: Sequence[str] = ()
    ) -> int:
        """Check what a request asks for by the shapes of its inputs, before they are expanded.

        Returns:
            The number of elements of the result, as far as the signature tells.

        Raises:
            ServingError: RESOURCE_EXHAUSTED: too many rows, or too large a result.
        """
        sizes = self._sizes.get(signature_name or DEFAULT)
        if sizes is None:
            self.signature(signature_name)
            return 0
        rows = sizes.rows(shapes)
        check_rows(rows, self.limits)
        numbers, num_bytes = sizes.result(rows, outputs)
        check_result(num_bytes, self.limits)
        return numbers

    def predict(
        self, signature_name: str, inputs: Arrays, output_filter: Sequence[str] = (), **options: Any
    ) -> Arrays:
        """Run a signature, and wait for the outputs; see `submit`."""
        return self.submit(signature_name, inputs, output_filter, **options).result()

    def submit(
        self,
        signature_name: str,
        inputs: Arrays,
        output_filter: Sequence[str] = (),
        *,
        deadline: Deadline | None = None,
        api: str = "Predict",
        pool: Executor | None = None,
    ) -> Future:
        """Run a signature: with the rows of other requests if there is a scheduler, or in a pool.

        Args:
            signature_name: empty for `serving_default`.
            inputs: arrays by name; strings as arrays of bytes objects.
            output_filter: names of the outputs; all if empty.
            deadline: until when somebody waits. A request is not begun after that, and one of many
                rows is not continued.
            api: the method of the request, a label of the metrics.
            pool: runs the signature if there is no scheduler; without a pool, this thread runs it
                at once.

        Returns:
            A future of the outputs by name.

        Raises:
            ServingError: the error that TF Serving returns for such a request.
        """
        feeds, fetches = self._checked(signature_name, inputs, output_filter)
        run = functools.partial(self._run, api, fetches)
        if self._scheduler is not None:
            key = (id(self), api, *fetches.items())
            return self._scheduler.submit(key, run, feeds, deadline=deadline)
        if pool is not None:
            return pool.submit(run, feeds, deadline)
        future: Future = Future()
        future.set_result(run(feeds, deadline))
        return future

    def _checked(self, signature_name, inputs, output_filter):
        """The input arrays and the output names, by the names of their tensors in the graph."""
        signature = self.signature(signature_name)
        wanted, sent = set(signature.inputs), set(inputs)
        if wanted != sent:
            raise invalid(
                f"inputs do not match signature: {_listed(sent)} != {_listed(wanted)}. Sent extra: "
                f"{_listed(sent - wanted)}. Missing but required: {_listed(wanted - sent)}."
            )
        outputs = list(output_filter) or sorted(signature.outputs)
        for i, name in enumerate(outputs):
            if name not in signature.outputs:
                raise invalid(
                    f"output tensor alias not found in signature: {name} "
                    f"Outputs expected to be in the set {_listed(signature.outputs)}."
                )
            if name in outputs[:i]:
                raise invalid(f"duplicate output tensor alias: {name}")
        for name, info in signature.inputs.items():
            dtype = tf.as_dtype(inputs[name].dtype)
            if dtype.as_datatype_enum != info.dtype:
                expected = tf.as_dtype(info.dtype).name
                raise invalid(f"Input {name} must be {expected}, got {dtype.name}")
        feeds = {info.name: inputs[name] for name, info in signature.inputs.items()}
        return feeds, {name: signature.outputs[name].name for name in outputs}

    def _run(self, api, fetches, feeds, deadline):
        """Run the graph: large batches in chunks, as long as somebody waits for the outputs."""
        deadline = deadline or Deadline()
        start = time.perf_counter()
        try:
            deadline.check()
            rows, size = self._rows_in_chunks(feeds), self._chunk
            if not rows or not size:
                return self._run_once(fetches, feeds, deadline)
            found = []
            for i in range(0, rows, size):
                deadline.check()
                chunk = {name: array[i : i + size] for name, array in feeds.items()}
                found.append(self._run_once(fetches, chunk, deadline))
            return {name: np.concatenate([part[name] for part in found]) for name in fetches}
        finally:
            self._metrics.ran(self.name, api, time.perf_counter() - start)

    def _rows_in_chunks(self, feeds):
        """The number of rows, if there are too many of them to be run at once."""
        if self._chunk is None or not feeds:
            return 0
        sizes = {array.shape[:1] for array in feeds.values()}
        (rows,) = sizes.pop() or (0,)
        return rows if rows > self._chunk and not sizes else 0

    def _run_once(self, fetches, feeds, deadline):
        options = None
        if deadline.at is not None:
            milliseconds = int(1000 * (deadline.at - time.monotonic()))
            message = tf.compat.v1.RunOptions(timeout_in_ms=max(1, milliseconds))
            options = pywrap_tf_session.TF_NewBufferFromString(message.SerializeToString())
        try:
            given = {self._tensor(name): array for name, array in feeds.items()}
            wanted = [self._tensor(name) for name in fetches.values()]
            found = pywrap_tf_session.TF_SessionRun_wrapper(
                self._session._session, options, given, wanted, [], None
            )
        except tf.errors.OpError as error:
            raise _of_tensorflow(error) from None
        except ValueError as error:  # A sparse tensor, which has several names in the graph.
            raise invalid(str(error)) from None
        finally:
            if options is not None:
                pywrap_tf_session.TF_DeleteBuffer(options)
        return dict(zip(fetches, found, strict=True))

    def _warm_up(self, file):
        LOG.info("Starting to read warmup data for model at %s", file)
        count = 0
        try:
            for record in tf.data.TFRecordDataset(str(file)).as_numpy_iterator():
                if count == MAX_WARMUP_RECORDS:
                    raise invalid(f"Number of warmup records exceeds the maximum ({count})")
                self._replay(PredictionLog.FromString(record))
                count += 1
        except DecodeError:
            text = f"Failed to parse warmup record: {record[:100]!r} from {file}"
            raise invalid(text) from None
        except tf.errors.DataLossError as error:
            text = f"{error}. Please verify your warmup data is in TFRecord format."
            raise ServingError("DATA_LOSS", text) from None
        except tf.errors.OpError as error:
            raise _of_tensorflow(error) from None
        LOG.info("Finished reading warmup data. Number of warmup records read: %d", count)

    def _replay(self, log):
        kind = log.WhichOneof("log_type")
        if kind == "predict_log":
            request = log.predict_log.request
            inputs = proto_tensors.to_arrays(request.inputs)
            self.predict(request.model_spec.signature_name, inputs)
        elif kind == "classify_log":
            examples.classify(self, log.classify_log.request)
        elif kind == "regress_log":
            examples.regress(self, log.regress_log.request)
        elif kind == "multi_inference_log":
            examples.multi_inference(self, log.multi_inference_log.request)
        else:
            raise ServingError("UNIMPLEMENTED", f"Unsupported log_type for warmup: {kind}")


def _loaded(path):
    """A session with a SavedModel in it, and the signatures by name."""
    logger = tf.get_logger()
    level = logger.level
    logger.setLevel("ERROR")  # The loader is deprecated; TF Serving uses the same one in C++.
    try:
        graph = tf.Graph()
        session = tf.compat.v1.Session(graph=graph)
        with graph.as_default():
            loaded = tf.compat.v1.saved_model.loader.load(session, ["serve"], str(path))
    except tf.errors.OpError as error:
        raise _of_tensorflow(error) from None
    except Exception as error:  # The loader parses in Python, and may fail in any way.
        text = f"{path} does not contain a SavedModel that can be loaded: {error}"
        raise ServingError("NOT_FOUND", text) from None
    finally:
        logger.setLevel(level)
    return session, dict(loaded.signature_def)


def _of_tensorflow(error):
    return ServingError(NAMES.get(error.error_code, "UNKNOWN"), str(error))


def _listed(names):
    return "{" + ",".join(sorted(names)) + "}"
