"""A sequence of bijectors whose backward pass can trade time for memory."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from tfgen.bijectors.base import FlowBijector
from tfgen.bijectors.shared_trace import traced
from tfgen.fitting.phase import add_losses

MEMORY = ("plain", "checkpoint", "reversible")


class StepSequence:
    """Bijectors applied in turn, with a choice of which activations the backward pass keeps.

    Equations, with f_1, ..., f_n the inverses of the bijectors:

    - inverse: z = f_n(... f_1(x)), and the log-determinants add up
    - forward: x = f_1^-1(... f_n^-1(z)), likewise

    The backward pass of `inverse` keeps these activations:

    - "plain": all of them, as automatic differentiation does
    - "checkpoint": the input of each bijector, from which the others are recomputed
    - "reversible": only z; the input of each bijector is recomputed from its output

    The gradients are the same up to rounding. For n bijectors of one size, the memory of the
    activations grows with n for "plain", grows with n at a much smaller rate for "checkpoint", and
    is constant for "reversible".

    Shapes: `inverse` `[N, *data_shape] -> [N, *latent_shape], [N]`, `forward` the other way.

    Args:
        bijectors: in the order from the data to the latents.
        memory: "plain", "checkpoint" or "reversible".

    Source: Gomez et al., The reversible residual network, 2017 (1707.04585), section 3.2;
    Kingma and Dhariwal, Glow, 2018 (1807.03039), section 1.

    Example:

    >>> import tensorflow as tf, tfgen
    >>> from tfgen.bijectors.step_sequence import StepSequence
    >>> steps = [tfgen.bijectors.GlowStep((4,), width=8, name=f"step{i}") for i in range(3)]
    >>> sequence = StepSequence(steps, memory="reversible")
    >>> z, log_det = sequence.inverse(tf.ones([2, 4]))
    >>> z.shape, log_det.shape
    (TensorShape([2, 4]), TensorShape([2]))
    """

    def __init__(self, bijectors: Sequence[FlowBijector], memory: str = "plain") -> None:
        self.bijectors = list(bijectors)
        self._memory = memory
        self._steps = traced(self.bijectors, inlined=memory == "plain")

    def inverse(self, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """z and log |det dz/dx|."""
        precomputed = any(bijector.is_precomputed for bijector in self.bijectors)
        if self._memory != "plain" and not precomputed:
            return self._recomputing_inverse(x)
        total = 0.0
        for step in self._steps:
            x, log_det = step.inverse(x)
            total += log_det
        return x, total

    def forward(self, z: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """x and log |det dx/dz|."""
        total = 0.0
        for step in reversed(self._steps):
            z, log_det = step.forward(z)
            total += log_det
        return z, total

    def _recomputing_inverse(self, x):
        """`inverse`, whose backward pass recomputes activations."""
        traces = [step.trace for step in self._steps]
        values = [step.values() for step in self._steps]

        @tf.custom_gradient
        def compute(x, *flat_values):
            values_per_step = tf.nest.pack_sequence_as(values, flat_values)
            inputs, losses, total = [], [], 0.0
            z = x
            for trace, own in zip(traces, values_per_step, strict=True):
                inputs.append(z if self._memory == "checkpoint" else None)
                z, log_det, added = trace.inverse(z, own)
                total += log_det
                losses.append(added)

            def gradient(grad_z, grad_log_det, *flat_grad_losses):
                output = z
                grad_losses = tf.nest.pack_sequence_as(losses, flat_grad_losses)
                grad_values: list[tf.Tensor | None] = []
                for trace, own, kept, added in zip(
                    *map(reversed, (traces, values_per_step, inputs, grad_losses)), strict=True
                ):
                    if kept is None:
                        output, grad_z, grad_own = trace.inverse_vjp_from_output(
                            output, own, grad_z, grad_log_det, added
                        )
                    else:
                        grad_z, grad_own = trace.inverse_vjp_from_input(
                            kept, own, grad_z, grad_log_det, added
                        )
                    grad_values = [*grad_own, *grad_values]
                return grad_z, *grad_values

            return (z, total, *tf.nest.flatten(losses)), gradient

        z, total, *losses = compute(x, *tf.nest.flatten(values))
        add_losses(losses)
        return z, total
