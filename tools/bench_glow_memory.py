"""Memory, step time and tracing time of deep Glows, depending on what is kept for gradients.

    python tools/bench_glow_memory.py             32x32x3, levels 3, depths 8 and 32
    python tools/bench_glow_memory.py --large     256x256x3, levels 6, depth 32, width 512, additive

Each model runs in its own process. The memory of activations is the peak of resident memory during
a training step minus that of a step with a batch of 1; the peak of the large model includes all of
its memory. Step times are medians over rounds in which the models alternate. Linux only: the peak
is read from /proc.
"""

import argparse
import multiprocessing
import os
import statistics
import time

import numpy as np

MEGABYTE = 2**20


class Process:
    """A model in its own process, which is idle between tasks."""

    def __init__(self, image_shape, **options):
        self._pipe, other = multiprocessing.Pipe()
        process = multiprocessing.Process(
            target=_serve, args=(image_shape, options, other), daemon=True
        )
        process.start()

    def ask(self, task, batch):
        """The seconds that a task takes, and the peak of resident memory during it, in MB."""
        self._pipe.send((task, batch))
        return self._pipe.recv()


def _serve(image_shape, options, pipe):
    import tensorflow as tf

    import tfgen

    model = tfgen.models.Glow(image_shape, **options)
    model.compile(tfgen.optimizers.Adam(1e-4))
    images = tf.TensorSpec([None, *image_shape], tf.uint8)
    step = tf.function(model.train_step, input_signature=[images])  # one trace for all batch sizes
    generator = np.random.default_rng(0)

    def batch_of(count):
        return tf.constant(generator.integers(0, 256, (count, *image_shape), "uint8"))

    tasks = {
        "initialize": lambda count: model.initialize(batch_of(count)),
        "train step": lambda count: step(batch_of(count))["bits_per_dim"].numpy(),
        "sample": lambda count: model.sample(count, seed=0).numpy(),
    }
    while True:
        task, batch = pipe.recv()
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")  # Resets the peak.
        start = time.perf_counter()
        tasks[task](batch)
        seconds = time.perf_counter() - start
        with open("/proc/self/status") as file:
            peak = next(int(line.split()[1]) for line in file if line.startswith("VmHWM"))
        pipe.send((seconds, peak * 1024 / MEGABYTE))


def small(options):
    shape = (32, 32, 3)
    cases = [(memory, depth) for depth in (8, 32) for memory in options.memory]
    print(f"32x32x3, levels 3, width {options.width}, batch {options.batch}, affine\n")
    processes, rows = {}, {}
    for memory, depth in cases:
        process = Process(shape, levels=3, depth=depth, width=options.width, memory=memory)
        process.ask("initialize", 1)
        first, _ = process.ask("train step", 1)
        base = process.ask("train step", 1)[
            1
        ]  # before the allocator keeps memory for larger batches
        peak = max(process.ask("train step", options.batch)[1] for _ in range(2))
        processes[memory, depth] = process
        rows[memory, depth] = [first, peak - base, []]
    for _ in range(options.rounds):
        for case, process in processes.items():
            rows[case][2].append(process.ask("train step", options.batch)[0])
    print(
        "| memory | depth | first step, s | step, ms | step / plain | activations, MB | / depth 8 |"
    )
    print("|---|---|---|---|---|---|---|")
    for (memory, depth), (first, activations, seconds) in rows.items():
        plain = rows.get(("plain", depth), (0, 0, seconds))[2]
        ratio = statistics.median(a / b for a, b in zip(seconds, plain, strict=True))
        print(
            f"| {memory} | {depth} | {first:.1f} | {1e3 * statistics.median(seconds):.0f} "
            f"| {ratio:.2f} | {activations:.0f} | {activations / rows[memory, 8][1]:.2f} |"
        )


def large(options):
    print("256x256x3, levels 6, depth 32, width 512, additive, 5 bits\n")
    print("| memory | batch | first step, s | step, s | peak, MB | sample of 1, s |")
    print("|---|---|---|---|---|---|")
    for memory in options.memory:
        process = Process(
            (256, 256, 3),
            levels=6,
            depth=32,
            width=512,
            coupling="additive",
            num_bits=5,
            memory=memory,
        )
        process.ask("initialize", 1)
        first, first_peak = process.ask("train step", options.batch)
        seconds, peak = process.ask("train step", options.batch)
        process.ask("sample", 1)
        sample = statistics.median(process.ask("sample", 1)[0] for _ in range(3))
        print(
            f"| {memory} | {options.batch} | {first:.0f} | {seconds:.0f} "
            f"| {max(peak, first_peak):.0f} | {sample:.1f} |",
            flush=True,
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--large", action="store_true", help="the paper's CelebA-HQ set-up")
    parser.add_argument("--memory", nargs="+", default=["plain", "checkpoint", "reversible"])
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--batch", type=int, default=None)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    for variable in ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
        os.environ[variable] = str(options.threads)
    multiprocessing.set_start_method("spawn")
    options.batch = options.batch or (4 if options.large else 64)
    (large if options.large else small)(options)


if __name__ == "__main__":
    main()
