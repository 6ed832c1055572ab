"""What Adam and AdaMax have in common: everything but the algorithm."""

import keras
import tensorflow as tf

from tfgen.errors import InputError
from tfgen.optimizers import accumulation, averaging, checks, gradients, kernels, packing, rows
from tfgen.optimizers import state as states
from tfgen.optimizers.state import native


class AdaptiveOptimizer(keras.optimizers.Optimizer):
    """A Keras optimizer whose state is a few slots of each variable's size.

    A subclass names its `slot_names` and writes three methods: `coefficients`, the scalars of a
    step; `rule`, the step on tensors; `apply_kernel`, the same step by a fused kernel.

    A step is taken on each device by itself, after the gradients were summed over the replicas;
    so clipping, accumulation and averaging see what one device would see.
    """

    slot_names = ()

    def __init__(self, learning_rate, *, lazy=False, temporal_averaging=False, **keras_arguments):
        learning_rate = checks.learning_rate(learning_rate)
        checks.keras_arguments(keras_arguments)
        # Keras would hold a number in float32, off by some 1e-8 of it.
        number = None if callable(learning_rate) else learning_rate
        super().__init__(
            learning_rate=learning_rate if number is None else lambda: number, **keras_arguments
        )
        if number is not None:
            self._learning_rate = self.add_variable(
                shape=(),
                initializer=lambda shape, dtype: tf.constant(number, dtype, shape),
                dtype="float64",
                aggregation="only_first_replica",
                name="learning_rate",
            )
        self.packs, self.own_slots = [], []
        self.lazy = bool(lazy)
        self.temporal_averaging = bool(temporal_averaging)
        if self.lazy and self.gradient_accumulation_steps:
            raise InputError(
                "lazy=True and gradient_accumulation_steps="
                f"{self.gradient_accumulation_steps}: accumulated gradients are dense, so no row "
                "could be left out. Give one of the two."
            )

    # What a subclass writes

    def coefficients(self, t, learning_rate, dtype):
        """The scalars of step `t` (from 1) as a dict of tensors of `dtype`.

        `t` and `learning_rate` are float64 scalars.
        """
        raise NotImplementedError

    def rule(self, slots, gradient, coefficients):
        """(new slots, what to subtract from the weights), from tensors."""
        raise NotImplementedError

    def apply_kernel(self, variable, slots, gradient, coefficients):
        """The step in place, by a fused kernel."""
        raise NotImplementedError

    # State

    def build(self, variables):
        if self.built:
            return
        variables = list(variables)
        super().build(variables)
        names = [*self.slot_names, *([averaging.SLOT] if self.temporal_averaging else [])]
        natives = [native(v) for v in variables]
        trained = [
            i for i, v in enumerate(variables) if not self._overwrite_variable_with_gradient(v)
        ]
        # A packed table could not have its rows left alone.
        plans = [] if self.lazy else packing.plan(natives, trained)
        self.packs = [
            packing.Pack(
                plan,
                [natives[i].shape for i in plan],
                {name: self._add_packed(name, number, natives, plan) for name in names},
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

    def add_variable_from_reference(self, reference_variable, name=None, initializer="zeros"):
        """As in Keras, but float32 for a variable of lower precision."""
        variable = native(reference_variable)
        with self._distribution_strategy.extended.colocate_vars_with(variable):
            return self.add_variable(
                shape=variable.shape,
                initializer=initializer,
                dtype="float32" if variable.dtype.size < 4 else variable.dtype.name,
                layout=getattr(reference_variable, "_layout", None),
                name=states.variable_name(reference_variable, name or "var"),
            )

    def _overwrite_model_variables_with_average_value(self, trainable_variables):
        """As in Keras, for averages that may be of higher precision than the variables.

        Before the first update there is no average: gradients may still be accumulated, or too
        large for float16. The variables then keep what they have.
        """
        averages = self._model_variables_moving_average
        begun = tf.convert_to_tensor(self.iterations) > 0
        for variable, average in zip(trainable_variables, averages, strict=True):
            if average is not None:
                self._distribution_strategy.extended.update(
                    native(variable), averaging.overwrite, args=(native(average), begun)
                )

    def _add_packed(self, name, number, variables, plan):
        first = variables[plan[0]]
        with self._distribution_strategy.extended.colocate_vars_with(first):
            return self.add_variable(
                shape=(sum(variables[i].shape.num_elements() for i in plan),),
                dtype=first.dtype.name,
                name=f"packed_{number}_{name}",
            )

    def slot(self, variable, name):
        """The present value of a slot of `variable`, as a tensor of its shape.

        Args:
            variable: a variable that the optimizer was built with.
            name: one of `slot_names`.

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

    def save_own_variables(self, store):
        states.save(self, store)

    def load_own_variables(self, store):
        states.load(self, store)

    def get_config(self):
        return {
            **super().get_config(),
            "lazy": self.lazy,
            "temporal_averaging": self.temporal_averaging,
        }

    # A step: from all replicas to each device

    def apply(self, grads, trainable_variables=None):
        grads = list(grads)
        if not grads:
            return
        if trainable_variables is None:
            trainable_variables = self._trainable_variables
            if not self.built or len(grads) != len(trainable_variables):
                raise InputError(
                    f"{len(grads)} gradients were given without their variables, and the "
                    f"optimizer was built for {len(trainable_variables)}: give the variables."
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
                self._step_everywhere(grads, [native(v) for v in variables])
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
        dtype = native(slots[0]).dtype
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
        slots = [native(self.own_slots[index][name]) for name in self.slot_names]
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
        if kernels.fused(variable, slots[0]):
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
        return native(self._trainable_variables[index])

    def _decay(self, index, scalars):
        """The share of the weights that decoupled weight decay takes away, or None."""
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
        self._of_dtype = {}

    def of(self, dtype):
        if dtype not in self._of_dtype:
            self._of_dtype[dtype] = self._optimizer.coefficients(self.t, self.learning_rate, dtype)
        return self._of_dtype[dtype]
