"""Find the origin of the first number that is not finite."""

from __future__ import annotations

import contextlib
import hashlib
from typing import TYPE_CHECKING, NoReturn

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike

from tfgen.bijectors.base import FlowBijector
from tfgen.bijectors.step_sequence import StepSequence
from tfgen.errors import InputError
from tfgen.fitting.phase import PhasedCall
from tfgen.models.base import GenerativeModel
from tfgen.training import state
from tfgen.training.checkpoint import State

if TYPE_CHECKING:
    from tfgen.training.loop import Loop


def report_divergence(loop: Loop, step: int) -> NoReturn:
    """Repeat the steps since the last checkpoint, and report the first number that is not finite.

    The state before that step is saved.

    Args:
        loop: a loop whose loss or weights are no longer finite.
        step: the step at which this was detected.

    Raises:
        InputError: always.
    """
    with loop.without_callbacks():
        good = _last_good_state(loop, step)
        loop.restore(good)
        loop.write()
    images, labels = loop.global_batch(loop.step)
    cause = first_non_finite(loop.model, images, labels) or "the computation of one replica only"
    state.assign(loop.model, good.arrays)
    raise InputError(
        f"training diverged at step {loop.step + 1} (epoch {int(loop.epoch) + 1}): the first "
        f"number that is not finite is in {cause}; the batch has SHA-256 {batch_hash(images)}; the "
        f"state after step {loop.step} is saved in {loop.checkpoints.directory}; a smaller "
        "optimizer.learning_rate or optimizer.global_clipnorm may help"
    )


def _last_good_state(loop: Loop, diverged: int) -> State:
    """The state before the first step with a number that is not finite."""
    _go_back(loop, diverged)
    batches = loop.replicated.batches(loop.stream, loop.step)
    while loop.step < diverged:
        good = loop.snapshot()
        _, is_finite = loop.take_steps(batches, 1)
        if not is_finite or not state.is_finite(loop.model):
            return good
        loop.record_if_due()
    raise InputError(
        f"training diverged at step {diverged}, but not when the steps since the last "
        "checkpoint were repeated: the device does not compute the same result twice; use --resume "
        "to continue from that checkpoint"
    )


def _go_back(loop: Loop, diverged: int) -> None:
    """Restore the newest checkpoint, or the state before the first step."""
    saved, _ = loop.checkpoints.latest()
    saved = saved or loop.initial
    directory = loop.checkpoints.directory
    if not loop.replicated.agree(-1 if saved is None else saved.facts["step"]):
        raise InputError(
            f"training diverged at step {diverged}; the cause cannot be found by repeating the "
            f"previous steps, because not all workers see the checkpoints in {directory}: use an "
            "--out directory that they share"
        )
    if saved is None:
        raise InputError(
            f"training diverged at step {diverged}, and {directory} contains no checkpoint "
            "from which the previous steps could be repeated to find the cause"
        )
    loop.restore(saved)


def batch_hash(images: ArrayLike) -> str:
    """The hexadecimal SHA-256 digest of the pixels of a batch, row by row."""
    return hashlib.sha256(np.ascontiguousarray(images).tobytes()).hexdigest()


def first_non_finite(
    model: GenerativeModel, images: ArrayLike, labels: ArrayLike | None = None
) -> str | None:
    """The first part of a training step that turns finite numbers into NaN or infinity.

    The step runs eagerly, so that every layer can be checked: first the layers and bijectors in the
    order in which they run, then the gradients from the loss backwards, then the weights after the
    step. The model keeps these weights. (`tf.debugging.enable_check_numerics` names operations, not
    layers or weights, and cannot be limited to one step or model.)

    Args:
        model: a compiled model with finite weights.
        images, labels: the global batch.

    Returns:
        A description such as "the output of layer vae_decoder/hidden_1"; None if all is finite.

    Example:

    >>> import tfgen
    >>> from tfgen.training.diagnosis import first_non_finite
    >>> model = tfgen.models.VAE((8, 8, 1), latent_dim=2, hidden_units=[16])
    >>> model.compile("sgd")
    >>> first_non_finite(model, tfgen.data.load("digits").images("test")[:4]) is None
    True
    """
    with _checked_layers() as found:
        nll, gradients = model.gradients(tf.convert_to_tensor(images), labels)
    if found:
        return f"the output of {found[0]}"
    if not _is_finite(nll):
        return "the log-likelihood, although the outputs of all layers are finite"
    weights = model.trainable_weights
    for weight, gradient in reversed(list(zip(weights, gradients, strict=True))):
        if gradient is not None and not _is_finite(gradient):
            return f"the gradient of {weight.path}"
    model.optimizer.apply(gradients, weights)
    for weight in weights:
        if not _is_finite(weight):
            return f"the optimizer's update of {weight.path}"
    return None


@contextlib.contextmanager
def _checked_layers():
    """Within the context, find the first layer that turns finite inputs into other outputs."""
    found: list[str] = []

    def checked(method, kind):
        def call(self, *args, **options):
            outputs = method(self, *args, **options)
            if isinstance(self, PhasedCall):  # The whole step, not one of the model's layers.
                return outputs
            if not found and _is_finite((args, options)) and not _is_finite(outputs):
                found.append(f"{kind} {getattr(self, 'path', self.name)}")
            return outputs

        return call

    with contextlib.ExitStack() as stack:

        def replace(owner, name, method):
            stack.callback(setattr, owner, name, vars(owner)[name])
            setattr(owner, name, method)

        def check(owner, name, kind):
            replace(owner, name, checked(vars(owner)[name], kind))

        replace(StepSequence, "inverse", _one_by_one)
        check(keras.Layer, "__call__", "layer")
        for bijector in _subclasses(FlowBijector):
            for name in ("_inverse_with_log_det", "_forward_with_log_det"):
                if name in vars(bijector):
                    check(bijector, name, "bijector")
        yield found


def _one_by_one(sequence, x):
    """`StepSequence.inverse` without the graph that its bijectors share."""
    total = 0.0
    for bijector in sequence.bijectors:
        x, log_det = bijector._inverse_with_log_det(x)
        total += log_det
    return x, total


def _subclasses(cls):
    for subclass in cls.__subclasses__():
        yield subclass
        yield from _subclasses(subclass)


def _is_finite(values):
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
