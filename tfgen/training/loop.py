"""The training loop: steps, records, validation, checkpoints, and the way back from them."""

import math
import signal
import time

from tfgen.errors import InputError
from tfgen.optimizers import averaged_weights
from tfgen.training import diagnosis, signals, state
from tfgen.training.checkpoint import DamagedError, State
from tfgen.training.replicated import Replicated

STEPS_OF_A_RECORD = 1000  # at most; there is one after each epoch in any case
SECONDS_OF_A_CALL, STEPS_OF_A_CALL = 0.1, 100  # at most; a signal waits for the call to end


def steps_of_a_call(seconds_per_step):
    """How many steps fit into one call; one while that is unknown, 0.

    >>> from tfgen.training.loop import steps_of_a_call
    >>> [steps_of_a_call(seconds) for seconds in (0.0, 0.0001, 0.005, 2.0)]
    [1, 100, 20, 1]
    """
    if not seconds_per_step:
        return 1
    return max(1, min(int(SECONDS_OF_A_CALL / seconds_per_step), STEPS_OF_A_CALL))


class Watcher:
    """What a loop tells of itself; a subclass overrides what it wants to hear."""

    def began(self, loop):
        """The first step comes next, or the first one after a resumption."""

    def stepped(self, loop):
        """One or more steps were taken."""

    def recorded(self, loop, record):
        """A record was added to the history."""

    def saved(self, loop):
        """A checkpoint was written."""

    def failed_to_save(self, loop, error):
        """A checkpoint could not be written; the training goes on."""

    def ended(self, loop):
        """The training is over, one way or another."""


