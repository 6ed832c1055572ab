"""What a request may cost: rows, bytes of the result, and large requests at a time."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import tensorflow as tf
from tensorflow.core.protobuf.meta_graph_pb2 import SignatureDef, TensorInfo

from tfgen.export.serving.deadlines import Deadline
from tfgen.export.serving.statuses import ServingError, too_large

LARGE = 8 * 2**20  # bytes of memory above which a request waits for its turn
MAX_MEMORY = 512 * 2**20  # bytes of a request in memory
MAX_WAITING = 8  # large requests
NUMBER = 16  # bytes of memory in which a number of an answer is written, at most


@dataclass(frozen=True)
class Limits:
    """Limits of a request; see `tfgen.export.serving.flags.Flags`."""

    max_rows: int = 200_000
    max_result_bytes: int = 32 * 2**20
    max_bytes: int = 64 * 2**20


class Sizes:
    """What the shapes of a signature's inputs say about the size of its outputs.

    Rows are counted along the first axis of the inputs in which the signature leaves it open.

    Args:
        signature: a signature, whose outputs have as many rows as its inputs.

    Attributes:
        numbers_per_row: the largest number of elements in a row of an input or output.
    """

    def __init__(self, signature: SignatureDef):
        self._open = {n for n, info in signature.inputs.items() if _row(info) is not None}
        rows = {name: _row(info) for name, info in signature.outputs.items()}
        self._outputs = {
            name: (row, row * tf.as_dtype(signature.outputs[name].dtype).size)
            for name, row in rows.items()
            if row
        }
        rows |= {name: _row(info) for name, info in signature.inputs.items()}
        self._all = tuple(map(sum, zip(*self._outputs.values(), strict=True))) or (0, 0)
        self.numbers_per_row = max((row or 0 for row in rows.values()), default=0)

    def rows(self, shapes: Mapping[str, Sequence[int]]) -> int:
        """The number of rows in inputs of these shapes."""
        rows = 0
        for name in self._open:
            shape = shapes.get(name)
            if shape and shape[0] > rows:
                rows = shape[0]
        return rows

    def result(self, rows: int, outputs: Iterable[str]) -> tuple[int, int]:
        """The number of elements of these outputs, or all if there are none, and their bytes."""
        if not outputs:
            return rows * self._all[0], rows * self._all[1]
        found = [self._outputs.get(name, (0, 0)) for name in outputs]
        return rows * sum(count for count, _ in found), rows * sum(size for _, size in found)


def check_result(num_bytes: int, limits: Limits) -> None:
    """Raise RESOURCE_EXHAUSTED if a result is too large."""
    if num_bytes > limits.max_result_bytes:
        raise too_large(
            f"The result takes {num_bytes} bytes, more than {limits.max_result_bytes} "
            "(--max_result_bytes): ask for fewer rows at a time"
        )


def check_rows(rows: int, limits: Limits) -> None:
    """Raise RESOURCE_EXHAUSTED if there are too many rows."""
    if rows > limits.max_rows:
        raise too_large(
            f"The request has {rows} rows, more than {limits.max_rows} (--max_rows): ask for fewer "
            "rows at a time"
        )


class Turns:
    """Large requests take turns, so that a number of them does not take memory without a bound.

    Args:
        at_a_time: number of large requests that are read, computed and answered at the same time.
    """

    def __init__(self, at_a_time: int):
        self._free = asyncio.Semaphore(at_a_time)
        self._waiting = 0

    async def take(self, deadline: Deadline) -> None:
        """Wait for a turn.

        Raises:
            ServingError: UNAVAILABLE: too many large requests are waiting already;
                DEADLINE_EXCEEDED.
        """
        if self._waiting >= MAX_WAITING:
            text = f"{self._waiting} large requests are waiting for their turn: try again later"
            raise ServingError("UNAVAILABLE", text)
        self._waiting += 1
        left = None if deadline.at is None else deadline.at - time.monotonic()
        try:
            await asyncio.wait_for(self._free.acquire(), left)
        except asyncio.TimeoutError:
            text = "Deadline exceeded while waiting for other large requests"
            raise ServingError("DEADLINE_EXCEEDED", text) from None
        finally:
            self._waiting -= 1

    def give_back(self) -> None:
        """Let the next one in."""
        self._free.release()


class Turn:
    """The turn of one request, in a `with` statement; small requests do not need one."""

    __slots__ = ("_deadline", "_taken", "_turns")

    def __init__(self, turns: Turns, deadline: Deadline):
        self._turns = turns
        self._deadline = deadline
        self._taken = False

    def needed(self, num_bytes: int) -> bool:
        """Whether a request that takes this much memory has to `take` its turn first."""
        return num_bytes > LARGE and not self._taken

    async def take(self) -> None:
        """Wait for the turn."""
        await self._turns.take(self._deadline)
        self._taken = True

    def __enter__(self) -> Turn:
        return self

    def __exit__(self, *exception: Any) -> None:
        if self._taken:
            self._turns.give_back()


def _row(info: TensorInfo) -> int | None:
    """The number of elements in a row, 0 if it is unknown; None for a tensor without rows."""
    if info.tensor_shape.unknown_rank:
        return 0
    sizes = [dim.size for dim in info.tensor_shape.dim]
    if not sizes or sizes[0] != -1:
        return None
    return 0 if min(sizes[1:], default=1) < 0 else math.prod(sizes[1:])
