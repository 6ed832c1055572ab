"""One loaded version of a model: TensorFlow's SavedModel loader and one session."""

import contextlib
import functools
import logging
import threading
import time
from pathlib import Path

import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow.python.client import pywrap_tf_session
from tensorflow_serving.apis import prediction_log_pb2

from tfgen.export.serving import examples, proto_tensors
from tfgen.export.serving.statuses import NAMES, ServingError, invalid

DEFAULT = "serving_default"
WARMUP = "assets.extra/tf_serving_warmup_requests"
MOST_WARMUP_RECORDS = 1000
LOG = logging.getLogger(__name__)


class Servable:
    """A SavedModel as TF Serving runs it: by the names in its signatures, without Keras.

    TF Serving's server runs a TF1 session on the graph, and so does this. `Session.run` itself is
    not used: it would cast dtypes and check shapes in Python, where TF Serving does neither.

    Args:
        name: of the model, for messages.
        version: its number.
        path: the folder of the version.
        warm_up: run the requests in `assets.extra/tf_serving_warmup_requests`; one that fails
            fails the load, as in TF Serving.
        scheduler: a `tfgen.export.serving.batching.Scheduler` that runs requests together.
        metrics: a `tfgen.export.serving.metrics.Metrics` that counts the seconds of the runs.

    Raises:
        ServingError: the folder holds no SavedModel, or its warm-up fails.

    Source: `servables/tensorflow/predict_util.cc`, `g3doc/saved_model_warmup.md` of
        tensorflow/serving.

    Example:

    >>> import tempfile, numpy as np, tfgen
    >>> from tfgen.export.serving.servable import Servable
    >>> path = tfgen.export.saved_model("vae-digits", tempfile.mkdtemp())
    >>> servable = Servable("vae-digits", 1, path)
    >>> answer = servable.predict("encode", {"images": np.zeros((2, 8, 8, 1), "uint8")})
    >>> answer["latents"].shape
    (2, 8)
    >>> servable.close()
    """

    def __init__(self, name, version, path, *, warm_up=True, scheduler=None, metrics=None):
        self.name = name
        self.version = version
        self.path = Path(path)
        self.batched = scheduler is not None
        self._scheduler = scheduler
        self._metrics = metrics
        self._users = 0
        self._closing = False
        self._lock = threading.Lock()
        self._graph = tf.Graph()
        self._session = tf.compat.v1.Session(graph=self._graph)
        try:
            loaded = _load(self._session, self._graph, self.path)
            self.signatures = dict(loaded.signature_def)
            self._tensors = _tensors(self._graph, self.signatures)
            if warm_up:
                start = time.perf_counter()
                self._warm_up()
                if metrics is not None:
                    metrics.warmed_up(str(path), time.perf_counter() - start)
        except BaseException:
            self._session.close()
            raise

    def signature(self, name):
        """The `SignatureDef` of a name; empty for the default one.

        Raises:
            ServingError: there is none.
        """
        name = name or DEFAULT
        if name not in self.signatures or name.startswith("__"):
            raise ServingError("FAILED_PRECONDITION", f'Serving signature key "{name}" not found.')
        return self.signatures[name]

    def predict(self, signature_name, inputs, output_filter=(), *, seconds=None):
        """Run a signature.

        Args:
            signature_name: empty for `serving_default`.
            inputs: NumPy arrays by name; strings as arrays of bytes objects.
            output_filter: names of the outputs that are wanted; all if there are none.
            seconds: after which the request fails with DEADLINE_EXCEEDED; never if None.

        Returns:
            A dict of NumPy arrays.

        Raises:
            ServingError: what TF Serving answers to such a request.
        """
        signature = self.signature(signature_name)
        feeds, wanted = self._checked(signature, inputs, output_filter)
        found = self.run(feeds, [signature.outputs[alias].name for alias in wanted], seconds)
        return dict(zip(wanted, found, strict=True))

    def submit(self, signature_name, inputs, output_filter=(), *, seconds=None):
        """Like `predict`, for a caller that goes on meanwhile.

        Returns:
            The names of the outputs, and a `concurrent.futures.Future` of their arrays.

        Raises:
            ServingError: what is wrong before the run.
        """
        signature = self.signature(signature_name)
        feeds, wanted = self._checked(signature, inputs, output_filter)
        return wanted, self._submit(
            feeds, [signature.outputs[alias].name for alias in wanted], seconds
        )

    def run(self, feeds, fetches, seconds=None, *, api="Predict"):
        """Run the session, with the rows of other requests where batching is on.

        Args:
            feeds: arrays by the name of the tensor in the graph.
            fetches: names of tensors.
            seconds: as for `predict`.
            api: the method that runs it, a label of the metrics.

        Returns:
            A list of NumPy arrays.
        """
        if self.batched and seconds is not None and seconds <= 0:
            raise _too_late()
        if self.batched:
            return self._submit(feeds, fetches, seconds, api).result()
        return self._run(api, fetches, feeds, seconds)

    def _checked(self, signature, inputs, output_filter):
        _check_names(signature, inputs)
        wanted = _wanted_outputs(signature, output_filter)
        _check_dtypes(signature, inputs)
        return {signature.inputs[alias].name: value for alias, value in inputs.items()}, wanted

    def _submit(self, feeds, fetches, seconds, api="Predict"):
        run = functools.partial(self._run, api, fetches)
        key = (id(self), api, *fetches)
        deadline = None if seconds is None else time.monotonic() + seconds
        if not self.acquire():
            raise ServingError("UNAVAILABLE", f"version {self.version} of {self.name} is closing")
        try:
            future = self._scheduler.submit(key, run, feeds, deadline=deadline)
        except BaseException:
            self.release()
            raise
        future.add_done_callback(lambda _: self.release())
        return future

    def _run(self, api, fetches, feeds, seconds):
        options = None
        if seconds is not None:
            if seconds <= 0:
                raise _too_late()
            message = tf.compat.v1.RunOptions(timeout_in_ms=max(1, int(1000 * seconds)))
            options = pywrap_tf_session.TF_NewBufferFromString(message.SerializeToString())
        given = {self._tensors[name]: value for name, value in feeds.items()}
        start = time.perf_counter()
        try:
            return pywrap_tf_session.TF_SessionRun_wrapper(
                self._session._session,
                options,
                given,
                [self._tensors[name] for name in fetches],
                [],
                None,
            )
        except tf.errors.OpError as error:
            raise _of_tensorflow(error) from None
        finally:
            if options is not None:
                pywrap_tf_session.TF_DeleteBuffer(options)
            if self._metrics is not None:
                self._metrics.ran(self.name, api, time.perf_counter() - start)

    def _warm_up(self):
        file = self.path / WARMUP
        if not file.exists():
            return
        LOG.info("Starting to read warmup data for model at %s", file)
        count = 0
        try:
            for record in tf.data.TFRecordDataset(str(file)).as_numpy_iterator():
                if count == MOST_WARMUP_RECORDS:
                    raise invalid(f"Number of warmup records exceeds the maximum ({count})")
                self._warm_up_with(_prediction_log(record, file))
                count += 1
        except tf.errors.DataLossError as error:
            raise ServingError(
                "DATA_LOSS",
                f"{error}. Please verify your warmup data is in TFRecord format.",
            ) from None
        except tf.errors.OpError as error:
            raise _of_tensorflow(error) from None
        LOG.info("Finished reading warmup data. Number of warmup records read: %d", count)

    def _warm_up_with(self, log):
        kind = log.WhichOneof("log_type")
        if kind == "predict_log":
            request = log.predict_log.request
            inputs = {name: proto_tensors.to_numpy(name, t) for name, t in request.inputs.items()}
            self.predict(request.model_spec.signature_name, inputs)
        elif kind == "classify_log":
            examples.classify(self, log.classify_log.request)
        elif kind == "regress_log":
            examples.regress(self, log.regress_log.request)
        elif kind == "multi_inference_log":
            examples.multi_inference(self, log.multi_inference_log.request)
        else:
            raise ServingError("UNIMPLEMENTED", f"Unsupported log_type for warmup: {kind}")

    def acquire(self):
        """Keep the session open until `release`; False if it is closed already."""
        with self._lock:
            if self._closing and not self._users:
                return False
            self._users += 1
            return True

    def release(self):
        """The end of a use that `acquire` began."""
        with self._lock:
            self._users -= 1
            last = self._closing and not self._users
        if last:
            self._session.close()

    def close(self):
        """Close the session as soon as nobody uses it."""
        with self._lock:
            idle = not self._closing and not self._users
            self._closing = True
        if idle:
            self._session.close()


