"""Batching: which requests run together, which are refused, and that each gets its own rows."""

import threading
import time
from concurrent import futures

import numpy as np
import pytest

from tfgen.errors import InputError
from tfgen.export.serving import batching
from tfgen.export.serving.batching_parameters import Parameters
from tfgen.export.serving.deadlines import Deadline
from tfgen.export.serving.server import Server
from tfgen.export.serving.statuses import ServingError


class Recorder:
    """Runs batches: doubles `x`, records the batches, and waits while it is held."""

    def __init__(self):
        self.batches = []
        self.going = threading.Event()
        self.going.set()

    def __call__(self, inputs, deadline):
        assert self.going.wait(10)
        self.batches.append(inputs["x"])
        if np.any(inputs["x"] == 13):
            raise ServingError("INVALID_ARGUMENT", "13 is refused")
        return {"y": inputs["x"] * 2}


@pytest.fixture
def recorder():
    return Recorder()


@pytest.fixture
def scheduling():
    made = []

    def start(**parameters):
        values = {"num_batch_threads": 1, **parameters}
        made.append(batching.Scheduler(Parameters(**values)))
        return made[-1]

    yield start
    for scheduler in made:
        scheduler.close()


def rows(*values):
    return {"x": np.array(values)}


def held(recorder, scheduler):
    """Occupies the only thread, so that further requests are queued."""
    recorder.going.clear()
    first = scheduler.submit("first", recorder, rows(0))
    end = time.monotonic() + 10
    while scheduler._queues:
        assert time.monotonic() < end
        time.sleep(0.001)
    return first


def test_requests_of_one_key_run_together_and_get_their_own_rows(recorder, scheduling):
    scheduler = scheduling(max_batch_size=8)
    first = held(recorder, scheduler)
    found = [scheduler.submit("a", recorder, rows(i, -i)) for i in (1, 2, 3)]
    other = scheduler.submit("b", recorder, rows(5))
    recorder.going.set()
    assert [f.result(10)["y"].tolist() for f in found] == [[2, -2], [4, -4], [6, -6]]
    assert (first.result(10)["y"].tolist(), other.result(10)["y"].tolist()) == ([0], [10])
    assert [b.tolist() for b in recorder.batches] == [[0], [1, -1, 2, -2, 3, -3], [5]]


def test_rows_of_other_shapes_do_not_run_together(recorder, scheduling):
    scheduler = scheduling(max_batch_size=8)
    held(recorder, scheduler)
    flat = scheduler.submit("a", recorder, rows(1))
    square = scheduler.submit("a", recorder, {"x": np.ones((1, 2))})
    recorder.going.set()
    assert (flat.result(10)["y"].shape, square.result(10)["y"].shape) == ((1,), (1, 2))


def test_a_batch_runs_when_it_is_full_or_old_enough(recorder, scheduling):
    scheduler = scheduling(max_batch_size=4, batch_timeout_micros=200_000)
    start = time.monotonic()
    full = [scheduler.submit("a", recorder, rows(i, i)) for i in (1, 2)]
    [f.result(10) for f in full]
    assert time.monotonic() - start < 0.15
    start = time.monotonic()
    scheduler.submit("a", recorder, rows(3)).result(10)
    assert 0.15 < time.monotonic() - start < 5


def test_batches_are_padded_to_allowed_sizes_with_a_row_of_the_last_request(recorder, scheduling):
    scheduler = scheduling(max_batch_size=8, allowed_batch_sizes=(4, 8))
    held(recorder, scheduler)
    found = [scheduler.submit("a", recorder, rows(*r)) for r in ([1, 2], [3, 4, 5])]
    recorder.going.set()
    assert [f.result(10)["y"].tolist() for f in found] == [[2, 4], [6, 8, 10]]
    assert recorder.batches[1].tolist() == [1, 2, 3, 4, 5, 3, 3, 3]


def test_too_large_and_too_many_requests_get_the_errors_of_tf_serving(recorder, scheduling):
    scheduler = scheduling(max_batch_size=2, max_enqueued_batches=2)
    with pytest.raises(ServingError) as caught:
        scheduler.submit("a", recorder, rows(1, 2, 3))
    assert str(caught.value) == (
        "INVALID_ARGUMENT: Task size 3 is larger than maximum input batch size 2"
    )
    held(recorder, scheduler)
    found = [scheduler.submit("a", recorder, rows(i, i)) for i in (1, 2)]
    with pytest.raises(ServingError) as caught:
        scheduler.submit("a", recorder, rows(3))
    assert str(caught.value) == (
        "UNAVAILABLE: The batch scheduling queue to which this task was submitted is full; "
        "task size is 1 but scheduling capacity is only 0"
    )
    recorder.going.set()
    assert [f.result(10)["y"].tolist() for f in found] == [[2, 2], [4, 4]]


def test_large_requests_are_split_and_joined_if_enabled(recorder, scheduling):
    scheduler = scheduling(
        max_batch_size=10,
        enable_large_batch_splitting=True,
        max_execution_batch_size=3,
        max_enqueued_batches=3,
    )
    held(recorder, scheduler)
    found = [scheduler.submit("a", recorder, rows(*range(n, 2 * n))) for n in (2, 5)]
    with pytest.raises(ServingError, match="task size is 4 but scheduling capacity is only 2"):
        scheduler.submit("a", recorder, rows(1, 2, 3, 4))
    recorder.going.set()
    assert [f.result(10)["y"].tolist() for f in found] == [[4, 6], [10, 12, 14, 16, 18]]
    assert [len(b) for b in recorder.batches] == [1, 3, 3, 1]


