"""Training throughput of the 784-200-200-50 VAE compared with PyTorch and Keras.

    python tools/bench_vae.py [--batch 128] [--rounds 9] [--steps 100] [--num-samples 1]

All peers have the same networks (tanh, Bernoulli), optimizer (Adam) and batch size, and train on
the same images, shuffled; tfgen and PyTorch binarize each batch at random, Keras uses grey levels
as in the example on keras.io. They run in one process, one after the other in each round; a time
is the median over the rounds, a ratio the median of the ratios of each round. Prints a Markdown
table. The images are MNIST if TFGEN_DATA or --data names its directory, random ones otherwise.

- tfgen: the steps and the input pipeline of `tfgen-train`, with as many steps per call as fit into
  a tenth of a second, or with one step per call
- PyTorch: a plain loop with `torch.optim.Adam(fused=True)`
- Keras: `keras.Model.fit` of a VAE with its own `train_step`, as in the "Variational AutoEncoder"
  example on keras.io
"""

import argparse
import itertools
import os
import statistics
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf

import tfgen
from tfgen.data import stream
from tfgen.data.augmentation import Augmentation
from tfgen.training import loop
from tfgen.training.replicated import Replicated

try:
    import torch
except ImportError:
    torch = None

LATENTS, HIDDEN, PIXELS = 50, 200, 784


def tfgen_case(images, batch, importance_samples, dtype=None, steps_per_call=None):
    model = tfgen.models.VAE(
        (28, 28, 1),
        latent_dim=LATENTS,
        hidden_units=[HIDDEN, HIDDEN],
        num_importance_samples=importance_samples,
        network_dtype=dtype,
    )
    model.compile(tfgen.optimizers.Adam(1e-3))
    count = len(images)
    source = stream.in_memory(images)
    replicated = Replicated(model, tf.distribute.get_strategy())
    batches = replicated.batches(stream.Stream(count, batch, 0, True, Augmentation(), source))

    def run(steps):
        taken, pace, start = 0, 0.0, time.perf_counter()
        while taken < steps:
            at_once = steps_per_call or loop.steps_per_call(pace)
            found = replicated.train(batches, min(steps - taken, at_once)).steps
            taken += len(found)
            pace = (time.perf_counter() - start) / taken
        return found[-1].nll / found[-1].images

    return run


def torch_case(images, batch, importance_samples):
    nn, functional = torch.nn, torch.nn.functional

    def perceptron(*sizes):
        layers = []
        for a, b in itertools.pairwise(sizes):
            layers += [nn.Linear(a, b), nn.Tanh()]
        return nn.Sequential(*layers[:-1])

    encoder = perceptron(PIXELS, HIDDEN, HIDDEN, 2 * LATENTS)
    decoder = perceptron(LATENTS, HIDDEN, HIDDEN, PIXELS)
    weights = [*encoder.parameters(), *decoder.parameters()]
    optimizer = torch.optim.Adam(weights, lr=1e-3, fused=True)
    everything = torch.from_numpy(images.reshape(len(images), -1).astype("float32") / 255.0)
    k = importance_samples

    def run(steps):
        rows = torch.randperm(len(images))
        for start in range(0, steps * batch, batch):
            x = torch.bernoulli(everything[rows[start : start + batch]])
            mean, log_variance = encoder(x).chunk(2, dim=-1)
            if k == 1:
                z = mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean)
                cross_entropy = functional.binary_cross_entropy_with_logits(
                    decoder(z), x, reduction="sum"
                )
                divergence = 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).sum()
                loss = (cross_entropy + divergence) / len(x)
            else:
                noise = torch.randn(len(x), k, LATENTS)
                z = mean[:, None] + torch.exp(0.5 * log_variance)[:, None] * noise
                cross_entropy = functional.binary_cross_entropy_with_logits(
                    decoder(z), x[:, None].expand(-1, k, -1), reduction="none"
                ).sum(-1)
                ratio = 0.5 * (log_variance[:, None] + noise**2 - z**2).sum(-1)
                loss = -torch.logsumexp(ratio - cross_entropy, dim=1).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return float(loss.detach())

    return run


class Sampling(keras.layers.Layer):
    def __init__(self):
        super().__init__()
        self.seed_generator = keras.random.SeedGenerator(0)

    def call(self, inputs):
        mean, log_variance = inputs
        noise = keras.random.normal(keras.ops.shape(mean), seed=self.seed_generator)
        return mean + keras.ops.exp(0.5 * log_variance) * noise


