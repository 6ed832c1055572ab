"""Size, error and latency of TFLite files at each precision, and the SavedModel's latency.

    python tools/bench_export.py [MODEL ...] [--threads 2] [--rounds 200]

MODEL is a pretrained name or a run directory; by default every model of the zoo. Prints two
Markdown tables per model.

- Sizes and errors come from the card that `tfgen.export.tflite` writes: the largest error over 64
  test images; "relative" means divided by the largest value.
- Latencies are per image. The SavedModel runs in a session, as in TF Serving, without a server.
  Each round calls every model once; a latency is the median over the rounds, and the last column is
  the median of the rounds' ratios to the SavedModel.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

import tfgen
from tfgen.export.litert import measurement
from tfgen.export.litert.conversion import PRECISIONS
from tfgen.export.source import Source

VERBS = ("log_prob", "decode")


def in_session(path, verb, inputs):
    """A function that runs a SavedModel's signature as TF Serving does."""
    graph = tf.Graph()
    with graph.as_default():
        session = tf.compat.v1.Session(graph=graph)
        loaded = tf.compat.v1.saved_model.loader.load(session, ["serve"], str(path))
    signature = loaded.signature_def[verb]
    feeds = [signature.inputs[name].name for name in inputs]
    call = session.make_callable([out.name for out in signature.outputs.values()], feeds)
    return lambda: call(*inputs.values())


def on_device(file, verb, inputs, threads):
    runner = Interpreter(str(file), num_threads=threads).get_signature_runner(verb)
    return lambda: runner(**inputs)


def measured(calls, rounds):
    """Seconds of each call in each round, after ten rounds of warm-up."""
    times = {name: [] for name in calls}
    for _ in range(rounds + 10):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            times[name].append(time.perf_counter() - start)
    return {name: np.array(values[10:]) for name, values in times.items()}


def table(header, lines):
    print("| " + " | ".join(header) + " |")
    print("|" + "---|" * len(header))
    for line in lines:
        print("| " + " | ".join(line) + " |")
    print(flush=True)


def sizes(files):
    full = files["float32"].stat().st_size
    lines = []
    for precision, file in files.items():
        card = tfgen.export.card(file)
        entries = {name: entry["error"] for name, entry in card["signatures"].items()}
        error = entries.get("log_prob", {}).get("log_prob") or card["left_out"]["log_prob"]
        lines.append(
            (
                precision,
                f"{card['bytes']:,}",
                f"{card['bytes'] / full:.2f}",
                f"{error['largest']:.1e}",
                f"{error['relative']:.1e}",
                "left out" if "log_prob" in card["left_out"] else "yes",
                f"{entries['encode']['latents']['relative']:.1e}",
                f"{entries['decode']['images']['mean_levels']:.3f}",
            )
        )
    header = ["precision", "bytes", "of float32", "log_prob, nats", "relative", "`log_prob`"]
    table([*header, "encode, relative", "decode, mean levels"], lines)


def latencies(path, files, cases, threads, rounds):
    lines = []
    for verb in VERBS:
        inputs = {name: value[:1] for name, value in cases[verb][0].items()}
        calls = {"SavedModel": in_session(path, verb, inputs)}
        for precision, file in files.items():
            if verb in tfgen.export.card(file)["signatures"]:
                for count in sorted({1, threads}):
                    name = f"TFLite {precision}, {count} thread{'s' if count > 1 else ''}"
                    calls[name] = on_device(file, verb, inputs, count)
        times = measured(calls, rounds)
        for name, values in times.items():
            ratio = np.median(values / times["SavedModel"])
            lines.append((verb, name, f"{1e3 * np.median(values):.3f}", f"{ratio:.2f}"))
    table(["signature", "runs in", "ms", "of the SavedModel's"], lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", metavar="MODEL", default=tfgen.zoo.list())
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=200)
    arguments = parser.parse_args()
    tf.config.threading.set_intra_op_parallelism_threads(arguments.threads)
    tf.config.threading.set_inter_op_parallelism_threads(arguments.threads)
    for name in arguments.models:
        source = Source(name)
        images, origin = source.images("test", 64)
        print(f"## {name}\n\n{source.model.count_params():,} parameters; images: {origin}.\n")
        with tempfile.TemporaryDirectory() as directory:
            path = tfgen.export.saved_model(name, Path(directory) / "served")
            files = {
                precision: tfgen.export.tflite(
                    name, Path(directory) / f"{precision}.tflite", precision
                )
                for precision in PRECISIONS
            }
            sizes(files)
            cases = measurement.references(source.model, images)
            latencies(path, files, cases, arguments.threads, arguments.rounds)


if __name__ == "__main__":
    main()