def _load(session, graph, path):
    try:
        with graph.as_default(), _quiet_tensorflow():
            return tf.compat.v1.saved_model.loader.load(session, ["serve"], str(path))
    except tf.errors.OpError as error:
        raise _of_tensorflow(error) from None
    except Exception as error:  # The loader parses with Python: whatever it meets, it did not load.
        raise ServingError("NOT_FOUND", f"{path} holds no SavedModel that loads: {error}") from None


def _prediction_log(record, file):
    try:
        return prediction_log_pb2.PredictionLog.FromString(record)
    except DecodeError:
        text = f"Failed to parse warmup record: {record[:100]!r} from {file}"
        raise invalid(text) from None


def _tensors(graph, signatures):
    """From the name of a tensor in a signature to what the session feeds or fetches."""
    infos = [
        info
        for key, signature in signatures.items()
        if not key.startswith("__")
        for info in (*signature.inputs.values(), *signature.outputs.values())
    ]
    try:
        return {info.name: graph.get_tensor_by_name(info.name)._as_tf_output() for info in infos}
    except (KeyError, ValueError) as error:  # A sparse tensor has several names, and not this one.
        raise ServingError(
            "UNIMPLEMENTED", f"a signature has a tensor that is not dense: {error}"
        ) from None


@contextlib.contextmanager
def _quiet_tensorflow():
    """Without the warning that this loader is deprecated: TF Serving uses the same one in C++."""
    logger = tf.get_logger()
    level = logger.level
    logger.setLevel("ERROR")
    try:
        yield
    finally:
        logger.setLevel(level)


