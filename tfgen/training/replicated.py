"""Steps of a model on all replicas of a strategy, with figures of the whole global batch."""

import dataclasses

import tensorflow as tf

from tfgen.training.strategy import worker_count


@dataclasses.dataclass(frozen=True)
class Sums:
    """What one step found, over all replicas and workers.

    Attributes:
        nats: sum of the negative log-likelihoods.
        images: how many there were.
        stop: whether a worker asks to stop.
    """

    nats: float
    images: float
    stop: bool = False


class Replicated:
    """Training and validation steps of one model on all replicas.

    Each image of a global batch is seen by exactly one replica, gradients are summed before the
    optimizer takes its step, and figures are sums over all replicas and workers.

    Args:
        model: compiled, within the scope of the strategy.
        strategy: a `tf.distribute.Strategy`; the default one for a single device.

    Attributes:
        alone: whether there are no other workers.
    """

    def __init__(self, model, strategy):
        self._strategy = strategy
        self.alone = worker_count(strategy) == 1
        # Figures in float64 on the way: they are averaged over many steps.
        self._flags = [tf.constant(flag, tf.float64) for flag in (0.0, 1.0)]

        def take_step(images, labels, stop):
            nats = model.gradient_step(images, labels)
            return tf.stack([*_sums(nats), stop])

        def look(images, labels, stop):
            del labels
            return tf.stack([*_sums(-model._log_prob(images)), stop])

        self._train = self._on_replicas(
            tf.function(take_step, jit_compile=True) if model.jit_compile is True else take_step
        )
        self._test = self._on_replicas(look)

    def batches(self, stream, step=0):
        """An iterator of the batches of a `tfgen.data.stream.Stream` from a step on."""

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

    def train(self, batches, stop=False):
        """One step of the optimizer on the next batch.

        Args:
            batches: of `batches`.
            stop: whether this worker wants to stop: all of them learn it at the same step.
        """
        return self._result(self._train(batches, self._flags[stop]))

    def test(self, stream):
        """The sums of `-log_prob` over one epoch of a stream."""
        batches = self.batches(stream)
        nats = images = 0.0
        for _ in range(stream.steps_per_epoch):
            found = self._result(self._test(batches, self._flags[False]))
            nats, images = nats + found.nats, images + found.images
        return Sums(nats, images)

    def mean(self, value):
        """The mean of a number over all workers: the same for each of them."""
        strategy = self._strategy

        @tf.function(autograph=False)
        def mean():
            own = strategy.run(tf.constant, (value, tf.float64))
            return strategy.reduce("MEAN", own, axis=None)

        return float(mean())

    def wait_for_all(self):
        """Return when every worker has come here."""
        if not self.alone:
            self.mean(0.0)

    def _on_replicas(self, function):
        strategy = self._strategy

        @tf.function(autograph=False)
        def on_all(batches, stop):
            batch = next(batches)
            images, labels = batch if isinstance(batch, tuple) else (batch, None)
            return strategy.reduce("SUM", strategy.run(function, (images, labels, stop)), axis=None)

        return on_all

    def _result(self, sums):
        nats, images, stop = sums.numpy().tolist()
        return Sums(nats, images, stop > 0)


def _sums(nats):
    return tf.reduce_sum(tf.cast(nats, tf.float64)), tf.cast(tf.size(nats), tf.float64)
