"""Malformed REST and gRPC requests, which tools/fuzz_serving.py and the tests send."""

import base64
import functools
import gzip
import json
import random
import socket
import struct
import zlib

import grpc
import numpy as np
import requests
import tensorflow as tf
from tensorflow_serving.apis import classification_pb2, inference_pb2, predict_pb2, regression_pb2
from tensorflow_serving.apis.prediction_service_pb2_grpc import PredictionServiceStub

NAME = "vae-digits"
SIDE, LATENTS = 8, 8
REFUSED = {"INVALID_ARGUMENT", "FAILED_PRECONDITION", "NOT_FOUND", "RESOURCE_EXHAUSTED"}
UNKNOWN = {"rpc_not_a_message": {"UNIMPLEMENTED", "INTERNAL"}, "rpc_examples": {"UNIMPLEMENTED"}}
MAX_BYTES = 2**20
MAX_ROWS = 10_000
EXAMPLES = {
    "Classify": classification_pb2.ClassificationRequest,
    "Regress": regression_pb2.RegressionRequest,
    "MultiInference": inference_pb2.MultiInferenceRequest,
}


class Requests:
    """Malformed requests from a seed, for a `Server` of NAME with these limits."""

    def __init__(self, server, seed):
        self.random = random.Random(seed)
        self.port = server.rest_api_port
        self.url = f"http://127.0.0.1:{self.port}/v1/models"
        self.session = requests.Session()
        options = [("grpc.max_send_message_length", -1)]
        self.channel = grpc.insecure_channel(f"127.0.0.1:{server.port}", options)
        self.stub = PredictionServiceStub(self.channel)
        self.kinds = [name for name in dir(self) if name.startswith(("rest_", "rpc_"))]

    def close(self):
        self.session.close()
        self.channel.close()

    def send(self, i):
        """Send a request of the i-th kind: returns it, the answer, and whether it is a refusal."""
        kind = self.kinds[i % len(self.kinds)]
        answer = getattr(self, kind)()
        if kind.startswith("rest_"):
            return kind, str(answer), 400 <= answer < 500
        expected = REFUSED | UNKNOWN.get(kind, set())
        return kind, answer, answer in expected

    def good(self):
        """The log-likelihoods of three fixed images, requested over REST or gRPC."""
        images = fixed_images()
        if self.random.random() < 0.5:
            answer = self.session.post(
                f"{self.url}/{NAME}:predict", json={"instances": images.tolist()}, timeout=60
            )
            return np.array(answer.json()["predictions"])
        message = self._message("log_prob", images=images)
        return tf.make_ndarray(self.stub.Predict(message, timeout=60).outputs["log_prob"])

    def leave(self):
        """Ask for many images over both APIs, and do not wait for them."""
        latents = np.zeros((2000, LATENTS), "float32")
        self.stub.Predict.future(self._message("decode", latents=latents), timeout=0.01)
        body = json.dumps({"signature_name": "decode", "inputs": latents.tolist()})
        head = f"POST /v1/models/{NAME}:predict HTTP/1.1\r\nHost: localhost\r\n"
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        with socket.create_connection(("127.0.0.1", self.port), timeout=20) as connection:
            connection.sendall((head + body).encode())

    def _post(self, body, path=f"{NAME}:predict", **headers):
        data = body if isinstance(body, (bytes, str)) else json.dumps(body)
        answer = self.session.post(f"{self.url}/{path}", data=data, headers=headers, timeout=60)
        if answer.status_code >= 400 and answer.text and "gzip" not in headers.values():
            assert answer.json()["error"], answer.text
        return answer.status_code

    def _images(self):
        shape = (self.random.randint(1, 3), SIDE, SIDE, 1)
        return np.random.default_rng(self.random.getrandbits(32)).integers(0, 256, shape).tolist()

    def _leaf(self, nested):
        """A list of numbers somewhere in nested lists."""
        while isinstance(nested[0], list):
            nested = self.random.choice(nested)
        return nested

    def rest_truncated_json(self):
        text = json.dumps({"instances": self._images()})
        return self._post(text[: self.random.randrange(len(text))])

    def rest_not_json(self):
        return self._post(b"\xff" + self.random.randbytes(self.random.randrange(500)))

    def rest_not_an_object(self):
        return self._post(json.dumps(self.random.choice([[], 1, None, "x", [{}], True])))

    def rest_wrong_type(self):
        images = self._images()
        leaf = self._leaf(images)
        wrong = [None, True, "7", 1.5, {}, {"b64": "AA=="}, [1], []]
        leaf[self.random.randrange(len(leaf))] = self.random.choice(wrong)
        return self._post({self.random.choice(["instances", "inputs"]): images})

    def rest_number_out_of_range(self):
        images = self._images()
        leaf = self._leaf(images)
        wrong = [256, -1, 2**31, -(2**63), 2**64, 10 ** self.random.randint(3, 4000)]
        leaf[self.random.randrange(len(leaf))] = self.random.choice(wrong)
        layout = self.random.choice(["instances", "inputs"])
        if self.random.random() < 0.5:
            return self._post({layout: images})
        latents = [0.5] * LATENTS
        wrong = [2**24, -(2**63), 2**64 - 1, 10 ** self.random.randint(39, 4000)]
        latents[self.random.randrange(LATENTS)] = self.random.choice(wrong)
        return self._post({"signature_name": "decode", layout: [latents]})

    def rest_number_of_many_digits(self):
        digits = "9" * self.random.randint(4400, 20000)
        return self._post(f'{{"instances": [{digits}]}}')

    def rest_not_finite(self):
        latents = ["0.5"] * LATENTS
        token = self.random.choice(["NaN", "Infinity", "-Infinity", "1e999", "1e39", "-1e300"])
        latents[self.random.randrange(LATENTS)] = token
        return self._post(f'{{"signature_name": "decode", "inputs": [[{", ".join(latents)}]]}}')

    def rest_ragged(self):
        images = self._images() + self._images()
        self._leaf(images).append(0)
        return self._post({self.random.choice(["instances", "inputs"]): images})

    def rest_deep(self):
        depth = self.random.choice([40, 100, 900, 5000, 50_000])
        start, end = self.random.choice([("[", "]"), ("[", ""), ('{"a":', "}")])
        return self._post('{"inputs": ' + start * depth + "1" + end * depth + "}")

    def rest_wrong_b64(self):
        wrong = [{"b64": text} for text in ("*", "A", "AAAAA", "é", "AA==AA", " ", "A" * 9)]
        wrong += [{"b64": 1}, {"b64": "AA", "x": 1}, {"B64": "AA"}, {}]
        content = self.random.choice(wrong)
        return self._post({"signature_name": "encode_encoded", "inputs": [content]})

    def rest_broken_picture(self):
        data = base64.b64encode(self._broken_picture()).decode()
        return self._post({"signature_name": "encode_encoded", "instances": [{"b64": data}]})

    def rest_unknown_signature(self):
        name = self.random.choice(["x", "serve", "__saved_model_init_op", 1, None, [], "é" * 500])
        return self._post({"signature_name": name, "inputs": self._images()})

    def rest_unknown_model(self):
        paths = ["x:predict", f"{NAME}/versions/7:predict", f"{NAME}/labels/x:predict"]
        paths += [f"{NAME}:explain", f"{NAME}/versions/{10**30}:predict", f"{NAME}", ":predict"]
        paths += [f"{NAME}/versions/-1:predict", f"{NAME}/%00:predict"]
        paths += ["%2e%2e:predict", "%ff:predict"]
        return self._post({"instances": self._images()}, path=self.random.choice(paths))

    def rest_wrong_inputs(self):
        images = self._images()
        bodies = [
            {"instances": images, "inputs": images},
            {"instances": []},
            {"instances": {}},
            {},
            {"inputs": {"other": images}},
            {"instances": [{"other": 1}]},
            {"signature_name": "sample_seeded", "inputs": {"seeds": [[1, 2]]}},
            {"signature_name": "sample_seeded", "instances": [[1, 2]]},
            {"instances": [images[0], {"images": images[0]}]},
        ]
        return self._post(self.random.choice(bodies))

    def rest_wrong_shape(self):
        size = self.random.choice([n for n in range(20) if n != LATENTS])
        rows = [[0.5] * size] * self.random.randint(1, 4)
        return self._post({"signature_name": "decode", "inputs": rows})

    def rest_refused_by_the_graph(self):
        temperature = self.random.choice([[-1.0], [0.5, 0.5], []])
        inputs = {"seeds": [[1, 2]], "temperature": temperature}
        return self._post({"signature_name": "sample_seeded", "inputs": inputs})

    def rest_examples(self):
        verb = self.random.choice(["classify", "regress"])
        values = [None, [1, 1.5], 2**64, {"b64": "*"}, [[1]], 1.5, "x", {}, "\ud800"]
        bodies = [{}, {"examples": {}}, {"examples": []}, {"context": 1, "examples": [{}]}]
        bodies.append({"examples": [{"x": self.random.choice(values)}]})
        bodies.append({"examples": [{"\udfff": 1}]})
        bodies.append({"examples": [{}], "signature_name": "\ud800"})
        return self._post(self.random.choice(bodies), path=f"{NAME}:{verb}")

    def rest_broken_gzip(self):
        whole, large = (gzip.compress(b) for b in (b'{"instances": []}', b" " * (2 * MAX_BYTES)))
        bodies = [large, large, large, whole[:10], b"x" + whole, self.random.randbytes(50)]
        return self._post(self.random.choice(bodies), **{"Content-Encoding": "gzip"})

    def rest_too_large(self):
        return self._post(b" " * (MAX_BYTES + 1))

    def rest_raw(self):
        path = f"/v1/models/{NAME}:predict"
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\n"
        other = self.random.choice(["PUT", "DELETE", "PATCH"])
        texts = [
            f"{head}Content-Length: {2**30}\r\n\r\n{{",
            f"{head}Content-Length: -5\r\n\r\n",
            f"{head}Content-Length: many\r\n\r\n",
            f"{head}Content-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
            f"{head}Transfer-Encoding: chunked\r\n\r\nzz\r\n",
            f"{head}X: {'y' * 100_000}\r\n\r\n",
            "\x00\x01\x02\r\n\r\n",
            f"GET /{'x' * 100_000} HTTP/1.1\r\n\r\n",
            f"{other} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n",
        ]
        return self._raw(self.random.choice(texts))

    def _raw(self, text):
        with socket.create_connection(("127.0.0.1", self.port), timeout=20) as connection:
            connection.sendall(text.encode("latin-1"))
            answer = connection.recv(64)
        return int(answer.split()[1])

    def _broken_picture(self):
        image = np.zeros((SIDE, SIDE, 1), np.uint8)
        whole = tf.io.encode_png(image).numpy()
        side = self.random.choice([2**14, 2**20, 2**31 - 1])
        header = b"IHDR" + struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
        chunk = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
        pictures = [
            whole[: self.random.randrange(len(whole) - 20)],
            self.random.randbytes(self.random.randrange(200)),
            tf.io.encode_png(np.zeros((SIDE, SIDE + 1, 1), np.uint8)).numpy(),
            tf.io.encode_jpeg(image).numpy()[:60],
            whole[:8] + chunk + whole[33:],
            hidden_picture(),
        ]
        return self.random.choice(pictures)

    def _message(self, signature, **inputs):
        message = predict_pb2.PredictRequest()
        message.model_spec.name = NAME
        message.model_spec.signature_name = signature
        for key, value in inputs.items():
            message.inputs[key].CopyFrom(tf.make_tensor_proto(value))
        return message

    def _predict(self, message):
        return self._code(self.stub.Predict, message)

    def _code(self, call, message):
        try:
            call(message, timeout=60)
        except grpc.RpcError as error:
            return error.code().name
        return "OK"

    def rpc_wrong_dtype(self):
        dtype = self.random.choice(["float64", "int32", "uint8", "bool", "complex64", "float16"])
        return self._predict(self._message("decode", latents=np.zeros((1, LATENTS), dtype)))

    def rpc_unknown_dtype(self):
        message = self._message("decode", latents=np.zeros((1, LATENTS), "float32"))
        message.inputs["latents"].dtype = self.random.choice([0, 20, 21, 101, 99])
        return self._predict(message)

    def rpc_wrong_declaration(self):
        message = self._message("decode")
        tensor = message.inputs["latents"]
        tensor.dtype = tf.float32.as_datatype_enum
        shapes = [[2**28, LATENTS], [2**40, 2**40], [-1, LATENTS], [1, LATENTS + 1], [0, 2**62]]
        for size in self.random.choice(shapes):
            tensor.tensor_shape.dim.add().size = size
        if self.random.random() < 0.5:
            tensor.tensor_content = b"\0" * self.random.choice([1, 31, 33])
        else:
            tensor.float_val.extend([0.5] * 70)
        return self._predict(message)

    def rpc_wrong_shape(self):
        shape = self.random.choice([(), (LATENTS,), (1, 3), (2, 2, 2), (1, 0), (0,)])
        return self._predict(self._message("decode", latents=np.zeros(shape, "float32")))

    def rpc_not_finite(self):
        latents = np.zeros((2, LATENTS), "float32")
        latents[1, self.random.randrange(LATENTS)] = self.random.choice([np.nan, np.inf, -np.inf])
        return self._predict(self._message("decode", latents=latents))

    def rpc_number_out_of_range(self):
        message = self._message("log_prob", images=np.zeros((1, SIDE, SIDE, 1), "uint8"))
        tensor = message.inputs["images"]
        tensor.ClearField("tensor_content")
        tensor.int_val.extend([0] * (SIDE * SIDE - 1) + [self.random.choice([256, -1, 2**31 - 1])])
        return self._predict(message)

    def rpc_broken_picture(self):
        files = np.array([self._broken_picture()], object)
        return self._predict(self._message("encode_encoded", image_bytes=files))

    def rpc_wrong_names(self):
        latents = np.zeros((1, LATENTS), "float32")
        kind = self.random.randrange(6)
        message = self._message("decode", latents=latents)
        if kind == 0:
            message.model_spec.name = self.random.choice(["", "x", "é", "a/b"])
        elif kind == 1:
            message.model_spec.version.value = self.random.choice([0, -1, 2, 2**63 - 1])
        elif kind == 2:
            message.model_spec.version_label = "x"
        elif kind == 3:
            message.model_spec.signature_name = self.random.choice(["x", "__saved_model_init_op"])
        elif kind == 4:
            message.output_filter.extend(self.random.choice([["x"], ["images", "images"]]))
        else:
            message.inputs["more"].CopyFrom(tf.make_tensor_proto(1.0))
        return self._predict(message)

    def rpc_too_large(self):
        latents = np.zeros((2**15 + 1, LATENTS), "float32")
        return self._predict(self._message("decode", latents=latents))

    def rpc_examples(self):
        verb = self.random.choice(list(EXAMPLES))
        message = EXAMPLES[verb]()
        spec = message.model_spec if verb != "MultiInference" else None
        if spec is None:
            method = self.random.choice(["classify", "regress", "predict", ""])
            spec = message.tasks.add(method_name=f"tensorflow/serving/{method}").model_spec
        spec.name = self.random.choice([NAME, "", "x"])
        spec.signature_name = self.random.choice(["", "log_prob", "interpolate", "x"])
        if self.random.random() < 0.5:
            message.input.example_list.examples.add()
        return self._code(getattr(self.stub, verb), message)

    def rpc_one_value_for_all(self):
        """A few bytes that declare a large tensor."""
        is_text = self.random.random() < 0.5
        rows = self.random.choice([10_001, 30_000, 1_000_000, 8_000_000, 2**40])
        message = self._message("encode_encoded" if is_text else "decode")
        tensor = message.inputs["image_bytes" if is_text else "latents"]
        tensor.dtype = (tf.string if is_text else tf.float32).as_datatype_enum
        for size in [rows] if is_text else [rows, LATENTS]:
            tensor.tensor_shape.dim.add().size = size
        if is_text:
            tensor.string_val.append(hidden_picture())
        elif self.random.random() < 0.5:
            tensor.float_val.append(0.5)
        return self._predict(message)

    def rpc_not_a_message(self):
        path = "/tensorflow.serving.PredictionService/"
        call = self.channel.unary_unary(path + self.random.choice(["Predict", "Nothing"]))
        return self._code(call, b"\xff" + self.random.randbytes(30))


def fixed_images():
    return np.random.default_rng(0).integers(0, 256, (3, SIDE, SIDE, 1), dtype=np.uint8)


@functools.cache
def hidden_picture():
    """A PNG file of 86 kB with 9,400 x 9,400 pixels, whose first chunk imitates another size."""

    def chunk(kind, data):
        content = kind + data
        return struct.pack(">I", len(data)) + content + struct.pack(">I", zlib.crc32(content))

    side, layout = 9400, ">IIBBBBB"
    pixels = zlib.compress(bytes(side * (side + 1)), 9)
    return b"".join(
        [
            b"\x89PNG\r\n\x1a\n",
            chunk(b"aaAa", struct.pack(layout, SIDE, SIDE, 8, 0, 0, 0, 0)),
            chunk(b"IHDR", struct.pack(layout, side, side, 8, 0, 0, 0, 0)),
            chunk(b"IDAT", pixels),
            chunk(b"IEND", b""),
        ]
    )
