"""Time from the start of `tfgen serve` to its first answers, and from a signal to its end.

    python tools/bench_serve_start.py [NAME ...] [--rounds 3]

Each round starts with an empty cache of exports, and then starts again with the cache of before.
Printed are the best times of the rounds, in seconds: machines that do other work only add to them.
"""

import argparse
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import requests
from rich.console import Console
from rich.table import Table

NAMES = ["vae-digits", "glow-digits", "vae-mnist", "glow-mnist"]
COMMAND = [sys.executable, "-c", "import sys; from tfgen import cli; sys.exit(cli.main())", "serve"]
REQUEST = {"signature_name": "sample_seeded", "inputs": {"seeds": [[0, 0]], "temperature": [0.7]}}
LIMIT = 1200.0  # seconds


def measured(names, home):
    """Seconds to the answer of each model, to the end by SIGTERM, and the directories left."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder = Path(home, "tmp")
    folder.mkdir(exist_ok=True)
    environment = {**os.environ, "TFGEN_HOME": home, "TMPDIR": str(folder)}
    words = [*COMMAND, *names, "--port", "0", "--rest_api_port", str(port)]
    start = time.monotonic()
    answers = {}
    with subprocess.Popen(words, env=environment, stdout=subprocess.DEVNULL) as process:
        while len(answers) < len(names) and time.monotonic() < start + LIMIT:
            for name in names:
                if name not in answers and answered(port, name):
                    answers[name] = time.monotonic() - start
            if process.poll() is not None:
                sys.exit(f"the server ended with code {process.returncode}")
            time.sleep(0.05)
        signalled = time.monotonic()
        process.send_signal(signal.SIGTERM)
        process.wait()
    end = time.monotonic() - signalled
    return {"first answer": min(answers.values()), **answers, "end": end}, list(folder.iterdir())


def answered(port, name):
    url = f"http://127.0.0.1:{port}/v1/models/{name}:predict"
    try:
        return requests.post(url, json=REQUEST, timeout=60).status_code == 200
    except requests.ConnectionError:
        return False


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", default=NAMES, metavar="NAME")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    best = ({}, {})
    for _ in range(options.rounds):
        with tempfile.TemporaryDirectory() as home:
            for times in best:
                found, left = measured(options.names, home)
                print(
                    {name: round(value, 2) for name, value in found.items()},
                    "left:",
                    left,
                    flush=True,
                )
                for name, seconds in found.items():
                    times[name] = min(seconds, times.get(name, seconds))
    table = Table("seconds to", "first start", "second start")
    for name in best[0]:
        table.add_row(name, *(f"{times[name]:.2f}" for times in best))
    Console().print(table)


if __name__ == "__main__":
    main()
