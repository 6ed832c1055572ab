"""Output: the terminal or pipe that is printed to, and JSON."""

import argparse
import codecs
import contextlib
import io
import json
import math
import os
import sys
from typing import Any

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

_UNSAFE = ("strict", "surrogateescape")  # error handlers of stdout that may raise


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Leave it to the program, which exits as after any other broken pipe."""
        raise BrokenPipeError


def console(*, stderr: bool = False) -> Console:
    """A console of `rich` on stdout or stderr."""
    return _Console(stderr=stderr)


def print_table(table: Table) -> None:
    """Print a table. No word is cut off, even where the terminal is too narrow for the table."""
    out = console()
    unlimited = out.options.update(width=10_000)
    ranges = []
    for column in table.columns:
        cells = [Measurement.get(out, unlimited, c) for c in (column.header, *column.cells)]
        widest = max(cell.maximum for cell in cells)
        least = widest if column.no_wrap else max(cell.minimum for cell in cells)
        ranges.append((least, widest))
    beside = Measurement.get(out, unlimited, table).maximum - sum(widest for _, widest in ranges)
    free = out.width - beside - sum(least for least, _ in ranges)
    used = beside
    for column, (least, widest) in zip(table.columns, ranges, strict=True):
        column.width = width = min(widest, least + max(0, free))
        free -= width - least
        used += width
    out.width = max(out.width, used)
    out.print(table)


def json_argument(parser: argparse.ArgumentParser) -> None:
    """Add the option --json."""
    parser.add_argument(
        "--json", action="store_true", help="print the result as JSON, and nothing else, on stdout"
    )


def print_json(value: Any) -> None:
    """Print a value as JSON in ASCII. Numbers that JSON does not have are null with a reason.

    An object with such a number also gets the key `not_finite`, which maps the key of the number to
    "nan", "inf" or "-inf".
    """
    print(json.dumps(_finite(value), indent=2, allow_nan=False))


def _finite(value):
    if isinstance(value, dict):
        found = {key: _finite(part) for key, part in value.items()}
        reasons = {
            key: str(part)
            for key, part in value.items()
            if isinstance(part, float) and not math.isfinite(part)
        }
        return {**found, "not_finite": reasons} if reasons else found
    if isinstance(value, list | tuple):
        return [_finite(part) for part in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def one_line(text: str) -> str:
    """The text without line breaks and other control characters, which are escaped."""
    return "".join(c if c.isprintable() or _is_byte(c) else repr(c)[1:-1] for c in text)


def _is_byte(character):
    """Whether a character stands for a byte of a file name that is not text."""
    return "\udc80" <= character <= "\udcff"


def prepare() -> None:
    """Make stdin, stdout and stderr usable, whatever the program was started with.

    Closed ones are opened on the null device, so that no file that is opened later takes their
    place. File names that are not text in the encoding of stdout are printed as their own bytes,
    other characters that it does not have as question marks.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)
    codecs.register_error("tfgen.bytes", _bytes_or_question_marks)
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors in _UNSAFE:
        sys.stdout.reconfigure(errors="tfgen.bytes")


def _bytes_or_question_marks(error):
    text = error.object[error.start : error.end]
    encoded = (bytes([ord(c) - 0xDC00]) if _is_byte(c) else b"?" for c in text)
    return b"".join(encoded), error.end


def flush() -> None:
    """Write what was printed to stdout now, while errors can still be reported."""
    if sys.stdout is not None:
        sys.stdout.flush()


def abandon_failed_stdout() -> None:
    """If stdout cannot be written to, discard what is still to be written."""
    try:
        flush()
    except OSError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def say(text: str, *, is_error: bool = False) -> None:
    """Print a line on stderr, an error in red on a terminal; without a usable stderr, nothing."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        line = one_line(text)
        is_red = is_error and sys.stderr.isatty() and "NO_COLOR" not in os.environ
        print(f"\033[1;31m{line}\033[0m" if is_red else line, file=sys.stderr, flush=True)
