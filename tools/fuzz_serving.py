"""Malformed REST and gRPC requests to `tfgen serve`: each must be refused.

    python tools/fuzz_serving.py --requests 5000

After every ten malformed requests, a valid request must be answered correctly; after every fifty,
clients leave without waiting for a large answer. Prints the number of each answer, the slowest
answer, tracebacks and errors in the server's log, and the server's peak memory before and after.
Exits with 1 on any other answer, a traceback, an answer after more than ten seconds, or a peak of
2 GiB.
"""

import argparse
import collections
import contextlib
import re
import subprocess
import sys
import tempfile
import time
import types
from pathlib import Path

import numpy as np
import requests
from malformed_requests import MAX_BYTES, MAX_ROWS, NAME, Requests, fixed_images

import tfgen

SLOW = 10.0  # seconds
MOST = 2048  # MiB
__all__ = ["MAX_BYTES", "MAX_ROWS", "NAME", "Requests", "fixed_images", "run"]


def run(server, count, seed):
    """Send requests to a server that accepts MAX_BYTES and MAX_ROWS.

    Returns a Counter of (kind, answer), descriptions of wrong answers, and the longest time that a
    client waited.
    """
    answers, wrong, slowest = collections.Counter(), [], 0.0
    sender = Requests(server, seed)
    right = sender.good()
    try:
        for i in range(count):
            start = time.perf_counter()
            kind, answer, refused = sender.send(i)
            answers[kind, answer] += 1
            if not refused:
                wrong.append(f"request {i}, {kind}, seed {seed}: {answer}")
            if i % 50 == 49:
                sender.leave()
            if i % 10 == 9 and not np.allclose(sender.good(), right, rtol=1e-5):
                wrong.append(f"the valid request after request {i}, seed {seed}")
            slowest = max(slowest, time.perf_counter() - start)
    finally:
        sender.close()
    return answers, wrong, slowest


@contextlib.contextmanager
def served(base, log, *flags):
    """`tfgen serve` in a process of its own: its ports and its process."""
    base = Path(base)
    ports = ["--port", "18610", "--rest_api_port", "18611"]
    command = [sys.executable, "-m", "tfgen.cli", "serve", str(base), *ports, *flags]
    process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        url = f"http://127.0.0.1:18611/v1/models/{base.name}/metadata"
        end, ready = time.monotonic() + 300, False
        while not ready:
            if process.poll() is not None or time.monotonic() > end:
                raise SystemExit(f"tfgen serve {base} does not start")
            time.sleep(0.1)
            with contextlib.suppress(requests.ConnectionError):
                ready = requests.get(url, timeout=10).status_code == 200
        yield types.SimpleNamespace(port=18610, rest_api_port=18611, process=process)
    finally:
        process.terminate()
        process.wait(timeout=60)


def peak(process):
    """The peak memory of a process in MiB."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) // 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--requests", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--enable_batching", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile("w+") as log:
        base = Path(folder) / NAME
        tfgen.export.saved_model(NAME, base)
        flags = ["--max_bytes", str(MAX_BYTES), "--max_rows", str(MAX_ROWS)]
        flags += ["--enable_batching"] * options.enable_batching
        with served(base, log, *flags) as server:
            before, start = peak(server.process), time.perf_counter()
            answers, wrong, slowest = run(server, options.requests, options.seed)
            seconds, after = time.perf_counter() - start, peak(server.process)
        log.seek(0)
        text = log.read()
    for (kind, answer), count in sorted(answers.items()):
        print(f"{kind:32} {answer:20} {count}")
    count, tracebacks = sum(answers.values()), text.count("Traceback")
    print(f"{count} malformed requests in {seconds:.1f} s, {len(wrong)} wrong answers")
    print(f"slowest answer: {slowest:.1f} s; tracebacks in the server's log: {tracebacks}")
    print(f"peak memory of the server: {before} MiB, then {after} MiB")
    for line in wrong:
        print(line, file=sys.stderr)
    if tracebacks:
        print(text[-4000:], file=sys.stderr)
    return 1 if wrong or tracebacks or slowest > SLOW or after > MOST else 0


if __name__ == "__main__":
    sys.exit(main())
