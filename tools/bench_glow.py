"""Time of Glow's training step, sampling and log_prob beside `tfb.Glow` and a PyTorch Glow.

    python tools/bench_glow.py [--widths 64 256] [--depth 8] [--batch 64] [--rounds 7]

Images are 32x32x3, levels 3, affine couplings. All peers have the same architecture and the same
optimizer's algorithm and run in one process, one after the other in each round, with the same
number of threads; a figure is the median over the rounds, a ratio the median of the rounds'
ratios. Prints Markdown tables. Rows that need PyTorch are left out where it is missing.
"""

import argparse
import os
import statistics
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf
from tensorflow_probability import bijectors as tfb
from tensorflow_probability import distributions as tfd

import tfgen

try:
    import torch
    from bench_glow_torch import TorchGlow
except ImportError:
    torch = None

SHAPE = (32, 32, 3)
LEVELS = 3
SIZE = int(np.prod(SHAPE))


def tfgen_model(width, depth, images, **options):
    model = tfgen.models.Glow(SHAPE, levels=LEVELS, depth=depth, width=width, **options)
    model.compile(tfgen.optimizers.Adam(1e-4))
    model.initialize(images)
    return model


def tfgen_cases(width, depth, batch, images, **options):
    model = tfgen_model(width, depth, images, **options)
    step = tf.function(model.train_step)
    return {
        "train step": lambda: step(images)["bits_per_dim"].numpy(),
        "log_prob": lambda: model.log_prob(images).numpy(),
        "sample": lambda: model.sample(batch, seed=0).numpy(),
    }, sum(int(np.prod(w.shape)) for w in model.trainable_weights)


def tfb_cases(width, depth, batch, images):
    flow = tfb.Glow(
        SHAPE,
        num_glow_blocks=LEVELS,
        num_steps_per_block=depth,
        coupling_bijector_fn=lambda shape: tfb.GlowDefaultNetwork(shape, num_hidden=width),
        exit_bijector_fn=tfb.GlowDefaultExitNetwork,
        grab_after_block=(0.5, 0.5, 0.0),
    )
    distribution = tfd.TransformedDistribution(
        tfd.MultivariateNormalDiag(tf.zeros(SIZE), tf.ones(SIZE)), flow
    )
    optimizer = tfgen.optimizers.Adam(1e-4)

    def log_density(images):
        values = tf.cast(images, tf.float32) / 256.0 - 0.5
        return distribution.log_prob(values + tf.random.uniform(tf.shape(values)) / 256.0)

    log_density(images)  # Makes the variables of the actnorms.
    optimizer.build(flow.trainable_variables)

    @tf.function
    def step(images):
        with tf.GradientTape() as tape:
            loss = -tf.reduce_mean(log_density(images))
        variables = flow.trainable_variables
        optimizer.apply(tape.gradient(loss, variables), variables)
        return loss

    log_prob = tf.function(log_density)
    sample = tf.function(lambda noise: flow.forward(noise))
    noise = tf.random.normal([batch, SIZE])
    return {
        "train step": lambda: step(images).numpy(),
        "log_prob": lambda: log_prob(images).numpy(),
        "sample": lambda: sample(noise).numpy(),
    }, sum(int(np.prod(v.shape)) for v in flow.trainable_variables)


def torch_cases(width, depth, batch, images, autocast=False):
    torch.manual_seed(0)
    model = TorchGlow(SHAPE, LEVELS, depth, width).to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(model.parameters(), 1e-4, fused=True)
    pixels = torch.from_numpy(np.array(images)).permute(0, 3, 1, 2)
    model.initialize(pixels)

    def nats(pixels):
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            return -model.log_prob(pixels).mean()

    def step():
        optimizer.zero_grad(set_to_none=True)
        loss = nats(pixels)
        loss.backward()
        optimizer.step()
        return float(loss.detach())

    def log_prob():
        with torch.no_grad():
            return float(nats(pixels))

    parameters = sum(p.numel() for p in model.parameters())
    return {"train step": step, "log_prob": log_prob}, parameters


def measure(cases, rounds):
    """{(peer, figure): seconds in each round}; the first run of each, which traces, is apart."""
    first, times = {}, {}
    for peer, (functions, _) in cases.items():
        for figure, function in functions.items():
            start = time.perf_counter()
            function()
            first[peer, figure] = time.perf_counter() - start
            times[peer, figure] = []
    for _ in range(rounds):
        for peer, (functions, _) in cases.items():
            for figure, function in functions.items():
                start = time.perf_counter()
                function()
                times[peer, figure].append(time.perf_counter() - start)
    return first, times


def report(width, cases, first, times):
    print(f"\n**Width {width}**\n")
    print("| peer | parameters | figure | ms | time / tfgen's float32 | first call, s |")
    print("|---|---|---|---|---|---|")
    for (peer, figure), seconds in times.items():
        own = times["tfgen float32", figure]
        ratio = statistics.median(a / b for a, b in zip(seconds, own, strict=True))
        print(
            f"| {peer} | {cases[peer][1]:,} | {figure} | {1e3 * statistics.median(seconds):.0f} "
            f"| {ratio:.2f} | {first[peer, figure]:.1f} |"
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--widths", type=int, nargs="+", default=[64, 256])
    parser.add_argument("--depth", type=int, default=8)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    tf.config.threading.set_intra_op_parallelism_threads(options.threads)
    tf.config.threading.set_inter_op_parallelism_threads(options.threads)
    if torch:
        torch.set_num_threads(options.threads)
    pixels = np.random.default_rng(0).integers(0, 256, (options.batch, *SHAPE), "uint8")
    images = tf.constant(pixels)
    for width in options.widths:
        same = (width, options.depth, options.batch, images)
        cases = {
            "tfgen float32": tfgen_cases(*same),
            "tfgen bfloat16 networks": tfgen_cases(*same, network_dtype="bfloat16"),
            "tfb.Glow": tfb_cases(*same),
        }
        if torch:
            cases["torch float32"] = torch_cases(*same)
            cases["torch bfloat16 autocast"] = torch_cases(*same, autocast=True)
        report(width, cases, *measure(cases, options.rounds))


if __name__ == "__main__":
    main()
