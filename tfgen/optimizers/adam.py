"""Adam as printed in the paper."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from tfgen.optimizers import kernels
from tfgen.optimizers.base import AdaptiveOptimizer, Coefficients


@keras.saving.register_keras_serializable(package="tfgen")
class Adam(AdaptiveOptimizer):
    """Adam: steps scaled by running estimates of the gradient's first and second moment.

    Equations, with t = 1, 2, … and m₀ = v₀ = 0:

        m_t = β₁ m_{t-1} + (1 - β₁) g_t          m̂_t = m_t / (1 - β₁^t)
        v_t = β₂ v_{t-1} + (1 - β₂) g_t²         v̂_t = v_t / (1 - β₂^t)
        θ_t = θ_{t-1} - α m̂_t / (√v̂_t + ε)

    With `epsilon_hat` the constant is added to √v_t instead, which is the efficient order at the
    end of section 2 and what `keras.optimizers.Adam` computes:

        θ_t = θ_{t-1} - α √(1 - β₂^t) / (1 - β₁^t) · m_t / (√v_t + ε̂)

    With `beta_1_decay` λ < 1, m_t is computed with β₁ λ^(t-1); with `amsgrad`, the largest v so far
    replaces v_t.

    All operations are elementwise, on variables of any shape. The state is m and v (and the
    largest v), in float32 for variables of lower precision.

    Args:
        learning_rate: α ≥ 0, a schedule, or a callable without arguments.
        beta_1: β₁ in [0, 1).
        beta_2: β₂ in [0, 1).
        epsilon: ε (or ε̂) ≥ 0; with 0, a weight that never had a gradient does not move.
        epsilon_hat: whether `epsilon` is ε̂.
        beta_1_decay: λ in (0, 1].
        amsgrad: use the largest v so far (Reddi et al.).
        lazy: for sparse gradients, update only the rows that have one; by default every row is
            updated, as with the dense gradient.
        temporal_averaging: keep the running average of the weights that `averaged_weights` uses.
        averaging_momentum: decay rate of that average, in [0, 1); None for β₂, as in the paper.
        **keras_optimizer_kwargs: those of `keras.optimizers.Optimizer`.

    Raises:
        InputError: an argument out of range.

    Source: Kingma & Ba, Adam (arXiv:1412.6980), algorithm 1, section 2, theorem 4.1; Reddi, Kale
    & Kumar, On the convergence of Adam and beyond (2018), algorithm 2.

    Example:

    >>> import keras, tensorflow as tf
    >>> from tfgen.optimizers import Adam
    >>> weights = keras.Variable([1.0, -1.0])
    >>> optimizer = Adam(learning_rate=0.1)
    >>> optimizer.apply([tf.constant([0.5, -20.0])], [weights])
    >>> weights.numpy()
    array([ 0.9, -0.9], dtype=float32)
    """

    def __init__(
        self,
        learning_rate: float | Callable[..., Any] = 1e-3,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        *,
        epsilon_hat: bool = False,
        beta_1_decay: float = 1.0,
        amsgrad: bool = False,
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
        self.epsilon_hat = bool(epsilon_hat)
        self.amsgrad = bool(amsgrad)

    @property
    def slot_names(self) -> tuple[str, ...]:
        names = ("momentum", "velocity")
        return (*names, "largest_velocity") if self.amsgrad else names

    def coefficients(self, t: tf.Tensor, learning_rate: tf.Tensor, dtype: tf.DType) -> Coefficients:
        beta_1 = kernels.rounded(self.beta_1, dtype)
        beta_2 = kernels.rounded(self.beta_2, dtype)
        correction_1 = 1 - tf.pow(kernels.scalar(beta_1, tf.float64), t)
        correction_2 = tf.sqrt(1 - tf.pow(kernels.scalar(beta_2, tf.float64), t))
        epsilon = self.epsilon if self.epsilon_hat else self.epsilon * correction_2
        scalars = {
            "rate": learning_rate * correction_2 / correction_1,
            "beta_1": beta_1 * tf.pow(kernels.scalar(self.beta_1_decay, tf.float64), t - 1),
            "beta_2": beta_2,
            "epsilon": tf.maximum(
                kernels.scalar(epsilon, tf.float64), kernels.smallest_normal(dtype)
            ),
        }
        return {name: kernels.scalar(value, dtype) for name, value in scalars.items()}

    def rule(
        self, slots: list[tf.Tensor], gradient: tf.Tensor, coefficients: Coefficients
    ) -> tuple[list[tf.Tensor], tf.Tensor]:
        m, v, *largest = slots
        m = m + (gradient - m) * (1 - coefficients["beta_1"])
        v = v + (tf.square(gradient) - v) * (1 - coefficients["beta_2"])
        largest = [tf.maximum(old, v) for old in largest]
        scale = largest[0] if largest else v
        root = tf.sqrt(scale) + coefficients["epsilon"]
        return [m, v, *largest], coefficients["rate"] * m / root

    def apply_kernel(
        self,
        variable: tf.Variable,
        slots: list[tf.Variable],
        gradient: tf.Tensor,
        coefficients: Coefficients,
    ) -> None:
        # The bias corrections are in `rate`: powers of 0 disable the kernel's own.
        arguments = {
            "var": variable.handle,
            "m": slots[0].handle,
            "v": slots[1].handle,
            "beta1_power": tf.zeros([], gradient.dtype),
            "beta2_power": tf.zeros([], gradient.dtype),
            "lr": coefficients["rate"],
            "beta1": coefficients["beta_1"],
            "beta2": coefficients["beta_2"],
            "epsilon": coefficients["epsilon"],
            "grad": gradient,
        }
        if self.amsgrad:
            tf.raw_ops.ResourceApplyAdamWithAmsgrad(vhat=slots[2].handle, **arguments)
        else:
            tf.raw_ops.ResourceApplyAdam(**arguments)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "epsilon_hat": self.epsilon_hat,
            "amsgrad": self.amsgrad,
        }
