"""Measures whether pretrained models compute the same everywhere.

    python tools/exactness.py glow-digits vae-digits --images 1000

For each model: the images that `decode(encode(x))` gives back, with encoder and decoder in Python,
in a SavedModel that TensorFlow's v1 loader runs in a process without Keras and tfgen, or in a
TFLite file; and the largest relative differences of `log_prob` between these runtimes and between
batches of different sizes.
"""

import argparse
import collections
import contextlib
import pickle
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

import tfgen
from tfgen.errors import InputError
from tfgen.zoo import trained_on

VERBS = ("log_prob", "encode", "decode")
RUNTIMES = ("python", "saved_model", "tflite")
BATCHES = (1, 7, 64, 256)
ROWS = 250  # at a time, of the runtimes that do not divide a batch themselves

PROCESS = Path(__file__).parents[1] / "tests" / "export" / "tf_serving_process.py"


@contextlib.contextmanager
def v1_loader():
    """A function of a list of (directory, signature, inputs), run by a process without Keras."""
    command = [sys.executable, str(PROCESS)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:

        def answers(requests):
            pickle.dump(requests, process.stdin)
            process.stdin.flush()
            return pickle.load(process.stdout)

        yield answers
        process.stdin.close()


class Runtimes:
    """A model's verbs in Python, in a SavedModel and in a TFLite file: `call[runtime][verb]`.

    Args:
        model: a `tfgen.models.VAE` or `tfgen.models.Glow`.
        directory: an empty directory for the exports.
        v1: what `v1_loader` returns.
    """

    def __init__(self, model, directory, v1):
        from ai_edge_litert.interpreter import Interpreter

        from tfgen.export import to_saved_model
        from tfgen.export.litert import conversion
        from tfgen.export.signatures import Signatures

        with model.precomputed() as variables:
            module = Signatures(model, precomputed=variables, names=VERBS)
            to_saved_model.save(module, directory)
        content = conversion.convert(
            Signatures(model, on_device=True, names=VERBS), "float32", VERBS
        )
        self._interpreter = Interpreter(model_content=content, num_threads=2)
        self.call = {
            "python": {verb: getattr(model, verb) for verb in VERBS},
            "saved_model": {verb: self._exported(v1, directory, verb) for verb in VERBS},
            "tflite": {verb: self._on_device(verb) for verb in VERBS},
        }

    @staticmethod
    def _exported(v1, directory, verb):
        name = "latents" if verb == "decode" else "images"

        def call(rows):
            (found,) = v1([(str(directory), verb, {name: rows})])
            if isinstance(found, str):
                raise InputError(found)
            (found,) = found.values()
            return found

        return call

    def _on_device(self, verb):
        runner = self._interpreter.get_signature_runner(verb)
        name = "latents" if verb == "decode" else "images"

        def call(rows):
            (found,) = runner(**{name: rows}).values()
            return found

        return call

    def __call__(self, runtime, verb, rows, batch=ROWS):
        """A verb of `[N, ...]`, `batch` rows at a time."""
        function = self.call[runtime][verb]
        parts = [np.asarray(function(rows[i : i + batch])) for i in range(0, len(rows), batch)]
        return np.concatenate(parts)


def as_seen(model, images):
    """The images as a model of `num_bits` sees them, in integers: the upper bits, over 0 to 255."""
    last = 2**model.num_bits - 1
    levels = (images >> (8 - model.num_bits)).astype(int)
    return ((2 * 255 * levels + last) // (2 * last)).astype("uint8")


def round_trips(runtimes, model, images):
    """The share of images given back, by (encoder, decoder)."""
    expected = as_seen(model, images)
    latents = {runtime: runtimes(runtime, "encode", images) for runtime in RUNTIMES}
    found = {}
    for encoder in RUNTIMES:
        for decoder in RUNTIMES:
            decoded = runtimes(decoder, "decode", latents[encoder])
            found[encoder, decoder] = float((decoded == expected).all(axis=(1, 2, 3)).mean())
    return found


def relative(found, expected):
    """The largest |found - expected| / |expected|."""
    expected = np.asarray(expected, "float64")
    return float(np.max(np.abs(found - expected) / np.abs(expected)))


def deviations(runtimes, images):
    """The largest relative differences of log_prob: between runtimes, and between batches."""
    values = {runtime: runtimes(runtime, "log_prob", images) for runtime in RUNTIMES}
    found = {runtime: relative(values[runtime], values["python"]) for runtime in RUNTIMES[1:]}
    some = images[: max(BATCHES)]
    for runtime in RUNTIMES:
        each = [runtimes(runtime, "log_prob", some, batch) for batch in BATCHES]
        found[f"{runtime}, batches"] = max(relative(value, each[-1]) for value in each)
    return found


def unusual(image_shape):
    """Images unlike a model's training data: constants, patterns, single pixels, noise."""
    height, width = image_shape[:2]
    generator = np.random.default_rng(0)
    row, column = np.indices((height, width))
    single = (row == height // 2) & (column == width // 2)
    patterns = [single, (row + column) % 2, column % 2, (row // 4 + column // 4) % 2, row >= column]
    patterns = [np.broadcast_to(p[..., None], image_shape).astype("uint8") for p in patterns]
    constants = [np.full(image_shape, value, "uint8") for value in (0, 128, 255)]
    noise = generator.integers(0, 256, (4, *image_shape), "uint8")
    return np.stack(
        [
            *constants,
            *(255 * pattern for pattern in patterns),
            *(255 - 255 * pattern for pattern in patterns),
            *noise,
            *(noise // 128 * 255),
            *(noise // 64),
        ]
    )


def outcomes_of_unusual(runtimes, model, every=1):
    """What becomes of each unusual image, by encoder: a list of "given back" or "refused".

    A TFLite file cannot refuse: its entry is "differs" if the image is not given back.
    """
    found = {runtime: [] for runtime in RUNTIMES}
    for image in unusual(model.image_shape)[::every]:
        expected = as_seen(model, image[None])
        for encoder, outcomes in found.items():
            try:
                latents = runtimes(encoder, "encode", image[None])
            except InputError:
                outcomes.append("refused")
                continue
            decoders = RUNTIMES if np.isfinite(latents).all() else ("tflite",)
            same = [np.array_equal(runtimes(d, "decode", latents), expected) for d in decoders]
            outcomes.append("given back" if all(same) else "differs")
    return found


def real_images(model_name, count):
    """At most `count` images: of the test split, and then of the others if it has fewer."""
    data = trained_on.load(tfgen.zoo.card(model_name))
    parts = [data.images(split) for split in ("test", "train") if split in data.splits]
    return np.concatenate([part[:count] for part in parts])[:count]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="+", metavar="NAME", help="name of a model of the zoo")
    parser.add_argument("--images", type=int, default=1000, help="test images (default: 1000)")
    options = parser.parse_args()
    with v1_loader() as v1:
        for name in options.names:
            with tempfile.TemporaryDirectory() as directory:
                model = tfgen.zoo.load(name)
                runtimes = Runtimes(model, Path(directory), v1)
                images = real_images(name, options.images)
                print(name, f"{len(images)} images")
                for key, value in deviations(runtimes, images).items():
                    print(f"  log_prob, {key}: {value:.2e}")
                if model.is_invertible:
                    for pair, share in round_trips(runtimes, model, images).items():
                        print(f"  {' -> '.join(pair)}: {share:.2%} given back", flush=True)
                    for runtime, outcomes in outcomes_of_unusual(runtimes, model).items():
                        counts = collections.Counter(outcomes)
                        print(f"  {runtime}, unusual images: {dict(counts)}", flush=True)


if __name__ == "__main__":
    main()