class KerasVAE(keras.Model):
    """As in the example of keras.io: three metrics, the loss in `train_step`."""

    def __init__(self):
        super().__init__()
        inputs = keras.Input((PIXELS,))
        x = keras.layers.Dense(HIDDEN, "tanh")(inputs)
        x = keras.layers.Dense(HIDDEN, "tanh")(x)
        mean, log_variance = keras.layers.Dense(LATENTS)(x), keras.layers.Dense(LATENTS)(x)
        latents = Sampling()([mean, log_variance])
        self.encoder = keras.Model(inputs, [mean, log_variance, latents])
        inputs = keras.Input((LATENTS,))
        x = keras.layers.Dense(HIDDEN, "tanh")(inputs)
        x = keras.layers.Dense(HIDDEN, "tanh")(x)
        self.decoder = keras.Model(inputs, keras.layers.Dense(PIXELS, "sigmoid")(x))
        self.trackers = [keras.metrics.Mean(name=n) for n in ("loss", "reconstruction", "kl")]

    @property
    def metrics(self):
        return self.trackers

    def train_step(self, x):
        with tf.GradientTape() as tape:
            mean, log_variance, latents = self.encoder(x)
            entropy = keras.losses.binary_crossentropy(x, self.decoder(latents))
            reconstruction = PIXELS * keras.ops.mean(entropy)
            divergence = -0.5 * (
                1 + log_variance - keras.ops.square(mean) - keras.ops.exp(log_variance)
            )
            divergence = keras.ops.mean(keras.ops.sum(divergence, axis=1))
            total = reconstruction + divergence
        gradients = tape.gradient(total, self.trainable_weights)
        self.optimizer.apply_gradients(zip(gradients, self.trainable_weights, strict=True))
        for tracker, value in zip(self.trackers, (total, reconstruction, divergence), strict=True):
            tracker.update_state(value)
        return {tracker.name: tracker.result() for tracker in self.trackers}


def keras_case(images, batch):
    model = KerasVAE()
    model.compile(optimizer=keras.optimizers.Adam(1e-3))
    grey = images.reshape(len(images), -1).astype("float32") / 255.0

    def run(steps):
        part = grey[: steps * batch]
        return model.fit(part, batch_size=batch, epochs=1, verbose=0).history["loss"][0]

    return run


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--steps", type=int, default=100, help="steps per round")
    parser.add_argument("--num-samples", type=int, default=1, help="importance samples k")
    parser.add_argument("--bfloat16", action="store_true", help="also networks in bfloat16")
    parser.add_argument("--data", help="directory of the local data sets")
    arguments = parser.parse_args()
    batch, k, steps = arguments.batch, arguments.num_samples, arguments.steps
    try:
        images = tfgen.data.load("mnist", data_dir=arguments.data).images("train")
    except tfgen.InputError:
        shape = (max(60_000, steps * batch), 28, 28, 1)
        images = np.random.default_rng(0).integers(0, 256, shape).astype("uint8")
    cases = {
        "tfgen": tfgen_case(images, batch, k),
        "tfgen, one step per call": tfgen_case(images, batch, k, steps_per_call=1),
    }
    if arguments.bfloat16:
        cases["tfgen, bfloat16 networks"] = tfgen_case(images, batch, k, "bfloat16")
    if torch:
        torch.manual_seed(0)
        cases["PyTorch, fused Adam"] = torch_case(images, batch, k)
    if k == 1:
        cases["Keras, fit"] = keras_case(images, batch)
    for run in cases.values():
        run(10)
        run(steps)
    times = {name: [] for name in cases}
    for _ in range(arguments.rounds):
        for name, run in cases.items():
            start = time.perf_counter()
            run(steps)
            times[name].append((time.perf_counter() - start) / steps)
    print(f"784-200-200-50, batch {batch}, k = {k}, {os.cpu_count()} cores\n")
    print("| | ms per step | images/s | times as fast as PyTorch | as Keras |")
    print("|---|---|---|---|---|")
    for name, own in times.items():
        ratios = []
        for peer in ("PyTorch, fused Adam", "Keras, fit"):
            pairs = zip(times.get(peer, []), own, strict=False)
            rounds = [other / mine for other, mine in pairs]
            ratios.append(f"{statistics.median(rounds):.2f}" if rounds else "")
        typical = statistics.median(own)
        print(f"| {name} | {1e3 * typical:.2f} | {batch / typical:,.0f} | {' | '.join(ratios)} |")


if __name__ == "__main__":
    main()
