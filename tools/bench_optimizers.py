"""Time and memory of a step of tfgen's optimizers compared with Keras' and PyTorch's.

    python tools/bench_optimizers.py [--rounds 30] [--weights 20000000] [--threads 2]

Prints Markdown tables. All optimizers of a case run in one process, one after the other in each
round, with the same number of threads; a time is the median over the rounds, a ratio the median of
the ratios of each round. Rows that need PyTorch are omitted where it is missing.
"""

import argparse
import os
import platform
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf

from tfgen.optimizers import Adam, AdaMax

try:
    import torch
except ImportError:
    torch = None

RNG = np.random.default_rng(0)
DEVICE = "CPU:0"


def small_glow(levels=3, depth=7, width=64, channels=3):
    """The shapes of a Glow's variables: actnorm, LU convolution and coupling network per step."""
    shapes = []
    for level in range(levels):
        channels *= 4
        for _ in range(depth):
            half = channels // 2
            shapes += [(channels,), (channels,)]
            shapes += [(channels, channels), (channels, channels), (channels,)]
            shapes += [(3, 3, half, width), (width,), (1, 1, width, width), (width,)]
            shapes += [(3, 3, width, channels), (channels,)]
        if level < levels - 1:
            channels //= 2
    return shapes


def keras_step(optimizer, shapes):
    """One step of a Keras optimizer as a function; the gradients are created in its graph."""
    variables = [keras.Variable(np.zeros(shape, "float32")) for shape in shapes]
    optimizer.build(variables)
    if len(shapes) == 1:
        gradient = tf.random.normal(shapes[0])
        step = tf.function(lambda g: optimizer.apply([g], variables))
    else:
        sizes = [int(np.prod(shape)) for shape in shapes]
        gradient = tf.random.normal([sum(sizes)])

        @tf.function
        def step(flat):
            pieces = tf.split(flat, sizes)
            pairs = zip(pieces, shapes, strict=True)
            optimizer.apply([tf.reshape(piece, shape) for piece, shape in pairs], variables)

    return lambda: step(gradient)


def torch_step(count, **how):
    weights = torch.zeros(count, requires_grad=True)
    weights.grad = torch.randn(count)
    optimizer = torch.optim.Adam([weights], **how)
    return optimizer.step


def torch_streams(count):
    """Two ways to read and write `count` floats; the faster one gives the bandwidth."""
    source, target = torch.ones(count), torch.zeros(count)
    return {"copy": lambda: target.copy_(source), "scale in place": lambda: target.mul_(1.5)}


def sparse_step(optimizer, rows, width, touched):
    table = keras.Variable(np.zeros((rows, width), "float32"))
    optimizer.build([table])
    indices = tf.constant(RNG.integers(0, rows, size=touched))
    values = tf.random.normal([touched, width])

    @tf.function
    def step(values):
        gradient = tf.IndexedSlices(values, indices, tf.constant([rows, width]))
        optimizer.apply([gradient], [table])

    return lambda: step(values)


def measure(steps, rounds):
    """Name -> seconds of its step in each round."""
    for step in steps.values():
        step()
        step()
    times = {name: [] for name in steps}
    for _ in range(rounds):
        for name, step in steps.items():
            time.sleep(0.05)  # until the threads of the previous step stop spinning
            start = time.perf_counter()
            step()
            times[name].append(time.perf_counter() - start)
    return {name: np.array(seconds) for name, seconds in times.items()}


def extra_memory(step):
    """The peak of the memory that TensorFlow allocates during a step, in MiB."""
    step()
    tf.config.experimental.reset_memory_stats(DEVICE)
    before = tf.config.experimental.get_memory_info(DEVICE)["current"]
    step()
    return (tf.config.experimental.get_memory_info(DEVICE)["peak"] - before) / 2**20


def table(title, header, rows):
    print(f"\n{title}\n")
    print("| " + " | ".join(header) + " |")
    print("|" + "---|" * len(header))
    for row in rows:
        print("| " + " | ".join(str(cell) for cell in row) + " |")


def milliseconds(seconds):
    return f"{1e3 * np.median(seconds):.2f}"


def ratio(seconds, ours):
    return f"{np.median(seconds / ours):.2f}"


