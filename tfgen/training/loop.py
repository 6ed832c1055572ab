"""The training loop: steps, records, validation, checkpoints, and resumption from them."""

from __future__ import annotations

import contextlib
import math
import signal
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import keras
import tensorflow as tf

from tfgen.data.stream import Stream
from tfgen.errors import InputError
from tfgen.models.base import GenerativeModel
from tfgen.optimizers import averaged_weights
from tfgen.training import diagnosis, signals, state
from tfgen.training.callbacks import CallbackList, Record
from tfgen.training.checkpoint import Checkpoints, State
from tfgen.training.replicated import Replicated

STEPS_PER_RECORD = 1000  # At most; there is also a record after each epoch.
SECONDS_PER_CALL, MAX_STEPS_PER_CALL = 0.1, 100  # At most: signals wait for the end of a call.


def steps_per_call(seconds_per_step: float) -> int:
    """The number of steps to run in one call; 1 while the duration of a step is unknown (0).

    >>> from tfgen.training.loop import steps_per_call
    >>> [steps_per_call(seconds) for seconds in (0.0, 0.0001, 0.005, 2.0)]
    [1, 100, 20, 1]
    """
    if not seconds_per_step:
        return 1
    return max(1, min(int(SECONDS_PER_CALL / seconds_per_step), MAX_STEPS_PER_CALL))


