"""The signatures of an export: one table of names, inputs, outputs and graphs.

| signature | inputs | outputs |
|---|---|---|
| `log_prob` | `images` uint8 `[N, H, W, C]` | `log_prob` float32 `[N]`, nats: the model's `bound` |
| `encode` | `images` | `latents` float32 `[N, D]` |
| `decode` | `latents` | `images` |
| `sample` | `noise` float32 `[N, D]`, standard normal; `temperature` float32 `[N]` | `images` |
| `reconstruct` | `images` | `images` |
| `sample_seeded` | `seeds` int32 `[N, 2]`; `temperature` | `images` |
| `interpolate` | `first`, `second` images; `weight` float32 `[N]` | `images` |
| `log_prob_given` | `images`; `labels` int32 `[N]` | `log_prob` |

The first five are those of a TFLite file. `labels` are taken by class-conditional models only: by
`sample` and `sample_seeded`, and by `log_prob_given`, which other models do not have. In a
SavedModel each signature that takes grey or RGB images has a twin named `*_encoded`, which takes
PNG or JPEG files, string `[N]`, named `image_bytes` (`first_bytes` and `second_bytes` for
`interpolate_encoded`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence

import tensorflow as tf

from tfgen.export import encoded_images
from tfgen.models import round_trips
from tfgen.models.base import GenerativeModel

DEFAULT = "log_prob"  # the signature that `serving_default` stands for
_FILES = {"images": "image_bytes", "first": "first_bytes", "second": "second_bytes"}


class Verbs:
    """The verbs of a model as graphs, each traced once even if several signatures call it.

    Args:
        model: a `tfgen.models.VAE` or `tfgen.models.Glow`.
        checked: whether `encode` refuses images that the latents of an invertible model do not give
            back.
    """

    def __init__(self, model: GenerativeModel, *, checked: bool):
        self._model = model
        self.latent_dim = model.latent_dim
        self.latents_from_noise = model.latents_from_noise
        encode = self._checked_encode if checked and model.is_invertible else model.encode
        self.log_prob, self.encode, self.decode = (
            tf.function(verb, autograph=False) for verb in (model.log_prob, encode, model.decode)
        )

    def _checked_encode(self, images):
        latents = self._model.encode(images)

        def compared():
            bits = self._model.num_bits
            return tf.reduce_all(round_trips.given_back(images, latents, self.decode, bits))

        unusual = tf.reduce_any(round_trips.unusual(latents))
        given_back = tf.cond(unusual, compared, lambda: tf.constant(True))
        refusal = tf.debugging.Assert(given_back, [f"encode: {round_trips.REFUSAL}"])
        with tf.control_dependencies([refusal]):
            return tf.identity(latents)


def _log_prob(verbs, images, labels=None):
    return verbs.log_prob(images, labels)


def _encode(verbs, images):
    return verbs.encode(images)


def _decode(verbs, latents):
    return verbs.decode(latents)


def _sample(verbs, noise, temperature, labels=None):
    return verbs.decode(verbs.latents_from_noise(temperature[:, None] * noise, labels))


def _sample_seeded(verbs, seeds, temperature, labels=None):
    def noise(seed):
        return tf.random.stateless_normal([verbs.latent_dim], seed, alg="philox")

    row = tf.TensorSpec([verbs.latent_dim], tf.float32)
    return _sample(verbs, tf.map_fn(noise, seeds, fn_output_signature=row), temperature, labels)


def _reconstruct(verbs, images):
    return verbs.decode(verbs.encode(images))


def _interpolate(verbs, first, second, weight):
    weight = weight[:, None]
    return verbs.decode((1.0 - weight) * verbs.encode(first) + weight * verbs.encode(second))


@dataclasses.dataclass(frozen=True)
class Signature:
    """One row of the table.

    Attributes:
        graph: a function of `Verbs` and the inputs by name that gives the output.
        inputs: names of tensors; "labels" only where the model is class-conditional.
        output: the name of a tensor.
        on_device: whether TFLite files have it.
        needs_labels: whether only class-conditional models have it.
    """

    graph: Callable[..., tf.Tensor]
    inputs: Sequence[str]
    output: str
    on_device: bool = False
    needs_labels: bool = False

    def without_labels(self) -> Signature:
        """The row for models that are not class-conditional."""
        inputs = [name for name in self.inputs if name != "labels"]
        return dataclasses.replace(self, inputs=inputs)

    def of_files(self, image_shape: tuple[int, ...]) -> Signature:
        """The twin that takes PNG or JPEG files in place of images."""
        files = {name: _FILES[name] for name in self.inputs if name in _FILES}

        def graph(verbs, **inputs):
            for images, file in files.items():
                inputs[images] = encoded_images.decode(inputs.pop(file), image_shape)
            return self.graph(verbs, **inputs)

        inputs = [files.get(name, name) for name in self.inputs]
        return dataclasses.replace(self, graph=graph, inputs=inputs, on_device=False)


SIGNATURES = {
    "log_prob": Signature(_log_prob, ["images"], "log_prob", on_device=True),
    "encode": Signature(_encode, ["images"], "latents", on_device=True),
    "decode": Signature(_decode, ["latents"], "images", on_device=True),
    "sample": Signature(_sample, ["noise", "temperature", "labels"], "images", on_device=True),
    "reconstruct": Signature(_reconstruct, ["images"], "images", on_device=True),
    "sample_seeded": Signature(_sample_seeded, ["seeds", "temperature", "labels"], "images"),
    "interpolate": Signature(_interpolate, ["first", "second", "weight"], "images"),
    "log_prob_given": Signature(_log_prob, ["images", "labels"], "log_prob", needs_labels=True),
}
DEVICE = tuple(name for name, signature in SIGNATURES.items() if signature.on_device)


def offered(model: GenerativeModel, *, on_device: bool = False) -> dict[str, Signature]:
    """The signatures that an export of a model has, by name.

    Args:
        model: a `tfgen.models.VAE` or `tfgen.models.Glow`.
        on_device: whether it is a TFLite file.

    Example:

    >>> import tfgen
    >>> from tfgen.export import signatures
    >>> list(signatures.offered(tfgen.zoo.load("vae-digits"), on_device=True))
    ['log_prob', 'encode', 'decode', 'sample', 'reconstruct']
    """
    rows = {name: row for name, row in SIGNATURES.items() if row.on_device or not on_device}
    if model.num_classes is None:
        rows = {n: row.without_labels() for n, row in rows.items() if not row.needs_labels}
    if not on_device and encoded_images.possible(model.image_shape):
        rows |= {
            f"{name}_encoded": row.of_files(model.image_shape)
            for name, row in rows.items()
            if not _FILES.keys().isdisjoint(row.inputs)
        }
    return rows


def tensors(model: GenerativeModel) -> dict[str, tf.TensorSpec]:
    """The specification of every tensor that a signature takes, by name."""
    shapes = {
        **dict.fromkeys(_FILES, ([None, *model.image_shape], tf.uint8)),
        **dict.fromkeys(_FILES.values(), ([None], tf.string)),
        **dict.fromkeys(("latents", "noise"), ([None, model.latent_dim], tf.float32)),
        **dict.fromkeys(("temperature", "weight"), ([None], tf.float32)),
        "labels": ([None], tf.int32),
        "seeds": ([None, 2], tf.int32),
    }
    return {name: tf.TensorSpec(*spec, name=name) for name, spec in shapes.items()}


class Signatures(tf.Module):
    """A model's signatures as concrete functions, with an unknown batch size N.

    Equations: the noise of seeds (a, b) is `tf.random.stateless_normal([D], (a, b))`, so that
    seeds (s, 0) give what `model.sample(1, seed=s)` gives, regardless of the rest of the batch;
    `interpolate` is decode((1 - weight) encode(first) + weight encode(second)).

    The graphs hold no random state, no Python and no XLA. They refuse inputs of another shape,
    batches of several sizes, latents, noise, weights or temperatures that are not finite, negative
    temperatures, labels out of range, and images that the latents of a flow do not give back
    (`tfgen.models.round_trips`).

    Args:
        model: a `tfgen.models.VAE` or `tfgen.models.Glow`.
        precomputed: `tf.Variable`s of the graphs in addition to the model's weights.
        on_device: whether they are for a TFLite file: only the signatures that such a file has,
            and without the refusals, which TFLite drops.
        names: names of the signatures; by default all that `offered` lists.

    Attributes:
        functions: a dict from a signature's name to its concrete function.

    Example:

    >>> import tensorflow as tf, tfgen
    >>> from tfgen.export.signatures import Signatures
    >>> functions = Signatures(tfgen.zoo.load("vae-digits"), on_device=True).functions
    >>> functions["encode"](images=tf.zeros([3, 8, 8, 1], tf.uint8))["latents"].shape
    TensorShape([3, 8])
    """

    def __init__(
        self,
        model: GenerativeModel,
        *,
        precomputed: Iterable[tf.Variable] = (),
        on_device: bool = False,
        names: Iterable[str] | None = None,
    ):
        super().__init__()
        self._variables = [*(weight.value for weight in model.weights), *precomputed]
        self._num_classes = model.num_classes or 0
        verbs, specs = Verbs(model, checked=not on_device), tensors(model)
        rows = offered(model, on_device=on_device)
        self.functions = {
            name: self._traced(
                rows[name], verbs, [specs[i] for i in rows[name].inputs], checked=not on_device
            )
            for name in (rows if names is None else names)
        }

    def _traced(self, signature, verbs, specs, checked):
        def graph(**inputs):
            inputs = {s.name: tf.ensure_shape(inputs[s.name], s.shape) for s in specs}
            with tf.control_dependencies(list(self._refusals(inputs)) if checked else []):
                inputs = {name: tf.identity(value) for name, value in inputs.items()}
                return {signature.output: signature.graph(verbs, **inputs)}

        return tf.function(graph, autograph=False).get_concrete_function(
            **{spec.name: spec for spec in specs}
        )

    def _refusals(self, inputs: dict[str, tf.Tensor]) -> Iterator[tf.Operation]:
        """Operations that fail if the inputs are invalid."""
        (first, value), *others = inputs.items()
        rows = tf.shape(value)[0]
        for name, other in others:
            found = tf.shape(other)[0]
            message = f"{first} and {name} must have the same number of rows, got"
            yield tf.debugging.Assert(rows == found, [message, rows, found])
        for name, value in inputs.items():
            if value.dtype == tf.float32:
                finite = tf.reduce_all(tf.math.is_finite(value))
                yield tf.debugging.Assert(finite, [f"{name} must be finite, some are not"])
        if "temperature" in inputs:
            lowest = tf.reduce_min(inputs["temperature"])
            message = "temperature must be a number >= 0, got"
            yield tf.debugging.Assert(lowest >= 0.0, [message, lowest])
        if "labels" in inputs:
            labels = inputs["labels"]
            known = tf.reduce_all((labels >= 0) & (labels < self._num_classes))
            message = f"labels must lie between 0 and {self._num_classes - 1}, got"
            yield tf.debugging.Assert(known, [message, labels])
