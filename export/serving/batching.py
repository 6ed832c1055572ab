"""Request batching: rows of several requests in one run, as TF Serving's batching session does.

A `Scheduler` has the threads, which all models share. A `Queue` holds the requests that may run
together: of one version, one signature, the same outputs, and rows of one shape.
"""

import collections
import threading
import time
from concurrent import futures

import numpy as np

from tfgen.export.serving.statuses import ServingError, invalid

LARGEST_RANK = 6  # that TF Serving pads


class _Task:
    """A request, or a part of one, and the future that gets its outputs."""

    __slots__ = ("arrived", "deadline", "future", "inputs", "rows")

    def __init__(self, inputs, rows, deadline):
        self.inputs = inputs
        self.rows = rows
        self.deadline = deadline
        self.arrived = time.monotonic()
        self.future = futures.Future()


class _Batch:
    __slots__ = ("rows", "started", "tasks")

    def __init__(self):
        self.tasks = []
        self.rows = 0
        self.started = None

    def add(self, task):
        if not self.tasks:
            self.started = task.arrived
        self.tasks.append(task)
        self.rows += task.rows


class _Queue:
    """Batches in the order in which they run; the last one still takes tasks."""

    def __init__(self, run):
        self.run = run
        self.batches = collections.deque([_Batch()])

    def due(self, parameters):
        """When the next batch may run, on the clock of `time.monotonic`; None without one."""
        first = self.batches[0]
        if len(self.batches) > 1 or first.rows >= parameters.batch_rows:
            return 0.0
        if first.tasks:
            return first.started + parameters.batch_timeout_micros / 1e6
        return None

    def take(self):
        batch = self.batches.popleft()
        if not self.batches:
            self.batches.append(_Batch())
        return batch