class Loop:
    """A training that can stop after any step and go on as if it had not.

    Everything that decides a step is a function of the seed and the step (order of the images,
    augmentation, noise, learning rate) or is in the checkpoint: weights, the optimizer's
    variables, the sums of the running record, the history.

    Args:
        model: compiled, within the scope of the strategy.
        strategy: a `tf.distribute.Strategy`.
        train: a `tfgen.data.stream.Stream`.
        validation: another one, or None.
        total_steps: of the whole training.
        checkpoints: a `tfgen.training.checkpoint.Checkpoints`.
        writes: whether this process writes them; only the chief of several workers does.
        every_steps, every_minutes: how often; None for never.
        watchers: a list of `Watcher`.

    Attributes:
        step: steps taken.
        history: records: dicts of `step`, `epoch`, `bits_per_dim` (the mean since the record
            before), `learning_rate`, and `val_bits_per_dim` after each epoch if there are
            validation images; with the averaged weights if the optimizer averages.
        best: the record with the best validation, or None.
        seconds: of training, those before a resumption included.
    """

    def __init__(
        self,
        model,
        strategy,
        train,
        validation,
        total_steps,
        checkpoints,
        *,
        writes=True,
        every_steps=None,
        every_minutes=None,
        watchers=(),
    ):
        self.model = model
        self.stream, self._validation = train, validation
        self.total_steps = total_steps
        self.step, self.history, self.best, self.seconds = 0, [], None, 0.0
        self._replicated = Replicated(model, strategy)
        self._checkpoints, self._writes = checkpoints, writes
        self._every_steps, self._every_seconds = every_steps, 60 * (every_minutes or math.inf)
        self._watchers = list(watchers)
        self._nats = self._images = 0.0
        self._unsaved_best = None
        self._diverges = False
        self._pace = self._mean_pace = 0.0
        self._saved_step = None
        self._first_arrays = None

    @property
    def epoch(self):
        """Epochs taken, with the part of the running one."""
        return self.step / self.stream.steps_per_epoch

    @property
    def running_bits_per_dim(self):
        """The mean since the last record, NaN right after one."""
        return self._bits(self._nats, self._images)

    def resume(self):
        """Go back to the newest checkpoint that is whole.

        Returns:
            `(path, reason)` of each newer one that is damaged.

        Raises:
            InputError: there is none, or it is of another recipe.
        """
        saved, damaged = self._checkpoints.latest()
        if saved is None:
            reasons = "".join(f"; {path.name}: {reason}" for path, reason in damaged)
            raise InputError(f"{self._checkpoints.directory} holds no checkpoint{reasons}")
        self._restore(saved)
        self._saved_step = self.step
        return damaged

    def run(self):
        """Train to the end.

        Raises:
            StoppedError: a signal came; the training was saved.
            InputError: the loss or a weight became NaN or infinite; the last good state was saved.
        """
        with signals.deferred() as request:
            self._initialize()
            self._started = time.monotonic() - self.seconds
            self._saved_at = time.monotonic()
            self._tell("began")
            self._run_to_the_end(request)

    def _run_to_the_end(self, request):
        try:
            self._run(request)
        finally:
            self.seconds = time.monotonic() - self._started
            self._tell("ended")

    def steps_in(self, seconds, measured_seconds=20.0):
        """How many steps, with their validations, take some time here: measured, then forgotten.

        Args:
            seconds: that the training may take.
            measured_seconds: that the measurement takes, less in a short training.
        """
        self._initialize()
        batches = self._replicated.batches(self.stream)
        self._take(batches, 1)  # The first one traces the graph.
        start, taken, stop = time.monotonic(), 0, False
        while not stop:
            is_over = time.monotonic() - start >= min(measured_seconds, 0.05 * seconds)
            found = self._take(batches, STEPS_OF_A_CALL, is_over)
            taken, stop = taken + len(found.steps), found.stop
        per_step = (time.monotonic() - start) / taken
        if self._validation is not None:
            start = time.monotonic()
            self._replicated.test(self._validation)
            per_step += (time.monotonic() - start) / self.stream.steps_per_epoch
        state.assign(self.model, self._first_arrays)
        return max(1, round(seconds / self._replicated.mean(per_step)))

    def wait_for_all(self):
        """Return when every worker has come here: none may leave while others need it."""
        self._replicated.wait_for_all()

    def choose(self, weights):
        """Give the model the weights that the training is about.

        Args:
            weights: "last", averaged if the optimizer averages, or "best" by validation.
        """
        if weights == "best" and self.best is not None:
            try:
                arrays = self._checkpoints.best().arrays
            except DamagedError as error:
                raise InputError(f"the best weights are lost: {error}") from None
        else:
            with averaged_weights(self.model.optimizer, required=False):
                arrays = state.weights_of(self.model)
        state.assign_weights(self.model, arrays)

    def _run(self, request):
        batches = self._replicated.batches(self.stream, self.step)
        while self.step < self.total_steps:
            stop = self._advance(batches, self._undisturbed_steps(), request.number is not None)
            if self._diverges:
                self._diverged(self.step + 1)
            self._tell("stepped")
            if stop or (request.number is not None and self._replicated.alone):
                self._save()
                self.wait_for_all()
                raise signals.StoppedError(self.step, request.number or signal.SIGTERM)
            if self._is_due():
                self._try_to_save()
        if self._saved_step != self.step:
            self._save()

    def _undisturbed_steps(self):
        """Steps until something besides them has to be done."""
        periods = [self.stream.steps_per_epoch, STEPS_OF_A_RECORD]
        periods += [self._every_steps] if self._every_steps else []
        left = [period - self.step % period for period in periods]
        return min(*left, self.total_steps - self.step)

    def _advance(self, batches, steps, stop=False):
        """Up to so many steps, and what belongs to them; whether to stop now."""
        found = self._take(batches, steps, stop)
        for sums in found.steps:
            self._diverges = not math.isfinite(sums.nats)
            if self._diverges:
                return found.stop
            self.step += 1
            self._nats += sums.nats
            self._images += sums.images
        ends = self.step % self.stream.steps_per_epoch == 0 or self.step == self.total_steps
        if ends or self.step % STEPS_OF_A_RECORD == 0:
            self._record(validate=ends)
        return found.stop

    def _take(self, batches, steps, stop=False):
        """Up to so many steps in one call, of a length that all workers agree on."""
        steps = min(steps, steps_of_a_call(self._mean_pace))
        start = time.monotonic()
        found = self._replicated.train(batches, steps, stop=stop, pace=self._pace)
        self._pace = (time.monotonic() - start) / len(found.steps)
        self._mean_pace = found.pace
        return found

    def _record(self, validate):
        rate = self.model.optimizer.learning_rate
        record = {
            "step": self.step,
            "epoch": round(self.epoch, 6),
            "bits_per_dim": self.running_bits_per_dim,
            "learning_rate": float(rate),
        }
        self._nats = self._images = 0.0
        if validate and self._validation is not None:
            with averaged_weights(self.model.optimizer, required=False):
                found = self._replicated.test(self._validation)
                bits = record["val_bits_per_dim"] = self._bits(found.nats, found.images)
                if math.isfinite(bits) and (
                    self.best is None or bits < self.best["val_bits_per_dim"]
                ):
                    self.best = record
                    self._unsaved_best = State(state.weights_of(self.model), record)
        self.history.append(record)
        self._tell("recorded", record)

    def _bits(self, nats, images):
        if not images:
            return math.nan
        return nats / (images * self.model.num_dims * math.log(2.0))

    # Before the first step

    def _initialize(self):
        """Weights that are set from the first batch are set from all of it, on any replicas."""
        if not getattr(self.model, "initialized", True):
            self.model.initialize(self._whole_batch(0)[0])
        if self._saved_step is None:
            self._first_arrays = state.arrays_of(self.model)

    # Checkpoints

    def _is_due(self):
        by_steps = self._every_steps and self.step % self._every_steps == 0
        return by_steps or time.monotonic() - self._saved_at >= self._every_seconds

    def _try_to_save(self):
        try:
            self._save()
        except OSError as error:  # A full disk may have room again by the next time.
            self._saved_at = time.monotonic()
            self._tell("failed_to_save", error)

    def _save(self):
        # The figures of a step are those before its update; several workers see at the next step.
        if self._replicated.alone and not state.is_finite(self.model):
            self._diverged(self.step)
        self._write()

    def _write(self):
        self.seconds = time.monotonic() - self._started
        if self._writes:
            if self._unsaved_best is not None:
                self._checkpoints.save_best(self._unsaved_best)
            now = State(state.arrays_of(self.model), self._facts())
            self._checkpoints.save(self.step, now)
        self._unsaved_best = self._first_arrays = None
        self._saved_step, self._saved_at = self.step, time.monotonic()
        self._tell("saved")

    def _facts(self):
        return {
            "step": self.step,
            "nats": self._nats,
            "images": self._images,
            "history": list(self.history),
            "best": self.best,
            "seconds": self.seconds,
        }

    def _restore(self, saved):
        state.assign(self.model, saved.arrays)
        facts = saved.facts
        self.step, self.history, self.best = facts["step"], facts["history"], facts["best"]
        self._nats, self._images = facts["nats"], facts["images"]
        self.seconds = facts["seconds"]

    def _diverged(self, step):
        """Take the steps since the last checkpoint again, and tell where the first bad number is.

        The state before that step, the last good one, is saved.

        Raises:
            InputError: always.
        """
        watchers, self._watchers = self._watchers, []
        try:
            good = self._last_good(step)
        finally:
            self._watchers = watchers
        self._restore(good)
        self._write()
        images, labels = self._whole_batch(self.step)
        cause = diagnosis.culprit(self.model, images, labels) or "one device only"
        state.assign(self.model, good.arrays)
        raise InputError(
            f"the training diverged at step {self.step + 1} (epoch {int(self.epoch) + 1}): the "
            f"first number that is not finite is in {cause}; the batch has SHA-256 "
            f"{diagnosis.batch_hash(images)}; the state after step {self.step} is kept in "
            f"{self._checkpoints.directory}; a smaller optimizer.learning_rate or "
            "optimizer.global_clipnorm may help"
        )

    def _last_good(self, diverged):
        """The state before the first step with a bad number, found by taking the steps again."""
        self._go_back(diverged)
        batches = self._replicated.batches(self.stream, self.step)
        while self.step < diverged:
            good = State(state.arrays_of(self.model), self._facts())
            self._advance(batches, 1)
            if self._diverges or not state.is_finite(self.model):
                return good
        raise InputError(
            f"the training diverged at step {diverged}, and not when the steps since the last "
            "checkpoint were taken again: the device does not compute the same twice; "
            "--resume goes on from that checkpoint"
        )

    def _go_back(self, diverged):
        """To the newest checkpoint, or to the state before the first step."""
        saved, _ = self._checkpoints.latest()
        if saved is None and self._first_arrays is not None:
            facts = {"step": 0, "nats": 0.0, "images": 0.0, "history": [], "best": None}
            saved = State(self._first_arrays, {**facts, "seconds": self.seconds})
        place = self._checkpoints.directory
        if not self._replicated.agree(-1 if saved is None else saved.facts["step"]):
            raise InputError(
                f"the training diverged at step {diverged}; the steps before cannot be taken again "
                f"to find where, because the workers do not all see the checkpoints of {place}: "
                "give them an --out directory that all of them share"
            )
        if saved is None:
            raise InputError(
                f"the training diverged at step {diverged}, and {place} holds no checkpoint from "
                "which the steps before could be taken again to find where"
            )
        self._restore(saved)

    def _whole_batch(self, step):
        batch = self.stream.global_batch(step)
        return batch if isinstance(batch, tuple) else (batch, None)

    def _tell(self, event, *arguments):
        for watcher in self._watchers:
            getattr(watcher, event)(self, *arguments)
