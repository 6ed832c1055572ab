"""`tfgen serve` under load on loopback: throughput, latencies, and a long run.

    python tools/bench_serving.py                          # throughput and latencies
    python tools/bench_serving.py --requests 100000 --swaps 4 --reloads 1

The server is a process of its own, with batching. 32 clients each send one image at a time, over
gRPC or REST, and wait for its log-likelihood; every answer is compared with that of the signature
as `tf.saved_model.load` runs it. Throughput is compared with a bare loop, which calls this
signature with one image after another, in this process, while the server is idle.

With --requests, half of them are sent over REST, while new versions appear on the disk and the
configuration is reloaded. Prints how many requests failed or got a wrong answer, and the memory of
the server's process. Exits with 1 if any request failed.
"""

import argparse
import asyncio
import contextlib
import gc
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import grpc
import numpy as np
import orjson
import tensorflow as tf
import uvloop
from tensorflow_serving.apis import (
    model_management_pb2,
    model_service_pb2_grpc,
    predict_pb2,
)

import tfgen
from tfgen.export.serving import model_config

PREDICT = "/tensorflow.serving.PredictionService/Predict"
BATCHING = """
max_batch_size { value: 32 }
batch_timeout_micros { value: %d }
num_batch_threads { value: %d }
max_enqueued_batches { value: 100 }
"""
DISTINCT = 64  # images


class Truth:
    """The signature without a server: images, its outputs, and its speed."""

    def __init__(self, path):
        self._module = tf.saved_model.load(str(path))
        self._signature = self._module.signatures["log_prob"]
        shape = self._signature.structured_input_signature[1]["images"].shape[1:]
        random = np.random.default_rng(0)
        self.images = random.integers(0, 256, (DISTINCT, *shape), dtype=np.uint8)
        self.answers = self(self.images)

    def __call__(self, images):
        return self._signature(images=tf.constant(images))["log_prob"].numpy()

    def loop(self, seconds):
        """Requests per second of a bare loop."""
        count, start = 0, time.perf_counter()
        while time.perf_counter() - start < seconds:
            self(self.images[count % DISTINCT][None])
            count += 1
        return count / (time.perf_counter() - start)


class Load:
    """Clients that send requests one after another, and the results."""

    def __init__(self, name, truth, ports):
        self._name = name
        self._truth = truth
        self._rpc_port, self._rest_port = ports
        self.failed = self.wrong = 0
        self.latencies = []
        self.errors = set()
        self._answers = truth.answers.tolist()
        self._rpc_bodies = [self._message(image) for image in truth.images]
        self._rest_bodies = [self._http(image) for image in truth.images]

    def run(self, api, concurrency, *, seconds=None, requests=None):
        """Requests per second of concurrent clients, for a time or a number of requests."""
        client = {"grpc": self._rpc_client, "rest": self._rest_client}[api]
        self._next, self._last = 0, requests
        self._end = None if seconds is None else time.perf_counter() + seconds
        before, start = len(self.latencies), time.perf_counter()
        uvloop.run(client(concurrency))
        return (len(self.latencies) - before) / (time.perf_counter() - start)

    def _message(self, image):
        request = predict_pb2.PredictRequest()
        request.model_spec.name = self._name
        request.model_spec.signature_name = "log_prob"
        request.inputs["images"].CopyFrom(tf.make_tensor_proto(image[None]))
        return request.SerializeToString()

    def _http(self, image):
        body = orjson.dumps({"signature_name": "log_prob", "instances": [image.tolist()]})
        head = f"POST /v1/models/{self._name}:predict HTTP/1.1\r\nHost: localhost\r\n"
        return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body

    def _turns(self):
        while True:
            if self._end is not None and time.perf_counter() >= self._end:
                return
            if self._last is not None and self._next >= self._last:
                return
            self._next += 1
            yield self._next % DISTINCT

    def _note(self, start, i, found, error=None):
        self.latencies.append(time.perf_counter() - start)
        if found is None:
            self.failed += 1
            self.errors.add(str(error))
        elif not abs(found - self._answers[i]) <= 1e-4 * abs(self._answers[i]):
            self.wrong += 1

    async def _rpc_client(self, concurrency):
        async with grpc.aio.insecure_channel(f"127.0.0.1:{self._rpc_port}") as channel:
            call = channel.unary_unary(PREDICT)

            async def ask():
                for i in self._turns():
                    start, found, error = time.perf_counter(), None, None
                    try:
                        answer = await call(self._rpc_bodies[i], timeout=60)
                        response = predict_pb2.PredictResponse.FromString(answer)
                        (found,) = response.outputs["log_prob"].float_val
                    except grpc.RpcError as failure:
                        error = f"{failure.code().name}: {failure.details()}"
                    self._note(start, i, found, error)

            await asyncio.gather(*(ask() for _ in range(concurrency)))

    async def _rest_client(self, concurrency):
        async def ask():
            reader, writer = await asyncio.open_connection("127.0.0.1", self._rest_port)
            for i in self._turns():
                start, found = time.perf_counter(), None
                writer.write(self._rest_bodies[i])
                head = await reader.readuntil(b"\r\n\r\n")
                at = head.lower().index(b"content-length:") + 15
                body = await reader.readexactly(int(head[at : head.index(b"\r", at)]))
                if head.split(b" ", 2)[1] == b"200":
                    (found,) = orjson.loads(body)["predictions"]
                self._note(start, i, found, body)
            writer.close()

        await asyncio.gather(*(ask() for _ in range(concurrency)))


