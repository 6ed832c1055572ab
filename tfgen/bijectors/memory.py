"""Chains of bijectors whose backward pass trades time for memory."""

import tensorflow as tf

MEMORY = ("plain", "checkpoint", "reversible")


def inverse_chain(bijectors, x, memory="plain"):
    """z and log |det dz/dx| of several bijectors, the first applied to x.

    What the backward pass keeps of the activations:

    - "plain": all of them, as automatic differentiation does
    - "checkpoint": the input of each bijector; the rest is computed once more
    - "reversible": nothing but z; each bijector's input is computed from its output

    The gradients are the same, up to rounding. With n bijectors of one size, activations need
    memory proportional to n, to n at a far smaller rate, and constant.

    Shapes: `[N, *data_shape] -> [N, *latent_shape], [N]`.

    Args:
        bijectors: in the order towards the latents.
        x: data.
        memory: one of the three.

    Source: Gomez et al., The reversible residual network, 2017 (1707.04585), section 3.2;
    Kingma and Dhariwal, Glow, 2018 (1807.03039), section 1.
    """
    if memory == "plain" or not bijectors:
        return _inverse(bijectors, x)

    @tf.custom_gradient
    def chain(x):
        inputs, value = [], x
        total = tf.zeros(tf.shape(x)[:1], x.dtype)
        for bijector in bijectors:
            inputs.append(value if memory == "checkpoint" else None)
            value, log_det = bijector._inverse_with_log_det(value)
            total += log_det

        def gradient(of_value, of_log_det, variables=None):
            of_variables = {variable.ref(): [] for variable in variables or []}
            output = value
            for bijector, kept in zip(reversed(bijectors), reversed(inputs), strict=True):
                # Without this order all inputs would be computed first and kept until needed.
                with tf.control_dependencies([of_value]):
                    again = bijector._forward_with_log_det(output)[0] if kept is None else kept
                    start = output = tf.stop_gradient(tf.identity(again))
                own = [v for v in bijector.trainable_variables if v.ref() in of_variables]
                with tf.GradientTape() as tape:
                    tape.watch(start)
                    end, log_det = bijector._inverse_with_log_det(start)
                    log_det = tf.broadcast_to(log_det, tf.shape(start)[:1])
                of_value, *of_own = tape.gradient(
                    [end, log_det], [start, *own], output_gradients=[of_value, of_log_det]
                )
                for variable, one in zip(own, of_own, strict=True):
                    of_variables[variable.ref()].append(one)
            return of_value, [tf.add_n(parts) for parts in of_variables.values()]

        return (value, total), gradient

    return chain(x)


def _inverse(bijectors, x):
    total = tf.zeros(tf.shape(x)[:1], x.dtype)
    for bijector in bijectors:
        x, log_det = bijector._inverse_with_log_det(x)
        total += log_det
    return x, total
