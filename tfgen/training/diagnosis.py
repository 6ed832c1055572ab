"""Where a number that is not finite comes from."""

import contextlib
import hashlib

import keras
import numpy as np
import tensorflow as tf

from tfgen.bijectors.base import FlowBijector
from tfgen.bijectors.step_sequence import StepSequence


def batch_hash(images):
    """The hexadecimal SHA-256 of the pixels of a batch, row by row."""
    return hashlib.sha256(np.ascontiguousarray(images).tobytes()).hexdigest()


def culprit(model, images, labels=None):
    """The first part of a training step that makes NaN or infinity of finite numbers.

    The step is taken without a compiled graph, so that every layer can be watched: first the
    layers and bijectors in the order in which they run, then the gradients from the loss
    backwards, then the weights after the step. The model is left with these weights.

    Args:
        model: compiled, with finite weights.
        images, labels: of the global batch.

    Returns:
        What to tell, such as "the output of layer vae_decoder_1"; None if everything is finite.

    Example:

    >>> import tfgen
    >>> from tfgen.training.diagnosis import culprit
    >>> model = tfgen.models.VAE((8, 8, 1), latent_dim=2, hidden_units=[16])
    >>> model.compile("sgd")
    >>> culprit(model, tfgen.data.load("digits").images("test")[:4]) is None
    True
    """
    with _watched() as found:
        nats, gradients = model.gradients(tf.convert_to_tensor(images), labels)
    if found:
        return f"the output of {found[0]}"
    if not _finite(nats):
        return "the log-likelihood, from finite outputs of all layers"
    weights = model.trainable_weights
    for weight, gradient in reversed(list(zip(weights, gradients, strict=True))):
        if gradient is not None and not _finite(gradient):
            return f"the gradient of {weight.path}"
    model.optimizer.apply(gradients, weights)
    for weight in weights:
        if not _finite(weight):
            return f"the optimizer's update of {weight.path}"
    return None


@contextlib.contextmanager
def _watched():
    """Within the context, lists each layer that turns finite inputs into outputs that are not."""
    found = []

    def watched(method, kind):
        def call(self, *args, **options):
            outputs = method(self, *args, **options)
            if not found and _finite((args, options)) and not _finite(outputs):
                found.append(f"{kind} {getattr(self, 'path', self.name)}")
            return outputs

        return call

    with contextlib.ExitStack() as stack:

        def replace(owner, name, method):
            stack.callback(setattr, owner, name, vars(owner)[name])
            setattr(owner, name, method)

        def watch(owner, name, kind):
            replace(owner, name, watched(vars(owner)[name], kind))

        replace(StepSequence, "inverse", _one_by_one)
        watch(keras.Layer, "__call__", "layer")
        for bijector in _subclasses(FlowBijector):
            for name in ("_inverse_with_log_det", "_forward_with_log_det"):
                if name in vars(bijector):
                    watch(bijector, name, "bijector")
        yield found


def _one_by_one(chain, x):
    """`StepSequence.inverse` without the trace that its bijectors share."""
    total = 0.0
    for bijector in chain.bijectors:
        x, log_det = bijector._inverse_with_log_det(x)
        total += log_det
    return x, total


def _subclasses(cls):
    for subclass in cls.__subclasses__():
        yield subclass
        yield from _subclasses(subclass)


def _finite(values):
    """Whether all floating-point tensors in a nest are finite."""
    return all(
        bool(tf.reduce_all(tf.math.is_finite(tensor)))
        for tensor in map(_tensor, tf.nest.flatten(values))
        if tensor is not None and tensor.dtype.is_floating and hasattr(tensor, "numpy")
    )


def _tensor(value):
    if isinstance(value, tf.IndexedSlices):
        return value.values
    if isinstance(value, keras.Variable):
        value = value.value
    return value if tf.is_tensor(value) else None
