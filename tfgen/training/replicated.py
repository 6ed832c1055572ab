"""Steps of a model on all replicas of a strategy, with figures of the whole global batch."""

import dataclasses

import tensorflow as tf

from tfgen.training.strategy import worker_count

STEPS_OF_A_TEST = 16  # in a call; an interruption waits for as many


@dataclasses.dataclass(frozen=True)
class Sums:
    """What one step found, over all replicas and workers.

    Attributes:
        nats: sum of the negative log-likelihoods.
        images: how many there were.
    """

    nats: float
    images: float


@dataclasses.dataclass(frozen=True)
class Group:
    """What the steps of one call found.

    Attributes:
        steps: the `Sums` of each step that was taken.
        stop: whether a worker asks to stop.
        pace: the mean over the workers of the paces that they gave.
    """

    steps: list
    stop: bool
    pace: float


class Replicated:
    """Training and validation steps of one model on all replicas.

    Each image of a global batch is seen by exactly one replica, gradients are summed before the
    optimizer takes its step, and figures are sums over all replicas and workers.

    Several steps can be taken in one call, a loop in the graph: a step of a small network takes
    less time than TensorFlow needs to be called from Python. It is the same graph for any number
    of steps, so how steps are grouped changes no bit of what they compute.

    Args:
        model: compiled, within the scope of the strategy.
        strategy: a `tf.distribute.Strategy`; the default one for a single device.

    Attributes:
        alone: whether there are no other workers.
    """

    def __init__(self, model, strategy):
        self._strategy = strategy
        self.alone = worker_count(strategy) == 1

        def take_step(images, labels):
            return _sums(model.gradient_step(images, labels))

        def look(images, labels):
            del labels
            return _sums(-model._log_prob(images))

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

    def train(self, batches, steps=1, *, stop=False, pace=0.0):
        """Steps of the optimizer on the next batches.

        Fewer are taken if a step's figures are not finite, or if a worker wants to stop: one then.

        Args:
            batches: of `batches`.
            steps: how many at most; the same for all workers.
            stop: whether this worker wants to stop: all of them learn it at the same step.
            pace: a number of this worker's, such as its seconds a step, of which all learn the
                mean.

        Returns:
            A `Group`.
        """
        return self._result(self._train, batches, steps, stop, pace)

    def test(self, stream):
        """The sums of `-log_prob` over one epoch of a stream."""
        batches = self.batches(stream)
        found = []
        while len(found) < stream.steps_per_epoch:
            left = stream.steps_per_epoch - len(found)
            found += self._result(self._test, batches, min(left, STEPS_OF_A_TEST)).steps
        return Sums(sum(step.nats for step in found), sum(step.images for step in found))

    def mean(self, value):
        """The mean of a number over all workers: the same for each of them."""
        strategy = self._strategy

        @tf.function(autograph=False)
        def mean():
            own = strategy.run(tf.constant, (value, tf.float64))
            return strategy.reduce("MEAN", own, axis=None)

        return float(mean())

    def agree(self, number):
        """Whether all workers come with the same whole number."""
        if self.alone:
            return True
        return self.mean(float(number) ** 2) == self.mean(float(number)) ** 2

    def wait_for_all(self):
        """Return when every worker has come here."""
        if not self.alone:
            self.mean(0.0)

    def _on_replicas(self, function):
        strategy = self._strategy

        def on_replica(images, labels, told):
            return tf.concat([function(images, labels), told], axis=0)

        @tf.function(autograph=False)
        def on_all(batches, steps, told):
            def goes_on(taken, found, latest):
                del found
                return (taken < steps) & (latest[2] == 0.0) & tf.math.is_finite(latest[0])

            def step(taken, found, latest):
                batch = next(batches)
                images, labels = batch if isinstance(batch, tuple) else (batch, None)
                latest = strategy.run(on_replica, (images, labels, told))
                latest = strategy.reduce("SUM", latest, axis=None)
                return taken + 1, found.write(taken, latest), latest

            found = tf.TensorArray(tf.float64, steps, element_shape=[4])
            start = tf.constant(0), found, tf.zeros([4], tf.float64)
            taken, found, _ = tf.while_loop(goes_on, step, start, parallel_iterations=1)
            return found.stack()[:taken]

        return on_all

    def _result(self, function, batches, steps, stop=False, pace=0.0):
        # Figures in float64 on the way: they are averaged over many steps.
        told = tf.constant([float(stop), pace], tf.float64)
        rows = function(batches, tf.constant(steps), told).numpy().tolist()
        return Group(
            steps=[Sums(nats, images) for nats, images, _, _ in rows],
            stop=rows[-1][2] > 0,
            pace=rows[-1][3] / self._strategy.num_replicas_in_sync,
        )


def _sums(nats):
    return tf.stack([tf.reduce_sum(tf.cast(nats, tf.float64)), tf.cast(tf.size(nats), tf.float64)])