class Scheduler:
    """Threads that run batches of all models, in turn.

    Args:
        parameters: `tfgen.export.serving.batching_parameters.Parameters`.
        metrics: a `tfgen.export.serving.metrics.Metrics` that counts waits and batches.

    Source: `batching/batching_session.cc` of tensorflow/serving, `SharedBatchScheduler` of
        tensorflow.

    Example:

    >>> import numpy as np
    >>> from tfgen.export.serving import batching
    >>> from tfgen.export.serving.batching_parameters import Parameters
    >>> scheduler = batching.Scheduler(Parameters(batch_timeout_micros=1000))
    >>> def run(inputs, seconds):
    ...     return [inputs["x"] * 2]
    >>> both = [scheduler.submit("double", run, {"x": np.array([i])}) for i in (1, 2)]
    >>> [future.result()[0].tolist() for future in both]
    [[2], [4]]
    >>> scheduler.close()
    """

    def __init__(self, parameters, *, metrics=None):
        self.parameters = parameters
        self._metrics = metrics
        self._queues = collections.OrderedDict()  # the one whose turn it is comes first
        self._work = threading.Condition()
        self._closed = False
        self._threads = [
            threading.Thread(target=self._serve, daemon=True, name=f"batch-{i}")
            for i in range(parameters.num_batch_threads)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, key, run, inputs, *, deadline=None):
        """Put a request into a queue.

        Args:
            key: hashable; requests of one key and rows of one shape may run together.
            run: a function of inputs and the seconds left, which returns a list of arrays.
            inputs: a dict of arrays, whose rows are those of the request.
            deadline: of `time.monotonic()`.

        Returns:
            A `concurrent.futures.Future` of the list of arrays.

        Raises:
            ServingError: inputs that are no batch, too many rows, a queue that is full.
        """
        task = _Task(inputs, _rows(inputs), deadline)
        if task.rows > self.parameters.max_batch_size:
            raise invalid(
                f"Task size {task.rows} is larger than maximum input batch size "
                f"{self.parameters.max_batch_size}"
            )
        key = (key, self._shapes(inputs))
        with self._work:
            if self._closed:
                raise ServingError("UNAVAILABLE", "The server is shutting down")
            queue = self._queues.get(key)
            if queue is None:
                queue = self._queues[key] = _Queue(run)
            try:
                self._enqueue(queue, task)
            finally:
                if not queue.batches[0].tasks:  # refused, and nobody else is there
                    del self._queues[key]
            # A thread that waits for a batch which began before needs no word of its tasks.
            if len(queue.batches[-1].tasks) == 1 or not queue.due(self.parameters):
                self._work.notify()
        return task.future

    def close(self):
        """Run what has arrived, and stop."""
        with self._work:
            self._closed = True
            self._work.notify_all()
        for thread in self._threads:
            thread.join()

    def _shapes(self, inputs):
        if self.parameters.pad_variable_length_inputs:
            return tuple((name, inputs[name].ndim) for name in sorted(inputs))
        return tuple((name, inputs[name].shape[1:]) for name in sorted(inputs))

    def _enqueue(self, queue, task):
        limit, most = self.parameters.batch_rows, max(1, self.parameters.max_enqueued_batches)
        batches = queue.batches
        if not self.parameters.enable_large_batch_splitting:
            if batches[-1].tasks and batches[-1].rows + task.rows > limit:
                if len(batches) >= most:
                    raise ServingError(
                        "UNAVAILABLE",
                        "The batch scheduling queue to which this task was submitted is full; "
                        f"currently {len(batches)} batches enqueued and max_enqueued_batches is "
                        f"{most}",
                    )
                batches.append(_Batch())
            batches[-1].add(task)
            return
        free = (most - len(batches)) * limit + limit - batches[-1].rows
        if task.rows > free:
            raise ServingError(
                "UNAVAILABLE",
                "The batch scheduling queue to which this task was submitted is full; task size "
                f"is {task.rows} but scheduling capacity is only {free} "
                f"(num_enqueued_batches={len(batches)}, max_enqueued_batches={most}, "
                f"open_batch_size={batches[-1].rows}, max_execution_batch_size={limit})",
            )
        for part in _split(task, limit - batches[-1].rows, limit):
            if batches[-1].tasks and batches[-1].rows + part.rows > limit:
                batches.append(_Batch())
            batches[-1].add(part)

    def _serve(self):
        while True:
            found = self._next()
            if found is None:
                return
            run, batch = found
            self._process(run, batch)

    def _next(self):
        """The next batch that is due, and what runs it; None when all is done."""
        with self._work:
            while True:
                now, soonest = time.monotonic(), None
                for key, queue in self._queues.items():
                    due = 0.0 if self._closed else queue.due(self.parameters)
                    if due <= now:
                        batch = queue.take()
                        if queue.batches[0].tasks:
                            self._queues.move_to_end(key)
                            self._work.notify()
                        else:
                            del self._queues[key]
                        return queue.run, batch
                    soonest = due if soonest is None else min(soonest, due)
                if self._closed:
                    return None
                self._work.wait(None if soonest is None else soonest - now)

    def _process(self, run, batch):
        now, tasks = time.monotonic(), []
        for task in batch.tasks:
            if self._metrics is not None:
                self._metrics.waited(self.parameters.thread_pool_name, now - task.arrived)
            if not task.future.set_running_or_notify_cancel():
                continue
            if task.deadline is not None and task.deadline <= now:
                text = "Run() timeout exceeded while waiting in batching queue"
                task.future.set_exception(ServingError("RESOURCE_EXHAUSTED", text))
            else:
                tasks.append(task)
        if not tasks:
            return
        try:
            parts = self._run(run, tasks, now)
        except Exception as error:
            if len(tasks) == 1:
                tasks[0].future.set_exception(error)
            else:
                self._run_alone(run, tasks)
            return
        for task, outputs in zip(tasks, parts, strict=True):
            task.future.set_result(outputs)

    def _run_alone(self, run, tasks):
        """After a batch that failed: an error is its own request's, and nobody else's."""
        for task in tasks:
            try:
                (outputs,) = self._run(run, [task], time.monotonic())
            except Exception as error:
                task.future.set_exception(error)
            else:
                task.future.set_result(outputs)

    def _run(self, run, tasks, now):
        """The outputs of each task."""
        rows = sum(task.rows for task in tasks)
        size = self.parameters.filled_up(rows) if tasks[-1].rows else rows
        merged = self._merged(tasks, size - rows)
        deadlines = [task.deadline for task in tasks]
        seconds = None if None in deadlines else max(deadlines) - now
        outputs = run(merged, seconds)
        if self._metrics is not None:
            self._metrics.batched(self.parameters.thread_pool_name)
        for array in outputs:
            if not array.ndim:
                raise ServingError("FAILED_PRECONDITION", "Batched output tensor has 0 dimensions")
            if len(array) != size:
                raise ServingError(
                    "FAILED_PRECONDITION",
                    "Batched output tensor's 0th dimension does not equal the sum of the 0th "
                    "dimension sizes of the input tensors",
                )
        if len(tasks) == 1 and size == rows:
            return [outputs]
        parts, start = [], 0
        for task in tasks:
            parts.append([array[start : start + task.rows] for array in outputs])
            start += task.rows
        return parts

    def _merged(self, tasks, more):
        if len(tasks) == 1 and not more:
            return tasks[0].inputs
        merged = {}
        for name in tasks[0].inputs:
            arrays = [task.inputs[name] for task in tasks]
            if self.parameters.pad_variable_length_inputs:
                arrays = _padded(arrays)
            if more:  # A row that is there is a row that the graph takes.
                arrays.append(np.repeat(arrays[-1][:1], more, axis=0))
            merged[name] = np.concatenate(arrays)
        return merged


