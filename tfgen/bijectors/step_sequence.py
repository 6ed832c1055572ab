"""Chains of bijectors whose backward pass trades time for memory."""

import tensorflow as tf

from tfgen.bijectors.shared_trace import shared_traces, values_of

MEMORY = ("plain", "checkpoint", "reversible")


class StepSequence:
    """Several bijectors, the first applied to x first, with a log-determinant for each image.

    What the backward pass of `inverse` keeps of the activations:

    - "plain": all of them, as automatic differentiation does
    - "checkpoint": the input of each bijector; the rest is computed once more
    - "reversible": nothing but z; each bijector's input is computed from its output

    The gradients are the same, up to rounding. With n bijectors of one size, activations need
    memory proportional to n, to n at a far smaller rate, and constant.

    Args:
        bijectors: in the order towards the latents.
        memory: one of the three.

    Source: Gomez et al., The reversible residual network, 2017 (1707.04585), section 3.2;
    Kingma and Dhariwal, Glow, 2018 (1807.03039), section 1.
    """

    def __init__(self, bijectors, memory="plain"):
        self.bijectors = list(bijectors)
        self._memory = memory
        self._traces = shared_traces(self.bijectors, inlined=memory == "plain")

    def inverse(self, x):
        """z and log |det dz/dx|: `[N, *data_shape] -> [N, *latent_shape], [N]`."""
        precomputed = any(bijector.is_precomputed for bijector in self.bijectors)
        if self._memory != "plain" and not precomputed:
            return self._frugal_inverse(x, [values_of(bijector) for bijector in self.bijectors])
        return self._in_turn(zip(self.bijectors, self._traces, strict=True), "inverse", x)

    def forward(self, z):
        """x and log |det dx/dz|: `[N, *latent_shape] -> [N, *data_shape], [N]`."""
        backwards = zip(reversed(self.bijectors), reversed(self._traces), strict=True)
        return self._in_turn(backwards, "forward", z)

    @staticmethod
    def _in_turn(pairs, direction, value):
        """The bijectors one after the other; each by its trace where a graph is made.

        A trace is of the weights alone: it knows nothing of what was computed from them before.
        """
        total = 0.0
        for bijector, trace in pairs:
            if tf.executing_eagerly() or bijector.is_precomputed:
                value, log_det = getattr(bijector, f"_{direction}_with_log_det")(value)
            else:
                value, log_det = getattr(trace, direction)(value, values_of(bijector))
            total += log_det
        return value, total

    def _frugal_inverse(self, x, values):
        @tf.custom_gradient
        def compute(x, *flat_values):
            of_each = tf.nest.pack_sequence_as(values, flat_values)
            inputs, total = [], 0.0
            z = x
            for trace, own in zip(self._traces, of_each, strict=True):
                inputs.append(z if self._memory == "checkpoint" else None)
                z, log_det = trace.inverse(z, own)
                total += log_det

            def gradient(of_z, of_log_det):
                value, of_values = z, []
                for trace, own, kept in zip(
                    reversed(self._traces), reversed(of_each), reversed(inputs), strict=True
                ):
                    if kept is None:
                        value, of_z, of_own = trace.gradient_from_output(
                            value, own, of_z, of_log_det
                        )
                    else:
                        of_z, of_own = trace.gradient_from_input(kept, own, of_z, of_log_det)
                    of_values = [*of_own, *of_values]
                return of_z, *of_values

            return (z, total), gradient

        return compute(x, *tf.nest.flatten(values))