def large(count, rounds):
    """One large variable; ratios are the time of the others divided by ours."""
    shapes = [(count,)]
    steps = {
        "`tfgen` Adam": keras_step(Adam(), shapes),
        "`keras` Adam": keras_step(keras.optimizers.Adam(), shapes),
        "`tfgen` AdaMax": keras_step(AdaMax(), shapes),
        "`keras` Adamax": keras_step(keras.optimizers.Adamax(), shapes),
    }
    memory = {name: f"{extra_memory(step):.0f}" for name, step in steps.items()}
    if torch:
        steps["`torch` Adam, fused"] = torch_step(count, fused=True)
        steps["`torch` Adam"] = torch_step(count, foreach=False)
        streams = torch_streams(4 * count)
        steps.update(streams)
    times = measure(steps, rounds)
    moved = {name: 7 * 4 * count / np.median(seconds) / 1e9 for name, seconds in times.items()}
    if torch:
        moved.update({name: 8 * 4 * count / np.median(times[name]) / 1e9 for name in streams})
        bandwidth = max(moved[name] for name in streams)
    rows = []
    for name, seconds in times.items():
        ours = times["`tfgen` AdaMax" if "max" in name.lower() else "`tfgen` Adam"]
        rows.append(
            (
                name,
                milliseconds(seconds),
                ratio(seconds, ours) if "Ada" in name else "",
                f"{moved[name]:.1f}",
                f"{100 * moved[name] / bandwidth:.0f} %" if torch else "",
                memory.get(name, ""),
            )
        )
    header = ["step", "ms", "time / tfgen's", "GB/s", "of the bandwidth", "temporaries, MiB"]
    table(f"One variable of {count:,} float32 ({count * 4 / 2**20:.0f} MiB)", header, rows)


def small(title, shapes, rounds):
    steps = {
        "`tfgen` Adam": keras_step(Adam(), shapes),
        "`keras` Adam": keras_step(keras.optimizers.Adam(), shapes),
        "`tfgen` AdaMax": keras_step(AdaMax(), shapes),
        "`keras` Adamax": keras_step(keras.optimizers.Adamax(), shapes),
    }
    times = measure(steps, rounds)
    rows = [
        (
            name,
            milliseconds(seconds),
            ratio(seconds, times["`tfgen` AdaMax" if "max" in name.lower() else "`tfgen` Adam"]),
        )
        for name, seconds in times.items()
    ]
    weights = sum(int(np.prod(shape)) for shape in shapes)
    title = f"{title}: {len(shapes)} variables, {weights:,} weights"
    table(title, ["step", "ms", "time / tfgen's"], rows)


def sparse(rounds, rows=2**20, width=64, touched=1000):
    cases = {
        "dense gradient": keras_step(Adam(), [(rows, width)]),
        "sparse gradient": sparse_step(Adam(), rows, width, touched),
        "sparse gradient, `lazy=True`": sparse_step(Adam(lazy=True), rows, width, touched),
        "`keras` Adam, sparse gradient": sparse_step(keras.optimizers.Adam(), rows, width, touched),
    }
    memory = {name: extra_memory(step) for name, step in cases.items()}
    times = measure(cases, rounds)
    lines = [(name, milliseconds(times[name]), f"{memory[name]:.1f}") for name in cases]
    title = f"Embedding of {rows:,} x {width} ({rows * width / 2**18:.0f} MiB), {touched:,} rows"
    table(title, ["Adam", "ms", "temporaries, MiB"], lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--weights", type=int, default=20_000_000)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    tf.config.threading.set_intra_op_parallelism_threads(arguments.threads)
    tf.config.threading.set_inter_op_parallelism_threads(arguments.threads)
    versions = [f"TensorFlow {tf.__version__}", f"Keras {keras.__version__}"]
    if torch:
        torch.set_num_threads(arguments.threads)
        versions.append(f"PyTorch {torch.__version__}")
    print(", ".join([*versions, platform.machine(), f"{arguments.threads} threads"]))
    large(arguments.weights, arguments.rounds)
    small("A small Glow", small_glow(), arguments.rounds)
    small("A wider Glow", small_glow(width=128), arguments.rounds)
    small("Many small variables", [(1000,)] * 300, arguments.rounds)
    sparse(max(5, arguments.rounds // 3))


if __name__ == "__main__":
    main()