def _rows(inputs):
    if not inputs:
        raise invalid("Batching Run() must have at least one input tensor")
    sizes = set()
    for array in inputs.values():
        if not array.ndim:
            raise invalid("Batching Run() input tensors must have at least one dimension")
        sizes.add(len(array))
    if len(sizes) > 1:
        raise invalid("Batching Run() input tensors must have equal 0th-dimension size")
    return sizes.pop()


def _split(task, first, limit):
    """The parts of a task: what fits into the open batch, then whole batches."""
    if task.rows <= first or not task.rows:
        return [task]
    ends = [*range(first, task.rows, limit), task.rows]
    starts = [0, *ends[:-1]]
    parts = []
    for start, end in zip(starts, ends, strict=True):
        if end > start:
            inputs = {name: array[start:end] for name, array in task.inputs.items()}
            parts.append(_Task(inputs, end - start, task.deadline))
    if len(parts) == 1:
        return [task]
    task.future.set_running_or_notify_cancel()
    missing, lock = [len(parts)], threading.Lock()

    def joined(part):
        with lock:
            missing[0] -= 1
            if missing[0]:
                return
        errors = [p.future.exception() for p in parts if p.future.exception()]
        if errors:
            task.future.set_exception(errors[0])
            return
        columns = zip(*(p.future.result() for p in parts), strict=True)
        task.future.set_result([np.concatenate(column) for column in columns])

    for part in parts:
        part.future.add_done_callback(joined)
    return parts


def _padded(arrays):
    """Arrays of one rank as large as the largest, filled with the first value of each."""
    rank = arrays[0].ndim
    if not 1 <= rank <= LARGEST_RANK:
        raise invalid("Only tensors with rank from 1 to 6 can be padded.")
    largest = [max(array.shape[i] for array in arrays) for i in range(1, rank)]
    padded = []
    for array in arrays:
        if list(array.shape[1:]) != largest:
            if not array.size:
                raise invalid("Got empty tensor in batch of non-empty tensors.")
            widths = [
                (0, 0),
                *((0, n - m) for n, m in zip(largest, array.shape[1:], strict=True)),
            ]
            array = np.pad(array, widths, constant_values=array.flat[0])
        padded.append(array)
    return padded
