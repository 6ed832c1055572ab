"""The verbs of a model as the signatures of an exported graph."""

import tensorflow as tf

from tfgen.export import encoded_images

DEVICE = ("log_prob", "encode", "decode", "sample", "reconstruct")
DEFAULT = "log_prob"


class Signatures(tf.Module):
    """A model's verbs as graphs with named inputs and outputs and a free batch dimension N.

    | signature | inputs | outputs |
    |---|---|---|
    | `log_prob` | `images` uint8 `[N, H, W, C]` | `log_prob` float32 `[N]`, nats |
    | `encode` | `images` | `latents` float32 `[N, D]` |
    | `decode` | `latents` | `images` |
    | `sample` | `noise` float32 `[N, D]`, standard normal; `temperature` float32 `[N]` | `images` |
    | `reconstruct` | `images` | `images` |
    | `sample_seeded` | `seeds` int32 `[N, 2]`; `temperature` | `images` |
    | `interpolate` | `first`, `second` images; `weight` float32 `[N]` | `images` |

    A class-conditional model's `sample` and `sample_seeded` also take `labels` int32 `[N]`, and it
    has `log_prob_given`, of `images` and `labels`. Models of grey and RGB images have a twin of
    each signature that takes images, named `*_encoded`: it takes PNG or JPEG files, string `[N]`,
    named `image_bytes` (`first_bytes` and `second_bytes` for `interpolate_encoded`).

    Equations: the noise of seeds (a, b) is `tf.random.stateless_normal([D], (a, b))`, so that
    seeds (s, 0) give what `model.sample(1, seed=s)` gives, whatever else is in the batch;
    `interpolate` is decode((1 - weight) encode(first) + weight encode(second)).

    The graphs hold no random state, no Python and no XLA. They refuse inputs of another shape,
    batches of several sizes, latents, noise, weights or temperatures that are not finite, negative
    temperatures and labels out of range.

    Args:
        model: a `tfgen.models.VAE` or `tfgen.models.Glow`.
        precomputed: `tf.Variable`s of the graphs besides the model's weights.
        on_device: only the first five signatures and without the refusals, which TFLite drops
            anyway.

    Attributes:
        functions: a dict from a signature's name to its concrete function.
    """

    def __init__(self, model, *, precomputed=(), on_device=False):
        super().__init__()
        self._weights = [*(weight.value for weight in model.weights), *precomputed]
        self._checked = not on_device
        self._num_classes = model.num_classes
        functions = _functions(model)
        if on_device:
            functions = {verb: functions[verb] for verb in DEVICE}
        elif encoded_images.possible(model.image_shape):
            functions |= _encoded_twins(functions, model.image_shape)
        self.functions = {
            name: self._graph(function, specs) for name, (function, specs) in functions.items()
        }

    def _graph(self, function, specs):
        def checked(**inputs):
            inputs = {s.name: tf.ensure_shape(inputs[s.name], s.shape) for s in specs}
            if not self._checked:
                return function(**inputs)
            with tf.control_dependencies(list(self._refusals(inputs))):
                return function(**{name: tf.identity(value) for name, value in inputs.items()})

        return tf.function(checked, autograph=False).get_concrete_function(
            **{spec.name: spec for spec in specs}
        )

    def _refusals(self, inputs):
        """Operations that fail if the inputs mean nothing."""
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


def _functions(model):
    """From a signature's name to a function of named tensors and the specs of these."""
    images = tf.TensorSpec([None, *model.image_shape], tf.uint8, name="images")
    latents = tf.TensorSpec([None, model.latent_dim], tf.float32, name="latents")
    noise = tf.TensorSpec([None, model.latent_dim], tf.float32, name="noise")
    temperature = tf.TensorSpec([None], tf.float32, name="temperature")
    labels = tf.TensorSpec([None], tf.int32, name="labels")
    seeds = tf.TensorSpec([None, 2], tf.int32, name="seeds")
    ends = [tf.TensorSpec(images.shape, tf.uint8, name=name) for name in ("first", "second")]
    weight = tf.TensorSpec([None], tf.float32, name="weight")
    conditional = model.num_classes is not None

    def shared(verb, *specs):
        """One graph of a verb, in whatever signatures it is called."""
        return tf.function(verb, input_signature=specs, autograph=False)

    log_prob_of_images = shared(model.log_prob, images)
    log_prob_of_both = shared(model.log_prob, images, labels) if conditional else None
    encode_images = shared(model.encode, images)
    decode_latents = shared(model.decode, latents)

    def log_prob(images):
        return {"log_prob": log_prob_of_images(images)}

    def log_prob_given(images, labels):
        return {"log_prob": log_prob_of_both(images, labels)}

    def encode(images):
        return {"latents": encode_images(images)}

    def decode(latents):
        return {"images": decode_latents(latents)}

    def reconstruct(images):
        return decode(encode_images(images))

    def sample(noise, temperature, labels=None):
        scaled = temperature[:, None] * noise
        return decode(model.latents_from_noise(scaled, labels))

    def sample_seeded(seeds, temperature, labels=None):
        return sample(_noise_of(seeds, model.latent_dim), temperature, labels)

    def interpolate(first, second, weight):
        weight = weight[:, None]
        return decode((1.0 - weight) * encode_images(first) + weight * encode_images(second))

    of_class = [labels] if conditional else []
    return {
        "log_prob": (log_prob, [images]),
        "encode": (encode, [images]),
        "decode": (decode, [latents]),
        "sample": (sample, [noise, temperature, *of_class]),
        "reconstruct": (reconstruct, [images]),
        "sample_seeded": (sample_seeded, [seeds, temperature, *of_class]),
        "interpolate": (interpolate, [*ends, weight]),
        **({"log_prob_given": (log_prob_given, [images, labels])} if conditional else {}),
    }


def _noise_of(seeds, size):
    def row(seed):
        return tf.random.stateless_normal([size], seed, alg="philox")

    return tf.map_fn(row, seeds, fn_output_signature=tf.TensorSpec([size], tf.float32))


def _encoded_twins(functions, image_shape):
    names = {"images": "image_bytes", "first": "first_bytes", "second": "second_bytes"}

    def twin(function, specs):
        own = {spec.name: names[spec.name] for spec in specs if spec.name in names}

        def of_files(**inputs):
            given = {spec.name: inputs[own.get(spec.name, spec.name)] for spec in specs}
            for name in own:
                given[name] = encoded_images.decode(given[name], image_shape)
            return function(**given)

        files = [
            tf.TensorSpec([None], tf.string, name=own[spec.name]) if spec.name in own else spec
            for spec in specs
        ]
        return of_files, files

    return {
        f"{name}_encoded": twin(function, specs)
        for name, (function, specs) in functions.items()
        if any(spec.name in names for spec in specs)
    }