class Loop:
    """A training loop that can stop after any step and be resumed bit by bit.

    Everything that determines a step is a function of the seed and the step (order of the images,
    augmentation, noise, learning rate) or is in the checkpoint: weights, the optimizer's state,
    the sums since the last record, the history. The state of callbacks is not.

    The callbacks are called as in `keras.Model.fit`, with these differences: several steps may run
    between `on_train_batch_begin` and `on_train_batch_end`, whose `batch` is the last of these
    steps, as with `steps_per_execution`; `logs` contain `bits_per_dim` since the last record, and
    at the end of an epoch `learning_rate` and `val_bits_per_dim`; epochs and batches count from the
    start of training, not of the process; `on_train_end` is called after an error too. A callback
    that sets `model.stop_training` ends training there; with several workers, all must set it.

    Args:
        model: a model compiled within the scope of the strategy.
        strategy: a `tf.distribute.Strategy`.
        train: the stream of training images.
        validation: the stream of validation images, or None.
        total_steps: number of steps of the whole training.
        checkpoints: where checkpoints are written.
        writes: whether this process writes them; only the chief of several workers does.
        every_steps, every_minutes: intervals between checkpoints, or None.
        callbacks: Keras callbacks.

    Attributes:
        step: the number of steps taken.
        history: records: dicts of `step`, `epoch`, `bits_per_dim` (the mean since the previous
            record), `learning_rate`, and `val_bits_per_dim` after each epoch if there are
            validation images; of the averaged weights if the optimizer keeps averages.
        best: the record with the best validation, or None.
        seconds: time of training, including the time before it was resumed.
        saved_step: the step of the last checkpoint, or None.
    """

    def __init__(
        self,
        model: GenerativeModel,
        strategy: tf.distribute.Strategy,
        train: Stream,
        validation: Stream | None,
        total_steps: int,
        checkpoints: Checkpoints,
        *,
        writes: bool = True,
        every_steps: int | None = None,
        every_minutes: float | None = None,
        callbacks: Iterable[keras.callbacks.Callback] = (),
    ) -> None:
        self.model = model
        self.stream, self._validation = train, validation
        self.total_steps = total_steps
        self.step, self.seconds = 0, 0.0
        self.history: list[Record] = []
        self.best: Record | None = None
        self.replicated = Replicated(model, strategy)
        self.checkpoints, self._writes = checkpoints, writes
        self._every_steps, self._every_seconds = every_steps, 60 * (every_minutes or math.inf)
        self._given_callbacks = list(callbacks)
        self._callbacks = CallbackList([], self)
        self._nll = self._images = 0.0
        self._unsaved_best: State | None = None
        self._seconds_per_step = self._mean_seconds_per_step = 0.0
        self.saved_step: int | None = None
        self.initial: State | None = None

    @property
    def epoch(self) -> float:
        """The number of epochs so far, with a fraction for the current one."""
        return self.step / self.stream.steps_per_epoch

    @property
    def running_bits_per_dim(self) -> float:
        """The mean bits/dim since the last record; NaN directly after a record."""
        return self._bits(self._nll, self._images)

    def resume(self) -> list[tuple[Path, str]]:
        """Go back to the newest intact checkpoint.

        Returns:
            `(path, reason)` of each newer checkpoint, all of which are damaged.

        Raises:
            InputError: there is no intact checkpoint, or it belongs to another recipe.
        """
        saved, damaged = self.checkpoints.latest()
        if saved is None:
            reasons = "".join(f"; {path.name}: {reason}" for path, reason in damaged)
            raise InputError(f"{self.checkpoints.directory} contains no checkpoint{reasons}")
        self.restore(saved)
        self.saved_step = self.step
        return damaged

    def run(self) -> None:
        """Train to the end.

        Raises:
            StoppedError: a signal was received; training was saved.
            InputError: the loss or a weight became NaN or infinite; the last good state was saved.
        """
        with signals.deferred() as request:
            self._initialize()
            self._started = time.monotonic() - self.seconds
            self._saved_at = time.monotonic()
            self._callbacks = CallbackList(self._given_callbacks, self)
            self.model.stop_training = False
            self._callbacks.on_train_begin()
            try:
                self._run_steps(request)
            finally:
                self.seconds = time.monotonic() - self._started
                self._callbacks.on_train_end()

    def time_of_a_step(self, measured_seconds: float) -> tuple[float, float]:
        """Measure a step on this machine; the weights do not change.

        Args:
            measured_seconds: time of the measurement.

        Returns:
            Seconds that compiling the step takes, and seconds of a step with its share of the
            validation after each epoch.
        """
        self._initialize()
        before = state.arrays_of(self.model)
        batches = self.replicated.batches(self.stream)
        start = time.monotonic()
        self._take(batches, 1)  # The first step traces the graph.
        compilation = time.monotonic() - start
        start, taken, stop = time.monotonic(), 0, False
        while not stop:
            is_over = time.monotonic() - start >= measured_seconds
            found = self._take(batches, MAX_STEPS_PER_CALL, is_over)
            taken, stop = taken + len(found.steps), found.stop
        per_step = (time.monotonic() - start) / taken
        if self._validation is not None:
            start = time.monotonic()
            self.replicated.test(self._validation)
            per_step += (time.monotonic() - start) / self.stream.steps_per_epoch
        state.assign(self.model, before)
        return compilation, per_step

    def wait_for_all(self) -> None:
        """Return when every worker has called this: none may exit while others need it."""
        self.replicated.wait_for_all()

    def _run_steps(self, request):
        batches = self.replicated.batches(self.stream, self.step)
        epoch = None
        while self.step < self.total_steps:
            if epoch != self.step // self.stream.steps_per_epoch:
                epoch = self.step // self.stream.steps_per_epoch
                self._callbacks.on_epoch_begin(epoch)
            self._callbacks.on_train_batch_begin(self.step % self.stream.steps_per_epoch)
            stop, is_finite = self.take_steps(
                batches, self._steps_until_event(), request.number is not None
            )
            if not is_finite:
                diagnosis.report_divergence(self, self.step + 1)
            self._callbacks.on_train_batch_end(
                (self.step - 1) % self.stream.steps_per_epoch,
                {"bits_per_dim": self.running_bits_per_dim},
            )
            self._end_if_asked()
            self.record_if_due()
            self._end_if_asked()
            if stop or (request.number is not None and self.replicated.alone):
                self._save()
                self.wait_for_all()
                raise signals.StoppedError(self.step, request.number or signal.SIGTERM)
            if self._is_due():
                self._try_to_save()
        if self.saved_step != self.step:
            self._save()
        if self.replicated.any(request.number is not None):
            raise signals.StoppedError(self.step, request.number or signal.SIGTERM)

    def _end_if_asked(self):
        if self.model.stop_training:
            self.total_steps = self.step

    def _steps_until_event(self):
        """The number of steps until the next record, checkpoint, validation or the end."""
        periods = [self.stream.steps_per_epoch, STEPS_PER_RECORD]
        periods += [self._every_steps] if self._every_steps else []
        left = [period - self.step % period for period in periods]
        return min(*left, self.total_steps - self.step)

    def take_steps(self, batches: Iterator, steps: int, stop: bool = False) -> tuple[bool, bool]:
        """Take one or more steps in one call, at most `steps`.

        Args:
            batches: the iterator of `Replicated.batches`.
            steps: the maximum number of steps.
            stop: whether this worker asks to stop.

        Returns:
            Whether a worker asks to stop, and whether all losses are finite. The first step with a
            loss that is not finite is not counted.
        """
        found = self._take(batches, steps, stop)
        for sums in found.steps:
            if not math.isfinite(sums.nll):
                return found.stop, False
            self.step += 1
            self._nll += sums.nll
            self._images += sums.images
        return found.stop, True

    def _take(self, batches, steps, stop=False):
        """Take up to `steps` steps in one call, as many on all workers."""
        steps = min(steps, steps_per_call(self._mean_seconds_per_step))
        start = time.monotonic()
        found = self.replicated.train(
            batches, steps, stop=stop, seconds_per_step=self._seconds_per_step
        )
        self._seconds_per_step = (time.monotonic() - start) / len(found.steps)
        self._mean_seconds_per_step = found.seconds_per_step
        return found

    # Records

    def record_if_due(self) -> None:
        """Add a record to the history at the end of an epoch or within a long one."""
        ends_epoch = self.step % self.stream.steps_per_epoch == 0 or self.step == self.total_steps
        if not ends_epoch and self.step % STEPS_PER_RECORD:
            return
        record = {
            "step": self.step,
            "epoch": round(self.epoch, 6),
            "bits_per_dim": self.running_bits_per_dim,
            "learning_rate": float(self.model.optimizer.learning_rate),
        }
        self._nll = self._images = 0.0
        if ends_epoch and self._validation is not None:
            self._validate(record, self._validation)
        self.history.append(record)
        self._callbacks.on_record(record)
        if ends_epoch:
            logs = {key: record[key] for key in record if key not in ("step", "epoch")}
            self._callbacks.on_epoch_end((self.step - 1) // self.stream.steps_per_epoch, logs)

    def _validate(self, record, validation):
        self._callbacks.on_test_begin()
        with averaged_weights(self.model.optimizer, required=False):
            found = self.replicated.test(validation)
            bits = record["val_bits_per_dim"] = self._bits(found.nll, found.images)
            if math.isfinite(bits) and (self.best is None or bits < self.best["val_bits_per_dim"]):
                self.best = record
                self._unsaved_best = State(state.weights_of(self.model), record)
        self._callbacks.on_test_end({"bits_per_dim": bits})

    def _bits(self, nll, images):
        if not images:
            return math.nan
        return nll / (images * self.model.num_dims * math.log(2.0))

    def _initialize(self):
        """Set weights that depend on the first batch from the whole batch, on all replicas."""
        if not self.model.initialized:
            self.model.initialize(self.global_batch(0)[0])
        if self.saved_step is None:
            self.initial = self.snapshot()

    # Checkpoints

    def snapshot(self) -> State:
        """The state after the current step, as a checkpoint contains it."""
        facts = {
            "step": self.step,
            "nll": self._nll,
            "images": self._images,
            "history": list(self.history),
            "best": self.best,
            "seconds": self.seconds,
            "total_steps": self.total_steps,
        }
        return State(state.arrays_of(self.model), facts)

    def restore(self, saved: State) -> None:
        """Restore the state of a `snapshot`.

        Raises:
            InputError: the state belongs to another recipe.
        """
        state.assign(self.model, saved.arrays)
        facts = saved.facts
        self.step, self.history, self.best = facts["step"], list(facts["history"]), facts["best"]
        self._nll, self._images, self.seconds = facts["nll"], facts["images"], facts["seconds"]
        self.total_steps = facts["total_steps"]

    def _is_due(self):
        by_steps = self._every_steps and self.step % self._every_steps == 0
        return by_steps or time.monotonic() - self._saved_at >= self._every_seconds

    def _try_to_save(self):
        try:
            self._save()
        except OSError as error:  # A full disk may have space again by the next time.
            self._saved_at = time.monotonic()
            self._callbacks.on_save_error(error)

    def _save(self):
        # The loss of a step is computed before its update; several workers detect it a step later.
        if self.replicated.alone and not state.is_finite(self.model):
            diagnosis.report_divergence(self, self.step)
        self.write()

    def write(self) -> None:
        """Write a checkpoint, and the best weights if they are new."""
        self.seconds = time.monotonic() - self._started
        if self._writes:
            if self._unsaved_best is not None:
                self.checkpoints.save_best(self._unsaved_best)
            self.checkpoints.save(self.step, self.snapshot())
        self._unsaved_best = self.initial = None
        self.saved_step, self._saved_at = self.step, time.monotonic()
        self._callbacks.on_save()

    # For `tfgen.training.diagnosis`

    @contextlib.contextmanager
    def without_callbacks(self) -> Iterator[None]:
        """Within the context, no callback is called."""
        callbacks, self._callbacks = self._callbacks, CallbackList([], self)
        try:
            yield
        finally:
            self._callbacks = callbacks

    def global_batch(self, step: int) -> tuple[tf.Tensor, tf.Tensor | None]:
        """The images of a step on all replicas, and their labels if the model has classes."""
        batch = self.stream.global_batch(step)
        return batch if isinstance(batch, tuple) else (batch, None)
