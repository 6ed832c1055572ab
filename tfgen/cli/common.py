"""What commands share."""

import contextlib
import os
import sys


def model_argument(parser):
    parser.add_argument("model", metavar="MODEL", help="a pretrained name, or a run directory")


@contextlib.contextmanager
def quiet_start():
    """TensorFlow reports on its start to the process' stderr, past every log level: not shown."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    sys.stderr.flush()
    stderr = os.dup(2)
    try:
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        import tensorflow as tf

        tf.config.list_physical_devices()
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
