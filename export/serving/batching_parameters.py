"""How requests are batched, as TF Serving is told."""

import dataclasses
import os

from tfgen.errors import InputError
from tfgen.export.serving import text_config


@dataclasses.dataclass(frozen=True)
class Parameters:
    """TF Serving's `BatchingParameters`, with its defaults.

    Args:
        max_batch_size: rows of a request, and of a batch unless `enable_large_batch_splitting`.
        batch_timeout_micros: that a request waits for others to fill its batch.
        max_enqueued_batches: of a queue; what comes then is UNAVAILABLE.
        num_batch_threads: batches that run at once; by default the number of CPUs.
        allowed_batch_sizes: to which batches are filled up, increasing to `max_batch_size`; any
            size if empty.
        pad_variable_length_inputs: requests of several shapes run together, padded to the largest.
        enable_large_batch_splitting: requests are cut to fill batches of
            `max_execution_batch_size`.
        max_execution_batch_size: rows of a batch then.
        thread_pool_name: the label of the metrics.

    Raises:
        InputError: a value out of its range.

    Source: `servables/tensorflow/session_bundle_config.proto`, `batching/README.md` of
        tensorflow/serving.

    Example:

    >>> from tfgen.export.serving.batching_parameters import Parameters
    >>> Parameters(max_batch_size=32, allowed_batch_sizes=(8, 32)).batch_rows
    32
    """

    max_batch_size: int = 1000
    batch_timeout_micros: int = 0
    max_enqueued_batches: int = 10
    num_batch_threads: int = dataclasses.field(default_factory=lambda: os.cpu_count() or 1)
    allowed_batch_sizes: tuple = ()
    pad_variable_length_inputs: bool = False
    enable_large_batch_splitting: bool = False
    max_execution_batch_size: int = 1000
    thread_pool_name: str = ""

    def __post_init__(self):
        for name in ("max_batch_size", "num_batch_threads"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be positive; was {getattr(self, name)}")
        for name in ("batch_timeout_micros", "max_enqueued_batches"):
            if getattr(self, name) < 0:
                raise InputError(f"{name} must be non-negative; was {getattr(self, name)}")
        sizes = self.allowed_batch_sizes
        if any(size < 1 for size in sizes) or list(sizes) != sorted(set(sizes)):
            raise InputError("allowed_batch_sizes entries must be monotonically increasing")
        if self.enable_large_batch_splitting:
            if not 1 <= self.max_execution_batch_size <= self.max_batch_size:
                raise InputError(
                    "When enable_large_batch_splitting is true, max_batch_size must be greater "
                    "than or equal to max_execution_batch_size"
                )
            if sizes and sizes[-1] != self.max_execution_batch_size:
                raise InputError(
                    "Last entry in allowed_batch_sizes must be equal to max_execution_batch_size; "
                    f"last entry was {sizes[-1]}; expected {self.max_execution_batch_size}"
                )
        elif sizes and sizes[-1] != self.max_batch_size:
            raise InputError(
                "Last entry in allowed_batch_sizes must match max_batch_size; "
                f"last entry was {sizes[-1]}; expected {self.max_batch_size}"
            )

    @classmethod
    def read(cls, path):
        """Those in a file.

        Raises:
            InputError: it cannot be read, or holds values out of range.
        """
        message = text_config.read(path, "BatchingParameters")
        given = {field.name: value for field, value in message.ListFields()}
        values = {name: getattr(value, "value", value) for name, value in given.items()}
        if "allowed_batch_sizes" in values:
            values["allowed_batch_sizes"] = tuple(values["allowed_batch_sizes"])
        try:
            return cls(**values)
        except InputError as error:
            raise InputError(f"{path}: {error}") from None

    @property
    def batch_rows(self):
        """The most rows of a batch."""
        if self.enable_large_batch_splitting:
            return self.max_execution_batch_size
        return self.max_batch_size

    def filled_up(self, rows):
        """The allowed size that so many rows are filled up to."""
        return next((size for size in self.allowed_batch_sizes if size >= rows), rows)