def _check_names(signature, inputs):
    wanted, sent = set(signature.inputs), set(inputs)
    if len(sent) != len(wanted):
        raise invalid(
            f"input size does not match signature: {len(sent)}!={len(wanted)} "
            f"len({_listed(sent)}) != len({_listed(wanted)}). "
            f"Sent extra: {_listed(sent - wanted)}. Missing but required: {_listed(wanted - sent)}."
        )
    for alias in sorted(wanted - sent):
        raise invalid(
            f"Signature input alias: {alias}(feed name: {signature.inputs[alias].name}) "
            "not found in request and no default value provided. "
            f"Inputs expected to be in the set {_listed(wanted)}."
        )


def _wanted_outputs(signature, output_filter):
    wanted = list(output_filter)
    for i, alias in enumerate(wanted):
        if alias not in signature.outputs:
            raise invalid(
                f"output tensor alias not found in signature: {alias} "
                f"Outputs expected to be in the set {_listed(signature.outputs)}."
            )
        if alias in wanted[:i]:
            raise invalid(f"duplicate output tensor alias: {alias}")
    return wanted or sorted(signature.outputs)


def _check_dtypes(signature, inputs):
    """The session numbers its arguments by the names of their tensors."""
    ordered = sorted(inputs, key=lambda alias: signature.inputs[alias].name)
    for i, alias in enumerate(ordered):
        given = proto_tensors.dtype_of(inputs[alias])
        wanted = proto_tensors.dtype_numbered(signature.inputs[alias].dtype)
        if given != wanted:
            raise invalid(
                f"Expects arg[{i}] to be {wanted.name} but {given.name} is provided".replace(
                    "float32", "float"
                ).replace("float64", "double")
            )


def _of_tensorflow(error):
    return ServingError(NAMES.get(error.error_code, "UNKNOWN"), str(error))


def _too_late():
    return ServingError("DEADLINE_EXCEEDED", "Deadline exceeded before the run")


def _listed(names):
    return "{" + ",".join(sorted(names)) + "}"
