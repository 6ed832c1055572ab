"""Time of Glow's training step, sampling and log_prob, compared with TFP and PyTorch.

    python tools/bench_glow.py [--widths 64 256] [--depth 8] [--batch 64] [--rounds 7]

Images are 32x32x3; the models have 3 levels and affine couplings. The peers are `tfb.Glow` of
TensorFlow Probability and a Glow in PyTorch. All peers have the same architecture and
optimizer. Each runs in its own process with the same number of threads; in each round they are
called one after the other while the others wait. A time is the median over the rounds, a ratio the
median of the ratios of each round. Prints a Markdown table for each width. Rows that need PyTorch
are omitted where it is missing.

"convolutions" are only the convolutions of the couplings in one training step, forward and
backward, without biases and activations.
"""

import argparse
import importlib.util
import multiprocessing
import os
import statistics
import time

import numpy as np

SHAPE = (32, 32, 3)
LEVELS = 3
SIZE = int(np.prod(SHAPE))
OWN = "tfgen float32"


def tfgen_peer(width, depth, pixels, **options):
    import tensorflow as tf

    import tfgen

    model = tfgen.models.Glow(SHAPE, levels=LEVELS, depth=depth, width=width, **options)
    model.compile(tfgen.optimizers.Adam(1e-4))
    images = tf.constant(pixels)
    model.initialize(images)
    step = tf.function(model.train_step)
    return {
        "train step": lambda: step(images)["bits_per_dim"].numpy(),
        "log_prob": lambda: model.log_prob(images).numpy(),
        "sample 256": lambda: model.sample(256, seed=0).numpy(),
    }, _size(model.trainable_weights)


def tfgen_bfloat16_peer(width, depth, pixels):
    return tfgen_peer(width, depth, pixels, network_dtype="bfloat16")


def tfb_peer(width, depth, pixels):
    import tensorflow as tf
    from tensorflow_probability import bijectors as tfb
    from tensorflow_probability import distributions as tfd

    import tfgen

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
    images = tf.constant(pixels)

    def log_density(images):
        values = tf.cast(images, tf.float32) / 256.0 - 0.5
        return distribution.log_prob(values + tf.random.uniform(tf.shape(values)) / 256.0)

    log_density(images)  # Creates the variables of the actnorms.
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
    noise = tf.random.normal([256, SIZE])
    return {
        "train step": lambda: step(images).numpy(),
        "log_prob": lambda: log_prob(images).numpy(),
        "sample 256": lambda: sample(noise).numpy(),
    }, _size(flow.trainable_variables)


def convolutions_peer(width, depth, pixels):
    import tensorflow as tf

    stacks = []
    for level in range(LEVELS):
        side, half = SHAPE[0] // 2 ** (level + 1), SHAPE[2] * 2**level
        shapes = [(3, 3, 2 * half, width), (1, 1, width, width), (3, 3, width, 4 * half)]
        inputs = tf.random.normal([len(pixels), side, side, 2 * half])
        for _ in range(depth):
            stacks.append((inputs, [tf.Variable(0.01 * tf.random.normal(s)) for s in shapes]))

    @tf.function
    def step():
        gradients = []
        for inputs, kernels in stacks:
            with tf.GradientTape() as tape:
                tape.watch(inputs)
                value = inputs
                for kernel in kernels:
                    value = tf.nn.conv2d(value, kernel, 1, "SAME")
            gradients += tape.gradient(value, [inputs, *kernels], output_gradients=value)
        return tf.add_n([tf.reshape(g, [-1])[0] for g in gradients])

    kernels = [kernel for _, kernels in stacks for kernel in kernels]
    return {"train step": lambda: step().numpy()}, _size(kernels)


def torch_peer(width, depth, pixels, autocast=False):
    import torch
    from bench_glow_torch import TorchGlow

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    torch.manual_seed(0)
    model = TorchGlow(SHAPE, LEVELS, depth, width).to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(model.parameters(), 1e-4, fused=True)
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2)
    model.initialize(images)

    def nats():
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            return -model.log_prob(images).mean()

    def step():
        optimizer.zero_grad(set_to_none=True)
        loss = nats()
        loss.backward()
        optimizer.step()
        return float(loss.detach())

    def log_prob():
        with torch.no_grad():
            return float(nats())

    parameters = sum(p.numel() for p in model.parameters())
    return {"train step": step, "log_prob": log_prob}, parameters


def torch_bfloat16_peer(width, depth, pixels):
    return torch_peer(width, depth, pixels, autocast=True)


PEERS = {
    OWN: tfgen_peer,
    "tfgen bfloat16 networks": tfgen_bfloat16_peer,
    "tfb.Glow": tfb_peer,
    "convolutions": convolutions_peer,
    "torch float32": torch_peer,
    "torch bfloat16 autocast": torch_bfloat16_peer,
}


class Peer:
    """A peer in its own process, which is idle between calls."""

    def __init__(self, name, *arguments):
        self._pipe, other = multiprocessing.Pipe()
        process = multiprocessing.Process(target=_serve, args=(name, arguments, other), daemon=True)
        process.start()
        self.calls, self.parameters = self._pipe.recv()
        self.first = {call: self.seconds(call) for call in self.calls}
        for call in self.calls:
            self.seconds(call)

    def seconds(self, call):
        """The time of one call."""
        self._pipe.send(call)
        return self._pipe.recv()

    def stop(self):
        self._pipe.send(None)


def _serve(name, arguments, pipe):
    functions, parameters = PEERS[name](*arguments)
    pipe.send((list(functions), parameters))
    while call := pipe.recv():
        start = time.perf_counter()
        functions[call]()
        pipe.send(time.perf_counter() - start)


def _size(variables):
    return sum(int(np.prod(v.shape)) for v in variables)


def bench(names, width, options):
    pixels = np.random.default_rng(0).integers(0, 256, (options.batch, *SHAPE), "uint8")
    peers = {name: Peer(name, width, options.depth, pixels) for name in names}
    times = {(name, call): [] for name, peer in peers.items() for call in peer.calls}
    for _ in range(options.rounds):
        for call in dict.fromkeys(call for _, call in times):
            for name, peer in peers.items():
                if call in peer.calls:
                    times[name, call].append(peer.seconds(call))
    print(f"\n**Width {width}**\n")
    print("| peer | parameters | call | ms | time / tfgen's float32 | first call, s |")
    print("|---|---|---|---|---|---|")
    for (name, call), seconds in times.items():
        own = times.get((OWN, call), seconds)
        ratio = statistics.median(a / b for a, b in zip(seconds, own, strict=True))
        print(
            f"| {name} | {peers[name].parameters:,} | {call} "
            f"| {1e3 * statistics.median(seconds):.0f} | {ratio:.2f} "
            f"| {peers[name].first[call]:.1f} |"
        )
    for peer in peers.values():
        peer.stop()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--widths", type=int, nargs="+", default=[64, 256])
    parser.add_argument("--depth", type=int, default=8)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--peers", nargs="+", choices=PEERS, default=list(PEERS))
    options = parser.parse_args()
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    for variable in ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
        os.environ[variable] = str(options.threads)
    multiprocessing.set_start_method("spawn")
    with_torch = importlib.util.find_spec("torch") is not None
    names = [name for name in options.peers if with_torch or not name.startswith("torch")]
    for width in options.widths:
        bench(names, width, options)


if __name__ == "__main__":
    main()
