"""Base class of Adam and AdaMax: everything except the update rule."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import keras
import tensorflow as tf

from tfgen import checks
from tfgen.errors import InputError
from tfgen.optimizers import accumulation, arguments, averaging, gradients, kernels, packing, rows
from tfgen.optimizers import state as states
from tfgen.optimizers.state import tf_variable

Coefficients = dict[str, tf.Tensor]


class AdaptiveOptimizer(keras.optimizers.Optimizer):
    """A Keras optimizer whose state is a few slots of each variable's size.

    A subclass defines `slot_names` and three methods: `coefficients`, the scalars of a step;
    `rule`, the step on tensors; `apply_kernel`, the same step by a fused kernel.

    Each device takes the step on its own, after the gradients have been summed over the replicas,
    so that clipping, accumulation and averaging compute the same as on a single device.

    Args:
        learning_rate, beta_1, beta_2, epsilon, beta_1_decay, lazy, temporal_averaging,
            averaging_momentum: as for `tfgen.optimizers.Adam`.
        **keras_optimizer_kwargs: those of `keras.optimizers.Optimizer`.

    Raises:
        InputError: an argument out of range.
    """

    def __init__(
        self,
        learning_rate: float | Callable[..., Any],
        beta_1: float,
        beta_2: float,
        epsilon: float,
        *,
        beta_1_decay: float,
        lazy: bool,
        temporal_averaging: bool,
        averaging_momentum: float | None,
        **keras_optimizer_kwargs: Any,
    ) -> None:
        beta_1, beta_2 = arguments.decay_rates(beta_1, beta_2)
        epsilon = checks.number("epsilon", epsilon, 0)
        averaging_momentum = arguments.averaging_momentum(averaging_momentum, temporal_averaging)
        beta_1_decay = checks.number("beta_1_decay", beta_1_decay, 0, 1, open_low=True)
        learning_rate = arguments.learning_rate(learning_rate)
        arguments.keras_arguments(keras_optimizer_kwargs)
        # Keras would store a number in float32, with a relative error of about 1e-8.
        number = None if callable(learning_rate) else learning_rate
        super().__init__(
            learning_rate=learning_rate if number is None else lambda: number,
            **keras_optimizer_kwargs,
        )
        if number is not None:
            self._learning_rate = self.add_variable(
                shape=(),
                initializer=lambda shape, dtype: tf.constant(number, dtype, shape),
                dtype="float64",
                aggregation="only_first_replica",
                name="learning_rate",
            )
        self.packs: list[packing.Pack] = []
        self.own_slots: list[dict[str, keras.Variable]] = []
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.beta_1_decay = beta_1_decay
        self.lazy = bool(lazy)
        self.temporal_averaging = bool(temporal_averaging)
        self.averaging_momentum = averaging_momentum
        if self.lazy and self.gradient_accumulation_steps:
            raise InputError(
                "lazy=True and gradient_accumulation_steps="
                f"{self.gradient_accumulation_steps} cannot be combined, because accumulated "
                "gradients are dense: omit one"
            )

    # Defined by subclasses

    @property
    def slot_names(self) -> tuple[str, ...]:
        """The names of the slots, in the order in which `rule` and `apply_kernel` take them."""
        raise NotImplementedError

    def coefficients(self, t: tf.Tensor, learning_rate: tf.Tensor, dtype: tf.DType) -> Coefficients:
        """The scalars of step `t` (from 1) as a dict of tensors of `dtype`.

        `t` and `learning_rate` are float64 scalars.
        """
        raise NotImplementedError

    def rule(
        self, slots: list[tf.Tensor], gradient: tf.Tensor, coefficients: Coefficients
    ) -> tuple[list[tf.Tensor], tf.Tensor]:
        """The new slots, and the tensor to subtract from the weights."""
        raise NotImplementedError

    def apply_kernel(
        self,
        variable: tf.Variable,
        slots: list[tf.Variable],
        gradient: tf.Tensor,
        coefficients: Coefficients,
    ) -> None:
        """The step in place, by a fused kernel."""
        raise NotImplementedError

    # State

    def build(self, variables: Iterable[keras.Variable]) -> None:
        if self.built:
            return
        variables = list(variables)
        super().build(variables)
        names = [*self.slot_names, *([averaging.SLOT] if self.temporal_averaging else [])]
        tf_variables = [tf_variable(v) for v in variables]
        trained = [
            i for i, v in enumerate(variables) if not self._overwrite_variable_with_gradient(v)
        ]
        # A packed table is updated as a whole, which `lazy` forbids.
        plans = [] if self.lazy else packing.plan(tf_variables, trained)
        self.packs = [
            packing.Pack(
                plan,
                [tf_variables[i].shape for i in plan],
                {name: self._add_packed(name, number, tf_variables, plan) for name in names},
            )
            for number, plan in enumerate(plans)
        ]
        packed = {i for plan in plans for i in plan}
        self.own_slots = [
            {
                name: self.add_variable_from_reference(variable, name)
                for name in names
                if i in trained and i not in packed
            }
            for i, variable in enumerate(variables)
        ]

    def add_variable_from_reference(
        self,
        reference_variable: keras.Variable,
        name: str | None = None,
        initializer: str = "zeros",
    ) -> keras.Variable:
        """As in Keras, but float32 for a variable of lower precision."""
        variable = tf_variable(reference_variable)
        with self._distribution_strategy.extended.colocate_vars_with(variable):
            return self.add_variable(
                shape=variable.shape,
                initializer=initializer,
                dtype="float32" if variable.dtype.size < 4 else variable.dtype.name,
                layout=getattr(reference_variable, "_layout", None),
                name=states.slot_variable_name(reference_variable, name or "var"),
            )

    def _overwrite_model_variables_with_average_value(self, trainable_variables):
        """As in Keras, for averages that may be of higher precision than the variables.

        There is no average before the first update (while gradients are accumulated or overflow in
        float16); the variables then keep their values.
        """
        averages = self._model_variables_moving_average
        begun = tf.convert_to_tensor(self.iterations) > 0
        for variable, average in zip(trainable_variables, averages, strict=True):
            if average is not None:
                self._distribution_strategy.extended.update(
                    tf_variable(variable), averaging.overwrite, args=(tf_variable(average), begun)
                )

    def _add_packed(self, name, number, variables, plan):
        first = variables[plan[0]]
        with self._distribution_strategy.extended.colocate_vars_with(first):
            return self.add_variable(
                shape=(sum(variables[i].shape.num_elements() for i in plan),),
                dtype=first.dtype.name,
                name=f"packed_{number}_{name}",
            )

    def slot(self, variable: keras.Variable, name: str) -> tf.Tensor:
        """The current value of a slot of `variable`, as a tensor of its shape.

        Args:
            variable: a variable that the optimizer was built with.
            name: one of `slot_names`.

        Raises:
            InputError: there is no slot of this name.

        Example:

        >>> import keras, tensorflow as tf
        >>> from tfgen.optimizers import Adam
        >>> weights = keras.Variable([1.0, 2.0])
        >>> optimizer = Adam(beta_1=0.5, beta_2=0.75)
        >>> optimizer.apply([tf.constant([2.0, 4.0])], [weights])
        >>> optimizer.slot(weights, "velocity").numpy()
        array([1., 4.], dtype=float32)
        """
        return states.slot(self, self._get_variable_index(variable), name)

    def save_own_variables(self, store: dict[str, Any]) -> None:
        states.save(self, store)

    def load_own_variables(self, store: dict[str, Any]) -> None:
        states.load(self, store)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "beta_1": self.beta_1,
            "beta_2": self.beta_2,
            "epsilon": self.epsilon,
            "beta_1_decay": self.beta_1_decay,
            "lazy": self.lazy,
            "temporal_averaging": self.temporal_averaging,
            "averaging_momentum": self.averaging_momentum,
        }

    # A step: from all replicas to each device

    def apply(
        self,
        grads: Iterable[gradients.Gradient],
        trainable_variables: Sequence[keras.Variable] | None = None,
    ) -> None:
        grads = list(grads)
        if not grads:
            return
        if trainable_variables is None:
            trainable_variables = self._trainable_variables
            if not self.built or len(grads) != len(trainable_variables):
                raise InputError(
                    f"{len(grads)} gradients were given without their variables, and the "
                    f"optimizer was built for {len(trainable_variables)}: pass the variables too"
                )
        variables = list(trainable_variables)
        with tf.name_scope(self.name):
            if not self.built:
                self.build(variables)
            self._check_variables_are_known(variables)
            grads, variables = self._filter_empty_gradients(grads, variables)
            grads, variables = self._overwrite_variables_directly_with_gradients(grads, variables)
            if grads:
                if self.loss_scale_factor is not None:
                    grads = [gradients.divide(g, self.loss_scale_factor) for g in grads]
                self._step_everywhere(grads, [tf_variable(v) for v in variables])
        self._iterations.assign_add(1)

    def _step_everywhere(self, grads, variables):
        strategy = self._distribution_strategy
        if not tf.distribute.has_strategy():
            self._step(grads, variables)
            return

        def update(strategy, *grads):
            strategy.extended.update(
                variables[0],
                lambda _, *grads: self._step(grads, variables),
                args=grads,
                group=False,
            )

        replica = tf.distribute.get_replica_context()
        if replica is None:
            update(strategy, *grads)
            return
        grads = replica.all_reduce(tf.distribute.ReduceOp.SUM, grads)
        tf.__internal__.distribute.interim.maybe_merge_call(update, strategy, *grads)

    # A step: on one device

    def _step(self, grads, variables):
        if self.gradient_accumulation_steps:
            accumulation.step(self, grads, variables, self._update)
        else:
            self._update(grads, variables)

    def _update(self, grads, variables):
        grads = gradients.clip(
            [gradients.coalesce(g) for g in grads],
            norm=self.clipnorm,
            value=self.clipvalue,
            global_norm=self.global_clipnorm,
        )
        indices = [self._get_variable_index(v) for v in variables]
        scalars = _Scalars(self)
        given = dict(zip(indices, grads, strict=True))
        for pack in self.packs:
            own = {i: given.pop(i) for i in pack.members if i in given}
            if own:
                self._update_pack(pack, own, scalars)
        for index, gradient in given.items():
            self._update_variable(index, gradient, scalars)
        self._constrain(indices)
        averaging.update(self, scalars.t)

    def _update_pack(self, pack, grads, scalars):
        slots = [pack.slots[name] for name in self.slot_names]
        dtype = tf_variable(slots[0]).dtype
        coefficients = scalars.of(dtype)
        variables = {i: self._variable(i) for i in grads}
        dense = {i: gradients.dense(g, variables[i].shape) for i, g in grads.items()}
        old = [tf.convert_to_tensor(slot) for slot in slots]
        new, descent = self.rule(old, tf.cast(pack.join(dense), dtype), coefficients)
        for slot, before, after in zip(slots, old, new, strict=True):
            slot.assign(pack.only(grads, after, before))
        descents = pack.split(descent)
        for i, variable in variables.items():
            decay = self._decay(i, scalars)
            if decay is not None:
                descents[i] += tf.cast(decay, dtype) * variable
            variable.assign_sub(descents[i])

    def _update_variable(self, index, gradient, scalars):
        variable = self._variable(index)
        slots = [tf_variable(self.own_slots[index][name]) for name in self.slot_names]
        dtype = slots[0].dtype
        coefficients = scalars.of(dtype)
        decay = self._decay(index, scalars)
        if gradients.is_sparse(gradient) and (self.lazy or not kernels.in_xla()):
            rows.step(
                lambda slots, gradient: self.rule(slots, gradient, coefficients),
                variable,
                slots,
                gradient,
                decay,
                lazy=self.lazy,
            )
            return
        gradient = tf.cast(gradients.dense(gradient, variable.shape), dtype)
        if kernels.has_fused_kernel(variable, slots[0]):
            if decay is not None:
                variable.assign_sub(tf.cast(decay, dtype) * variable)
            self.apply_kernel(variable, slots, gradient, coefficients)
            return
        weights = tf.cast(variable, dtype)
        new, descent = self.rule([tf.convert_to_tensor(s) for s in slots], gradient, coefficients)
        if decay is not None:
            descent += tf.cast(decay, dtype) * weights
        for slot, value in zip(slots, new, strict=True):
            slot.assign(value)
        variable.assign(tf.cast(weights - descent, variable.dtype))

    def _variable(self, index):
        return tf_variable(self._trainable_variables[index])

    def _decay(self, index, scalars):
        """The share of the weights that decoupled weight decay subtracts, or None."""
        if self.weight_decay is None or not self._use_weight_decay(self._variable(index)):
            return None
        return scalars.learning_rate * self.weight_decay

    def _constrain(self, indices):
        for index in indices:
            constraint = self._trainable_variables[index].constraint
            if constraint is not None:
                variable = self._variable(index)
                variable.assign(constraint(tf.convert_to_tensor(variable)))


class _Scalars:
    """The scalars of one step, computed once for each dtype."""

    def __init__(self, optimizer):
        self._optimizer = optimizer
        self.t = tf.cast(optimizer.iterations, tf.float64) + 1
        self.learning_rate = kernels.scalar(optimizer.learning_rate, tf.float64)
        self._of_dtype: dict[tf.DType, Coefficients] = {}

    def of(self, dtype):
        if dtype not in self._of_dtype:
            self._of_dtype[dtype] = self._optimizer.coefficients(self.t, self.learning_rate, dtype)
        return self._of_dtype[dtype]
