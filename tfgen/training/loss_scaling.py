"""Networks in float16: the loss is scaled, so that small gradients do not round to zero."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable(package="tfgen")
class LossScaling(keras.optimizers.LossScaleOptimizer):
    """Keras' dynamic loss scaling around an optimizer, for any number of replicas.

    Equations, with scale s: the gradient of s times the loss is computed and divided by s. If a
    gradient is not finite on any replica, no weight changes on any replica, and s is halved. After
    `dynamic_growth_steps` steps with finite gradients, s is doubled.

    Skipped steps are counted too, so that each step has its own noise.

    Args:
        inner_optimizer: the optimizer that updates the weights.
        initial_scale: s at the first step.
        dynamic_growth_steps: see above.

    Source: Micikevicius et al., Mixed precision training, 2017 (1710.03740), section 3.2.

    Example:

    >>> import keras, numpy as np, tensorflow as tf, tfgen
    >>> from tfgen.training.loss_scaling import LossScaling
    >>> weights = keras.Variable([1.0])
    >>> optimizer = LossScaling(tfgen.optimizers.Adam(0.1), initial_scale=8.0)
    >>> optimizer.build([weights])
    >>> optimizer.apply([tf.constant([np.inf])], [weights])
    >>> weights.numpy(), float(optimizer.dynamic_scale)
    (array([1.], dtype=float32), 4.0)
    >>> optimizer.apply([optimizer.scale_loss(tf.constant([3.0]))], [weights])
    >>> weights.numpy()
    array([0.9], dtype=float32)
    """

    def apply(
        self,
        grads: Sequence[tf.Tensor],
        trainable_variables: Sequence[keras.Variable] | None = None,
    ) -> None:
        super().apply(grads, trainable_variables)
        self._iterations.assign_add(1)

    def check_finite(self, grads: Sequence[tf.Tensor]) -> tf.Tensor:
        finite = super().check_finite(grads)
        replica = tf.distribute.get_replica_context()
        if replica is None or replica.num_replicas_in_sync == 1:
            return finite
        bad = tf.cast(tf.logical_not(finite), tf.float32)
        return replica.all_reduce(tf.distribute.ReduceOp.SUM, bad) == 0.0


def wrapped_if_needed(
    optimizer: keras.optimizers.Optimizer, model: keras.Model
) -> keras.optimizers.Optimizer:
    """The optimizer, with loss scaling if a layer of the model computes in float16."""
    dtypes = {layer.compute_dtype for layer in model._flatten_layers(include_self=False)}
    return LossScaling(optimizer) if "float16" in dtypes else optimizer
