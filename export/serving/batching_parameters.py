"""How requests are batched, in TF Serving's terms."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

from tfgen import checks
from tfgen.errors import InputError
from tfgen.export.serving import text_config


@dataclasses.dataclass(frozen=True)
class Parameters:
    """TF Serving's `BatchingParameters`, with its defaults.

    Args:
        max_batch_size: maximum number of rows of a request, and of a batch unless
            `enable_large_batch_splitting` is set.
        batch_timeout_micros: maximum time in microseconds that a request waits for others to fill
            its batch.
        max_enqueued_batches: maximum number of batches in a queue; further requests fail with
            UNAVAILABLE.
        num_batch_threads: number of batches that run at the same time; by default the number of
            CPUs.
        allowed_batch_sizes: increasing sizes to which batches are padded, the last of which is the
            size of the largest batch; batches are not padded if it is empty.
        pad_variable_length_inputs: whether requests of several shapes run together, padded to the
            largest shape.
        enable_large_batch_splitting: whether requests are split to fill batches of
            `max_execution_batch_size`.
        max_execution_batch_size: maximum number of rows of a batch if requests are split.
        thread_pool_name: the thread pool's label in the metrics.

    Raises:
        InputError: a value is out of range.

    Source: `servables/tensorflow/session_bundle_config.proto`, `batching/README.md` of
        tensorflow/serving.

    Example:

    >>> from tfgen.export.serving.batching_parameters import Parameters
    >>> Parameters(max_batch_size=32, allowed_batch_sizes=(8, 32)).padded_size(9)
    32
    """

    max_batch_size: int = 1000
    batch_timeout_micros: int = 0
    max_enqueued_batches: int = 10
    num_batch_threads: int = dataclasses.field(default_factory=lambda: os.cpu_count() or 1)
    allowed_batch_sizes: tuple[int, ...] = ()
    pad_variable_length_inputs: bool = False
    enable_large_batch_splitting: bool = False
    max_execution_batch_size: int = 1000
    thread_pool_name: str = ""

    def __post_init__(self) -> None:
        checks.integer("max_batch_size", self.max_batch_size, 1)
        checks.integer("num_batch_threads", self.num_batch_threads, 1)
        checks.integer("batch_timeout_micros", self.batch_timeout_micros, 0)
        checks.integer("max_enqueued_batches", self.max_enqueued_batches, 0)
        if self.enable_large_batch_splitting:
            size = self.max_execution_batch_size
            checks.integer("max_execution_batch_size", size, 1, self.max_batch_size)
        sizes = self.allowed_batch_sizes
        if list(sizes) != sorted(set(sizes)) or min(sizes, default=1) < 1:
            raise InputError(f"allowed_batch_sizes must be positive and increasing, got {sizes}")
        if sizes and sizes[-1] != self.batch_rows:
            raise InputError(
                f"the last of allowed_batch_sizes must be the largest batch, {self.batch_rows}, "
                f"got {sizes[-1]}"
            )

    @classmethod
    def read(cls, path: str | Path) -> Parameters:
        """The parameters in a file.

        Raises:
            InputError: the file cannot be read, or a value is out of range.
        """
        message = text_config.read(path, text_config.BatchingParameters())
        values = {field.name: getattr(v, "value", v) for field, v in message.ListFields()}
        if "allowed_batch_sizes" in values:
            values["allowed_batch_sizes"] = tuple(values["allowed_batch_sizes"])
        try:
            return cls(**values)
        except InputError as error:
            raise InputError(f"{path}: {error}") from None

    @property
    def batch_rows(self) -> int:
        """The maximum number of rows of a batch."""
        if self.enable_large_batch_splitting:
            return self.max_execution_batch_size
        return self.max_batch_size

    def padded_size(self, rows: int) -> int:
        """The allowed size to which a batch with this number of rows is padded."""
        return next((size for size in self.allowed_batch_sizes if size >= rows), rows)
