"""Request batching: rows of several requests in one run, as in TF Serving's batching session.

A `Scheduler` has the threads, which all models share, and a queue for each group of requests that
may run together: those with the same version, signature, outputs and shape of rows.
"""

from __future__ import annotations

import collections
import threading
import time
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import NamedTuple, TypeAlias

import numpy as np

from tfgen.export.serving.batching_parameters import Parameters
from tfgen.export.serving.deadlines import Deadline, LatestDeadline
from tfgen.export.serving.metrics import Metrics
from tfgen.export.serving.proto_tensors import Arrays
from tfgen.export.serving.statuses import ServingError, invalid

MAX_RANK = 6  # of tensors that TF Serving pads
Run: TypeAlias = Callable[[Arrays, Deadline], Arrays]


class Scheduler:
    """Threads that run the batches of all models in turn.

    Args:
        parameters: sizes and timeouts of batches.
        metrics: counts the batches and measures how long requests wait.

    Source: `batching/batching_session.cc` of tensorflow/serving, `SharedBatchScheduler` of
        tensorflow.
    """

    def __init__(self, parameters: Parameters, *, metrics: Metrics | None = None):
        self.parameters = parameters
        self._metrics = metrics or Metrics()
        self._queues: collections.OrderedDict[Hashable, _Queue] = collections.OrderedDict()
        self._work = threading.Condition()
        self._closed = False
        self._threads = [
            threading.Thread(target=self._serve, daemon=True, name=f"batch-{i}")
            for i in range(parameters.num_batch_threads)
        ]
        for thread in self._threads:
            thread.start()

    def submit(
        self, key: Hashable, run: Run, inputs: Arrays, *, deadline: Deadline | None = None
    ) -> Future:
        """Put a request into a queue; returns a future of the outputs.

        Requests of one key and rows of one shape may run together: `run` receives the inputs and
        the deadline of a batch. A request for which nobody waits any more never runs.

        Raises:
            ServingError: inputs that are not a batch, too many rows, a full queue.
        """
        task = _Task(inputs, _num_rows(inputs), deadline or Deadline())
        if task.rows > self.parameters.max_batch_size:
            raise invalid(
                f"Task size {task.rows} is larger than maximum input batch size "
                f"{self.parameters.max_batch_size}"
            )
        by_rank = self.parameters.pad_variable_length_inputs
        shapes = ((k, inputs[k].ndim if by_rank else inputs[k].shape[1:]) for k in sorted(inputs))
        key = (key, *shapes)
        with self._work:
            if self._closed:
                raise ServingError("UNAVAILABLE", "The server is shutting down")
            queue = self._queues.get(key) or _Queue(run, self.parameters)
            queue.put(task)
            self._queues[key] = queue
            # A thread already waits for a batch that was begun earlier, unless the batch is full
            # now.
            if len(queue.batches[-1]) == 1 or not queue.due():
                self._work.notify()
        return task.future

    def close(self) -> None:
        """Run the requests that have arrived, and stop."""
        with self._work:
            self._closed = True
            self._work.notify_all()
        for thread in self._threads:
            thread.join()

    def _serve(self):
        while (found := self._next()) is not None:
            run, batch = found
            now = time.monotonic()
            for part in batch:
                self._metrics.waited(self.parameters.thread_pool_name, now - part.task.arrived)
            parts = [part for part in batch if part.task.begin()]
            if parts:
                self._run(run, parts)
            del found, run, batch, parts  # while this thread waits, a version may be unloaded

    def _next(self):
        """The next batch that is due and the function that runs it; None after the last one."""
        with self._work:
            while True:
                now, soonest = time.monotonic(), None
                for key, queue in self._queues.items():
                    due = 0.0 if self._closed else queue.due()
                    if due <= now:
                        batch = queue.batches.popleft()
                        if queue.batches:
                            self._queues.move_to_end(key)
                            self._work.notify()
                        else:
                            del self._queues[key]
                        return queue.run, batch
                    soonest = due if soonest is None else min(soonest, due)
                if self._closed:
                    return None
                self._work.wait(None if soonest is None else soonest - now)

    def _run(self, run, parts):
        try:
            found = self._outputs(run, parts)
        except Exception as error:
            if len(parts) == 1:
                parts[0].task.fail(error)
                return
            for part in parts:  # An error concerns only the request that causes it.
                self._run(run, [part])
            return
        first = 0
        for part in parts:
            end = first + part.stop - part.start
            part.task.finish(part, {name: array[first:end] for name, array in found.items()})
            first = end

    def _outputs(self, run, parts):
        rows = _rows(parts)
        size = self.parameters.padded_size(rows) if parts[-1].stop else rows
        inputs = {}
        for name in parts[0].task.inputs:
            arrays = [part.task.inputs[name][part.start : part.stop] for part in parts]
            if self.parameters.pad_variable_length_inputs:
                arrays = _padded(arrays)
            if size > rows:  # The graph is known to accept this row.
                arrays.append(np.repeat(arrays[-1][:1], size - rows, axis=0))
            inputs[name] = arrays[0] if len(arrays) == 1 else np.concatenate(arrays)
        deadlines = [part.task.deadline for part in parts]
        outputs = run(inputs, deadlines[0] if len(deadlines) == 1 else LatestDeadline(deadlines))
        self._metrics.batched(self.parameters.thread_pool_name)
        for array in outputs.values():
            if not array.ndim:
                raise ServingError("FAILED_PRECONDITION", "Batched output tensor has 0 dimensions")
            if len(array) != size:
                raise ServingError(
                    "FAILED_PRECONDITION",
                    "Batched output tensor's 0th dimension does not equal the sum of the 0th "
                    "dimension sizes of the input tensors",
                )
        return outputs