def test_inputs_that_are_not_a_batch(recorder, scheduling):
    scheduler = scheduling()
    for inputs, text in (
        ({}, "must have at least one input tensor"),
        ({"x": np.float32(1)}, "must have at least one dimension"),
        ({"x": np.zeros(2), "y": np.zeros(3)}, "must have equal 0th-dimension size"),
    ):
        with pytest.raises(ServingError, match=f"INVALID_ARGUMENT: Batching Run.* {text}"):
            scheduler.submit("a", recorder, inputs)
    assert scheduler.submit("a", recorder, {"x": np.zeros((0, 2))}).result(10)["y"].shape == (0, 2)


def test_outputs_that_are_not_a_batch(scheduling):
    scheduler = scheduling()
    for output, text in (
        (np.float32(1), "Batched output tensor has 0 dimensions"),
        (np.zeros(3), "0th dimension does not equal the sum"),
    ):
        found = scheduler.submit(text, lambda *_, output=output: {"y": output}, rows(1, 2))
        with pytest.raises(ServingError, match=f"FAILED_PRECONDITION: .*{text}"):
            found.result(10)


def test_an_error_affects_only_the_request_that_causes_it(recorder, scheduling):
    scheduler = scheduling()
    held(recorder, scheduler)
    found = [scheduler.submit("a", recorder, rows(i)) for i in (1, 13, 3)]
    recorder.going.set()
    assert found[0].result(10)["y"].tolist() == [2]
    assert found[2].result(10)["y"].tolist() == [6]
    with pytest.raises(ServingError, match="13 is refused"):
        found[1].result(10)


def test_requests_that_waited_too_long_do_not_run(recorder, scheduling):
    scheduler = scheduling()
    held(recorder, scheduler)
    late = scheduler.submit("a", recorder, rows(1), deadline=Deadline(time.monotonic() + 0.01))
    time.sleep(0.05)
    recorder.going.set()
    with pytest.raises(ServingError, match=r"RESOURCE_EXHAUSTED: Run\(\) timeout exceeded while"):
        late.result(10)
    assert len(recorder.batches) == 1


def test_shapes_are_padded_with_the_first_value_if_enabled(recorder, scheduling):
    scheduler = scheduling(pad_variable_length_inputs=True)
    held(recorder, scheduler)
    short = scheduler.submit("a", recorder, {"x": np.array([[7, 1]])})
    long = scheduler.submit("a", recorder, {"x": np.array([[1, 2, 3]])})
    recorder.going.set()
    assert short.result(10)["y"].tolist() == [[14, 2, 14]]
    assert long.result(10)["y"].tolist() == [[2, 4, 6]]


def test_many_clients_get_their_own_answers(recorder, scheduling):
    scheduler = scheduling(max_batch_size=16, batch_timeout_micros=500, max_enqueued_batches=100)

    def ask(i):
        return scheduler.submit("a", recorder, rows(2 * i + 20)).result(20)["y"].tolist()

    with futures.ThreadPoolExecutor(32) as pool:
        assert list(pool.map(ask, range(2000))) == [[4 * i + 40] for i in range(2000)]
    assert len(recorder.batches) < 1500


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("max_batch_size { value: 0 }", "max_batch_size must be a positive integer, got 0"),
        (
            "batch_timeout_micros { value: -1 }",
            "batch_timeout_micros must be an integer of at least 0, got -1",
        ),
        ("num_batch_threads { value: 0 }", "num_batch_threads must be a positive integer, got 0"),
        (
            "allowed_batch_sizes: [8, 4, 1000]",
            "allowed_batch_sizes must be positive and increasing",
        ),
        (
            "max_batch_size { value: 8 } allowed_batch_sizes: [4]",
            "the last of allowed_batch_sizes must be the largest batch, 8, got 4",
        ),
        (
            "enable_large_batch_splitting { value: true } max_batch_size { value: 8 }",
            "max_execution_batch_size must be an integer from 1 to 8, got 1000",
        ),
        ("max_batch_size: 8", r"tensorflow.serving.BatchingParameters: 1:17: Expected \"{\""),
        ("unknown { value: 1 }", 'BatchingParameters: 1:1: .* has no field named "unknown"'),
    ],
)
def test_parameters_that_are_refused(tmp_path, text, message):
    (tmp_path / "batching.config").write_text(text)
    with pytest.raises(InputError, match=message):
        Parameters.read(tmp_path / "batching.config")


def test_parameters_have_tf_servings_defaults(tmp_path):
    (tmp_path / "batching.config").write_text("max_batch_size { value: 8 }")
    found = Parameters.read(tmp_path / "batching.config")
    assert (found.max_batch_size, found.batch_timeout_micros) == (8, 0)
    assert (found.max_enqueued_batches, found.max_execution_batch_size) == (10, 1000)


def test_a_parameters_file_without_enable_batching_is_refused(base, tmp_path):
    (tmp_path / "batching.config").write_text("")
    with pytest.raises(InputError, match="batching_parameters_file is set without enable_batching"):
        Server({"m": str(base)}, batching_parameters_file=tmp_path / "batching.config")