@contextlib.contextmanager
def serving(base, options):
    """A server process and its ports."""
    ports = [options.port, options.port + 1]
    with tempfile.NamedTemporaryFile("w", suffix=".config") as file:
        file.write(BATCHING % (options.batch_timeout_micros, options.batch_threads))
        file.flush()
        words = ["serve", base, "--port", ports[0], "--rest_api_port", ports[1]]
        words += ["--file_system_poll_wait_seconds", 0.2]
        if not options.no_batching:
            words += ["--enable_batching", "--batching_parameters_file", file.name]
        process = subprocess.Popen(
            [sys.executable, "-m", "tfgen.cli", *map(str, words)], stdout=subprocess.DEVNULL
        )
        try:
            with tfgen.export.Client(f"127.0.0.1:{ports[0]}", base.name) as client:
                end = time.monotonic() + 120
                while not client.ready():
                    if process.poll() is not None or time.monotonic() > end:
                        raise SystemExit("the server does not start")
                    time.sleep(0.2)
            yield process, ports
        finally:
            process.terminate()
            process.wait(timeout=60)


def memory(process):
    """Resident memory of a process in MiB."""
    pages = int(Path(f"/proc/{process.pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def throughput(base, truth, options):
    """Print requests per second, their ratio to the bare loop, and latencies."""
    with serving(base, options) as (_, ports):
        rates = {"loop": [], "grpc": [], "rest": []}
        loads = {api: Load(base.name, truth, ports) for api in ("grpc", "rest")}
        for api, load in loads.items():  # warm
            load.run(api, options.concurrency, seconds=0.5)
            load.latencies.clear()
        truth.loop(0.5)
        for _ in range(options.rounds):
            rates["loop"].append(truth.loop(options.seconds))
            for api, load in loads.items():
                rates[api].append(load.run(api, options.concurrency, seconds=options.seconds))
    print(f"bare loop  {np.median(rates['loop']):7.0f} requests/s")
    for api, load in loads.items():
        ratio = np.median(np.array(rates[api]) / rates["loop"])
        median, p99 = 1000 * np.quantile(load.latencies, [0.5, 0.99])
        print(
            f"{api}       {np.median(rates[api]):7.0f} requests/s, {ratio:.2f} x the bare loop; "
            f"median {median:.1f} ms, p99 {p99:.1f} ms, {p99 / median:.1f} x the median"
        )
    return loads.values()


def soak(base, truth, options):
    """Send many requests while versions and configurations change."""
    with serving(base, options) as (process, ports):
        load = Load(base.name, truth, ports)
        events = ["swap"] * options.swaps + ["reload"] * options.reloads
        count = options.requests // (len(events) + 1)
        load.run("rest", options.concurrency, requests=min(500, count))
        load.run("grpc", options.concurrency, requests=min(500, count))
        load.latencies.clear()
        before, version = memory(process), 1
        for i, event in enumerate([None, *events]):
            if event == "swap":
                version += 1
                _publish(base, version)
            elif event == "reload":
                _reload(base, ports[0], version)
            last = i == len(events)
            rest = options.requests - len(load.latencies) if last else count
            load.run("rest", options.concurrency, requests=rest // 2)
            load.run("grpc", options.concurrency, requests=rest - rest // 2)
        after = memory(process)
    print(
        f"{len(load.latencies)} requests, {options.swaps} swaps of versions, {options.reloads} "
        f"reloads: {load.failed} failed, {load.wrong} wrong answers"
    )
    print(f"memory of the server: {before:.0f} MiB, then {after:.0f} MiB")
    return [load]


def _publish(base, version):
    """Publish a version, which the server loads in place of the old one during requests."""
    shutil.copytree(base / "1", base / f"tmp-{version}")
    (base / f"tmp-{version}").rename(base / str(version))


def _reload(base, port, version):
    """Give the latest version a label; the request returns when the version is loaded."""
    request = model_management_pb2.ReloadConfigRequest()
    request.config.CopyFrom(model_config.of_models({base.name: base}))
    request.config.model_config_list.config[0].version_labels["stable"] = version
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = model_service_pb2_grpc.ModelServiceStub(channel)
        status = stub.HandleReloadConfigRequest(request, timeout=60).status
    if status.error_code:
        raise SystemExit(f"the reload failed: {status.error_message}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="vae-digits")
    parser.add_argument("--concurrency", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=3.0, help="seconds of each measurement")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch-timeout-micros", type=int, default=1000)
    parser.add_argument("--batch-threads", type=int, default=1)
    parser.add_argument("--no-batching", action="store_true")
    parser.add_argument(
        "--port", type=int, default=18700, help="port of gRPC; REST uses the next one"
    )
    parser.add_argument(
        "--requests", type=int, help="make a long run of N requests instead", metavar="N"
    )
    parser.add_argument("--swaps", type=int, default=4)
    parser.add_argument("--reloads", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder) / options.model
        truth = Truth(tfgen.export.saved_model(options.model, base))
        gc.freeze()  # Garbage collection in the clients must not count as latency.
        loads = (soak if options.requests else throughput)(base, truth, options)
    for error in {error for load in loads for error in load.errors}:
        print(error, file=sys.stderr)
    return 1 if any(load.failed or load.wrong for load in loads) else 0


if __name__ == "__main__":
    sys.exit(main())
