"""The verbs of a model as the signatures of an exported graph."""

import tensorflow as tf


class Signatures(tf.Module):
    """A model's verbs as graphs with named inputs and outputs and a free batch dimension.

    | signature | inputs | outputs |
    |---|---|---|
    | `log_prob` | `images` uint8 `[N, H, W, C]` | `log_prob` float32 `[N]`, nats |
    | `encode` | `images` | `latents` float32 `[N, D]` |
    | `decode` | `latents` | `images` |
    | `sample` | `noise` float32 `[N, D]`, standard normal; `temperature` float32 `[N]` | `images` |
    | `reconstruct` | `images` | `images` |

    A class-conditional model's `sample` also takes `labels` int32 `[N]`.

    The graphs hold no random state, no Python and no XLA. A SavedModel refuses inputs of another
    shape; TFLite drops that check.

    Args:
        model: a `tfgen.models.VAE` or `tfgen.models.Glow`.

    Attributes:
        functions: a dict from a signature's name to its concrete function.
    """

    def __init__(self, model):
        super().__init__()
        self._weights = [weight.value for weight in model.weights]
        images = tf.TensorSpec([None, *model.image_shape], tf.uint8, name="images")
        latents = tf.TensorSpec([None, model.latent_dim], tf.float32, name="latents")
        noise = tf.TensorSpec([None, model.latent_dim], tf.float32, name="noise")
        temperature = tf.TensorSpec([None], tf.float32, name="temperature")

        def log_prob(images):
            return {"log_prob": model.log_prob(images)}

        def encode(images):
            return {"latents": model.encode(images)}

        def decode(latents):
            return {"images": model.decode(latents)}

        def sample(noise, temperature, labels=None):
            scaled = temperature[:, None] * noise
            latents = scaled if labels is None else model.place(scaled, labels)
            return {"images": model.decode(latents)}

        def reconstruct(images):
            return {"images": model.reconstruct(images)}

        sample_inputs = [noise, temperature]
        if getattr(model, "num_classes", None):
            sample_inputs.append(tf.TensorSpec([None], tf.int32, name="labels"))
        self.functions = {
            "log_prob": _graph(log_prob, images),
            "encode": _graph(encode, images),
            "decode": _graph(decode, latents),
            "sample": _graph(sample, *sample_inputs),
            "reconstruct": _graph(reconstruct, images),
        }


def _graph(function, *specs):
    def checked(**inputs):
        return function(**{s.name: tf.ensure_shape(inputs[s.name], s.shape) for s in specs})

    return tf.function(checked, autograph=False).get_concrete_function(
        **{spec.name: spec for spec in specs}
    )
