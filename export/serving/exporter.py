"""A process that exports models for a server, which can answer and end meanwhile."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path

from tfgen.errors import InputError
from tfgen.export.serving import export_cache
from tfgen.files import parse_json

_CODE = (
    "import sys; sys.path[:] = {path}; from tfgen.export.serving import exporter; exporter.main()"
)


@contextlib.contextmanager
def exporting(jobs: Sequence[tuple[str, Path]], temporary: Path) -> Iterator[Iterator[str | None]]:
    """Start to export models; yields an iterator of the error of each, None if it is exported.

    The process ends with this one, and at the end of the scope.

    Args:
        jobs: the name or directory of each model, and its directory in the cache.
        temporary: a directory for temporary files, which stay there.
    """
    process = subprocess.Popen(
        [sys.executable, "-c", _CODE.format(path=sys.path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "TMPDIR": str(temporary)},
        start_new_session=True,  # Ctrl-C is for the server
        text=True,
    )
    stdin, stdout = process.stdin, process.stdout
    assert stdin is not None
    assert stdout is not None

    def answers():
        for line in stdout:
            with contextlib.suppress(InputError):  # It ended within a line.
                yield parse_json(line, "an answer")
        while True:
            yield f"the process that exports models ended with code {process.wait()}"

    with process:
        try:
            stdin.write(json.dumps([(name, str(entry)) for name, entry in jobs]) + "\n")
            stdin.flush()
            yield answers()
        finally:
            process.kill()


def main() -> None:
    """Export the models that the first line of standard input names, and answer a line for each."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # Libraries print too.
    jobs = parse_json(sys.stdin.readline(), "the list of models")
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    for name, entry in jobs:
        try:
            export_cache.build(name, Path(entry))
            error = None
        except (InputError, OSError) as reason:
            error = str(reason)
        except Exception:
            error = traceback.format_exc()
        print(json.dumps(error), file=answers, flush=True)
    os._exit(0)  # The other thread waits for input, for which an exit of Python would wait.


def _exit_with_parent():
    while os.read(0, 1024):
        pass
    os._exit(1)
