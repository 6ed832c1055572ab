"""Steps of a model on all replicas of a strategy, with sums over the whole global batch."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import tensorflow as tf

from tfgen.data.stream import Stream
from tfgen.models.base import GenerativeModel
from tfgen.training.strategy import worker_count

TEST_STEPS_PER_CALL = 16  # At most: signals wait for the end of a call.


@dataclasses.dataclass(frozen=True)
class Sums:
    """Sums of one step over all replicas and workers.

    Attributes:
        nll: sum of the negative log-likelihoods in nats.
        images: number of images.
    """

    nll: float
    images: float


@dataclasses.dataclass(frozen=True)
class Group:
    """The results of the steps of one call.

    Attributes:
        steps: the sums of each step that was taken.
        stop: whether a worker asks to stop.
        seconds_per_step: the mean over the workers of the argument `seconds_per_step`.
    """

    steps: list[Sums]
    stop: bool
    seconds_per_step: float


class Replicated:
    """Training and validation steps of one model on all replicas.

    Each image of a global batch is seen by exactly one replica, gradients are summed before the
    optimizer takes its step, and losses are summed over all replicas and workers.

    Several steps can be taken in one call, as a loop in the graph, because a step of a small
    network takes less time than calling TensorFlow from Python. The graph is the same for any
    number of steps, so the grouping of steps into calls does not change any bit of their results.

    Args:
        model: a model compiled within the scope of the strategy.
        strategy: a `tf.distribute.Strategy`; the default one for a single device.

    Attributes:
        alone: whether there are no other workers.
    """

    def __init__(self, model: GenerativeModel, strategy: tf.distribute.Strategy) -> None:
        self._model, self._strategy = model, strategy
        self.alone = worker_count(strategy) == 1

        def take_step(images, labels):
            return _sums(model.gradient_step(images, labels))

        def test_step(images, labels):
            del labels
            return _sums(-model.log_prob(images, num_samples=model.num_evaluation_samples))

        self._train = self._on_replicas(
            tf.function(take_step, jit_compile=True) if model.jit_compile is True else take_step
        )
        self._test = self._on_replicas(test_step)

    def batches(self, stream: Stream, step: int = 0) -> Iterator:
        """An iterator over the batches of a stream from a step on."""

        def of_worker(context):
            replicas = context.num_replicas_in_sync
            local = replicas // context.num_input_pipelines
            return stream.from_step(
                step,
                replicas=replicas,
                first_replica=context.input_pipeline_id * local,
                local_replicas=local,
            )

        return iter(self._strategy.distribute_datasets_from_function(of_worker))

    def train(
        self,
        batches: Iterator,
        steps: int = 1,
        *,
        stop: bool = False,
        seconds_per_step: float = 0.0,
    ) -> Group:
        """Steps of the optimizer on the next batches.

        The call ends early after a step whose loss is not finite, and after one step if a
        worker asks to stop.

        Args:
            batches: the iterator of `batches`.
            steps: the maximum number of steps, the same on all workers.
            stop: whether this worker asks to stop; all workers receive it at the same step.
            seconds_per_step: time of a step on this worker; all workers receive the mean.
        """
        return self._result(self._train, batches, steps, stop, seconds_per_step)

    def test(self, stream: Stream) -> Sums:
        """The sums of `-log_prob` over one epoch of a stream."""
        self._share_statistics()
        batches = self.batches(stream)
        found: list[Sums] = []
        while len(found) < stream.steps_per_epoch:
            left = stream.steps_per_epoch - len(found)
            found += self._result(self._test, batches, min(left, TEST_STEPS_PER_CALL)).steps
        return Sums(sum(step.nll for step in found), sum(step.images for step in found))

    def mean(self, value: float) -> float:
        """The mean of a number over all workers, the same on all of them."""
        strategy = self._strategy

        @tf.function(autograph=False)
        def mean():
            own = strategy.run(tf.constant, (value, tf.float64))
            return strategy.reduce("MEAN", own, axis=None)

        return float(mean())

    def agree(self, number: int) -> bool:
        """Whether all workers give the same integer."""
        if self.alone:
            return True
        return self.mean(float(number) ** 2) == self.mean(float(number)) ** 2

    def any(self, condition: bool) -> bool:
        """Whether a condition is true on at least one worker, the same on all of them."""
        return condition if self.alone else self.mean(float(condition)) > 0.0

    def wait_for_all(self) -> None:
        """Return when every worker has called this."""
        if not self.alone:
            self.mean(0.0)

    def _share_statistics(self):
        """Copy the statistics of BatchNormalization, which each replica has, from the first one.

        Checkpoints and finished models contain those of the first replica.
        """
        if self._strategy.num_replicas_in_sync > 1:
            for weight in self._model.non_trainable_weights:
                weight.assign(tf.convert_to_tensor(weight.value))

    def _on_replicas(self, function):
        strategy = self._strategy

        def on_replica(images, labels, message):
            return tf.concat([function(images, labels), message], axis=0)

        @tf.function(autograph=False)
        def on_all(batches, steps, message):
            def continues(taken, found, latest):
                del found
                return (taken < steps) & (latest[2] == 0.0) & tf.math.is_finite(latest[0])

            def step(taken, found, latest):
                batch = next(batches)
                images, labels = batch if isinstance(batch, tuple) else (batch, None)
                latest = strategy.run(on_replica, (images, labels, message))
                latest = strategy.reduce("SUM", latest, axis=None)
                return taken + 1, found.write(taken, latest), latest

            found = tf.TensorArray(tf.float64, steps, element_shape=[4])
            start = tf.constant(0), found, tf.zeros([4], tf.float64)
            taken, found, _ = tf.while_loop(continues, step, start, parallel_iterations=1)
            return found.stack()[:taken]

        return on_all

    def _result(self, function, batches, steps, stop=False, seconds_per_step=0.0):
        # Sums are float64, because they are averaged over many steps.
        message = tf.constant([float(stop), seconds_per_step], tf.float64)
        rows = function(batches, tf.constant(steps), message).numpy().tolist()
        return Group(
            steps=[Sums(nll, images) for nll, images, _, _ in rows],
            stop=rows[-1][2] > 0,
            seconds_per_step=rows[-1][3] / self._strategy.num_replicas_in_sync,
        )


def _sums(nll):
    return tf.stack([tf.reduce_sum(tf.cast(nll, tf.float64)), tf.cast(tf.size(nll), tf.float64)])
