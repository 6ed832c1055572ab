"""AdaMax as printed in the paper."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from tfgen.optimizers import kernels
from tfgen.optimizers.base import AdaptiveOptimizer, Coefficients


@keras.saving.register_keras_serializable(package="tfgen")
class AdaMax(AdaptiveOptimizer):
    """AdaMax: Adam with the infinity norm in place of the second moment.

    Equations, with t = 1, 2, … and m₀ = u₀ = 0:

        m_t = β₁ m_{t-1} + (1 - β₁) g_t
        u_t = max(β₂ u_{t-1}, |g_t|)
        θ_t = θ_{t-1} - α / (1 - β₁^t) · m_t / u_t

    0/0 counts as 0: a weight that never had a gradient does not move. An `epsilon` above 0, which
    the paper does not have, is added to u_t.

    All operations are elementwise, on variables of any shape. The state is m and u, in float32
    for variables of lower precision.

    Args:
        learning_rate: α ≥ 0, a schedule, or a callable without arguments.
        beta_1: β₁ in [0, 1).
        beta_2: β₂ in [0, 1).
        epsilon: ≥ 0.
        beta_1_decay: λ in (0, 1]; m_t is computed with β₁ λ^(t-1).
        lazy: for sparse gradients, update only the rows that have one; by default every row is
            updated, as with the dense gradient.
        temporal_averaging: keep the running average of the weights that `averaged_weights` uses.
        averaging_momentum: decay rate of that average, in [0, 1); None for β₂, as in the paper.
        **keras_optimizer_kwargs: those of `keras.optimizers.Optimizer`.

    Raises:
        InputError: an argument out of range.

    Source: Kingma & Ba, Adam (arXiv:1412.6980), section 7.1, algorithm 2.

    Example:

    >>> import keras, tensorflow as tf
    >>> from tfgen.optimizers import AdaMax
    >>> weights = keras.Variable([1.0, -1.0, 3.0])
    >>> optimizer = AdaMax(learning_rate=0.1)
    >>> optimizer.apply([tf.constant([0.5, -20.0, 0.0])], [weights])
    >>> weights.numpy()
    array([ 0.9, -0.9,  3. ], dtype=float32)
    """

    def __init__(
        self,
        learning_rate: float | Callable[..., Any] = 2e-3,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 0.0,
        *,
        beta_1_decay: float = 1.0,
        lazy: bool = False,
        temporal_averaging: bool = False,
        averaging_momentum: float | None = None,
        **keras_optimizer_kwargs: Any,
    ) -> None:
        super().__init__(
            learning_rate,
            beta_1,
            beta_2,
            epsilon,
            beta_1_decay=beta_1_decay,
            lazy=lazy,
            temporal_averaging=temporal_averaging,
            averaging_momentum=averaging_momentum,
            **keras_optimizer_kwargs,
        )

    @property
    def slot_names(self) -> tuple[str, ...]:
        return ("momentum", "norm")

    def coefficients(self, t: tf.Tensor, learning_rate: tf.Tensor, dtype: tf.DType) -> Coefficients:
        beta_1 = kernels.rounded(self.beta_1, dtype)
        scalars = {
            "rate": learning_rate / (1 - tf.pow(kernels.scalar(beta_1, tf.float64), t)),
            "beta_1": beta_1 * tf.pow(kernels.scalar(self.beta_1_decay, tf.float64), t - 1),
            "beta_2": self.beta_2,
            "epsilon": max(self.epsilon, kernels.smallest_normal(dtype)),
        }
        return {name: kernels.scalar(value, dtype) for name, value in scalars.items()}

    def rule(
        self, slots: list[tf.Tensor], gradient: tf.Tensor, coefficients: Coefficients
    ) -> tuple[list[tf.Tensor], tf.Tensor]:
        m, u = slots
        m = m + (gradient - m) * (1 - coefficients["beta_1"])
        u = tf.maximum(coefficients["beta_2"] * u, tf.abs(gradient))
        return [m, u], coefficients["rate"] * (m / (u + coefficients["epsilon"]))

    def apply_kernel(
        self,
        variable: tf.Variable,
        slots: list[tf.Variable],
        gradient: tf.Tensor,
        coefficients: Coefficients,
    ) -> None:
        tf.raw_ops.ResourceApplyAdaMax(
            var=variable.handle,
            m=slots[0].handle,
            v=slots[1].handle,
            beta1_power=tf.zeros([], gradient.dtype),
            lr=coefficients["rate"],
            beta1=coefficients["beta_1"],
            beta2=coefficients["beta_2"],
            epsilon=coefficients["epsilon"],
            grad=gradient,
        )