class _Task:
    """A request: its rows run in one batch or, if it is split, in several."""

    def __init__(self, inputs, rows, deadline):
        self.inputs = inputs
        self.rows = rows
        self.deadline = deadline
        self.arrived = time.monotonic()
        self.future: Future = Future()
        self._missing = rows
        self._outputs = {}  # by first row
        self._lock = threading.Lock()

    def begin(self):
        """Whether a client still waits for the outputs."""
        if self.deadline.gone:
            self.fail(ServingError("CANCELLED", "The client has gone"))
        elif self.deadline.late:
            text = "Run() timeout exceeded while waiting in batching queue"
            self.fail(ServingError("RESOURCE_EXHAUSTED", text))
        with self._lock:
            return self._is_running()

    def finish(self, part, outputs):
        """Take the outputs of some rows."""
        with self._lock:
            self._outputs[part.start] = outputs
            self._missing -= part.stop - part.start
            if self._missing or self.future.done():
                return
            found = [self._outputs[start] for start in sorted(self._outputs)]
        if len(found) > 1:
            outputs = {name: np.concatenate([part[name] for part in found]) for name in outputs}
        self.future.set_result(outputs)

    def fail(self, error):
        with self._lock:
            if self._is_running():
                self.future.set_exception(error)

    def _is_running(self):
        future = self.future
        return not future.done() and (future.running() or future.set_running_or_notify_cancel())


class _Part(NamedTuple):
    """Rows of a request that run in one batch, which is a list of parts."""

    task: _Task
    start: int
    stop: int


class _Queue:
    """Batches in the order in which they run; the last one still takes requests."""

    def __init__(self, run, parameters):
        self.run = run
        self._parameters = parameters
        self.batches: collections.deque[list[_Part]] = collections.deque([[]])

    def due(self):
        """When the first batch may run, on the clock of `time.monotonic`."""
        first = self.batches[0]
        if len(self.batches) > 1 or _rows(first) >= self._parameters.batch_rows:
            return 0.0
        return first[0].task.arrived + self._parameters.batch_timeout_micros / 1e6

    def put(self, task):
        limit = self._parameters.batch_rows
        splitting = self._parameters.enable_large_batch_splitting
        more = max(1, self._parameters.max_enqueued_batches) - len(self.batches)
        free = room = limit - _rows(self.batches[-1])
        if more:
            free = room + more * limit if splitting else limit
        if task.rows > free:
            raise ServingError(
                "UNAVAILABLE",
                "The batch scheduling queue to which this task was submitted is full; task size "
                f"is {task.rows} but scheduling capacity is only {free}",
            )
        starts = [0, *range(room or limit, task.rows, limit)] if splitting else [0]
        for start, stop in zip(starts, [*starts[1:], task.rows], strict=True):
            if self.batches[-1] and stop - start > limit - _rows(self.batches[-1]):
                self.batches.append([])
            self.batches[-1].append(_Part(task, start, stop))


def _rows(parts):
    return sum(part.stop - part.start for part in parts)


def _num_rows(inputs):
    if not inputs:
        raise invalid("Batching Run() must have at least one input tensor")
    if not all(array.ndim for array in inputs.values()):
        raise invalid("Batching Run() input tensors must have at least one dimension")
    sizes = {len(array) for array in inputs.values()}
    if len(sizes) > 1:
        raise invalid("Batching Run() input tensors must have equal 0th-dimension size")
    return sizes.pop()


def _padded(arrays):
    """Arrays of one rank as large as the largest, padded with the first value of each."""
    rank = arrays[0].ndim
    if rank > MAX_RANK:
        raise invalid("Only tensors with rank from 1 to 6 can be padded.")
    largest = np.max([array.shape[1:] for array in arrays], axis=0, initial=0)
    padded = []
    for array in arrays:
        widths = [(0, 0), *((0, n - m) for n, m in zip(largest, array.shape[1:], strict=True))]
        if any(after for _, after in widths):
            if not array.size:
                raise invalid("Got empty tensor in batch of non-empty tensors.")
            array = np.pad(array, widths, constant_values=array.flat[0])
        padded.append(array)
    return padded
