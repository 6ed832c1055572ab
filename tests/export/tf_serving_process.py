"""What TF Serving does with a SavedModel, in a process that has neither Keras nor tfgen.

The loader and the session are TF Serving's own, as the TensorFlow wheel contains them: XLA
disabled, tag `serve`, tensors fed and fetched by the names in the signature. The checks before the
session runs are those of `tensorflow_serving/servables/tensorflow/predict_util.cc`.

Reads pickled lists of requests from stdin and answers each list on stdout. A request is (path,
signature, inputs); an answer a dict of arrays, or the text of an error.
"""

import concurrent.futures
import ctypes
import os
import pickle
import sys

answers = os.fdopen(os.dup(1), "wb")
os.dup2(2, 1)  # nothing else may write between the answers

ABSENT = ("keras", "tf_keras", "tfgen", "tensorflow_probability")
for name in ABSENT:
    sys.modules[name] = None  # importing it fails from here on

import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402
from tensorflow.python.client import pywrap_tf_session  # noqa: E402

library = os.path.join(os.path.dirname(tf.__file__), "libtensorflow_cc.so.2")
ctypes.CDLL(library)._ZN10tensorflow21DisableXlaCompilationEv()

STRINGS = np.dtype(object)


class Servable:
    def __init__(self, path):
        graph = tf.Graph()
        with graph.as_default():
            self.session = tf.compat.v1.Session(graph=graph)
            loaded = tf.compat.v1.saved_model.loader.load(self.session, ["serve"], path)
        self.graph = graph
        self.signatures = loaded.signature_def

    def predict(self, name, inputs):
        if name not in self.signatures:
            raise ValueError(f'Serving signature key "{name}" not found.')
        signature = self.signatures[name]
        expected, sent = set(signature.inputs), set(inputs)
        if len(expected) != len(sent):
            raise ValueError(
                f"input size does not match signature: {len(sent)}!={len(expected)} "
                f"len({listed(sent)}) != len({listed(expected)}). "
                f"Sent extra: {listed(sent - expected)}. "
                f"Missing but required: {listed(expected - sent)}."
            )
        for alias, info in signature.inputs.items():
            if alias not in inputs:
                raise ValueError(
                    f"Signature input alias: {alias}(feed name: {info.name}) not found in request "
                    "and no default value provided."
                )
        feeds = {
            self.tensor(signature.inputs[alias]): np.asarray(
                value, STRINGS if isinstance(value, list) else None
            )
            for alias, value in inputs.items()
        }
        outputs = sorted(signature.outputs)
        # Below `Session.run`, which would convert the inputs to the expected dtype.
        results = pywrap_tf_session.TF_SessionRun_wrapper(
            self.session._session,
            None,
            feeds,
            [self.tensor(signature.outputs[alias]) for alias in outputs],
            [],
            None,
        )
        return dict(zip(outputs, results, strict=True))

    def tensor(self, info):
        return self.graph.get_tensor_by_name(info.name)._as_tf_output()


def listed(names):
    return "{" + ",".join(sorted(names)) + "}"


servables = {}


def answer(request):
    path, name, inputs = request
    try:
        return servables[path].predict(name, inputs)
    except (ValueError, tf.errors.OpError) as error:
        return str(error)


with concurrent.futures.ThreadPoolExecutor(8) as pool:
    while True:
        try:
            requests = pickle.load(sys.stdin.buffer)
        except EOFError:
            break
        for path in {path for path, _, _ in requests} - set(servables):
            servables[path] = Servable(path)
        pickle.dump(list(pool.map(answer, requests)), answers)
        answers.flush()
