"""What `keras.Model.fit` itself does under TensorFlow's strategies: the table of docs/training.md.

    python tools/keras_strategies.py

A plain `keras.Sequential` is trained by Keras' optimizers for two epochs, on one device, on two
logical CPU devices under `MirroredStrategy`, and in two processes under
`MultiWorkerMirroredStrategy`. Prints, for each case, the largest difference of the weights from
those of one device, relative to the largest weight, or the error.
"""

import json
import os
import socket
import subprocess
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf

WORKER = "a worker of MultiWorkerMirroredStrategy"
ROWS, BATCH = 112, 32  # the last batch is smaller


def trained(strategy, make_optimizer, dropout=0.0, **compile_arguments):
    """The weights of a small network after two epochs, as one vector."""
    keras.utils.set_random_seed(0)
    generator = np.random.default_rng(0)
    x, y = generator.normal(size=(ROWS, 8)), generator.normal(size=(ROWS, 1))
    with strategy.scope():
        model = keras.Sequential(
            [
                keras.Input((8,)),
                keras.layers.Dense(16, activation="relu"),
                keras.layers.Dropout(dropout, seed=0),
                keras.layers.Dense(1),
            ]
        )
        model.compile(make_optimizer(), "mse", **{"jit_compile": False, **compile_arguments})
    model.fit(x, y, batch_size=BATCH, epochs=2, shuffle=False, verbose=0)
    return np.concatenate([np.ravel(weight) for weight in model.get_weights()])


CASES = {
    "SGD": (lambda: keras.optimizers.SGD(0.05), {}),
    "Adam": (lambda: keras.optimizers.Adam(0.01), {}),
    "Adam, Dropout": (lambda: keras.optimizers.Adam(0.01), {"dropout": 0.5}),
    "SGD, global_clipnorm": (lambda: keras.optimizers.SGD(0.05, global_clipnorm=0.5), {}),
    "SGD, gradient_accumulation_steps": (
        lambda: keras.optimizers.SGD(0.05, gradient_accumulation_steps=2),
        {},
    ),
    "SGD, jit_compile=True": (lambda: keras.optimizers.SGD(0.05), {"jit_compile": True}),
    'SGD, jit_compile="auto"': (lambda: keras.optimizers.SGD(0.05), {"jit_compile": "auto"}),
}


def outcome(strategy, make_optimizer, options):
    """How the weights differ from those of one device, or the error."""
    alone = trained(tf.distribute.get_strategy(), make_optimizer, **options)
    try:
        together = trained(strategy, make_optimizer, **options)
    except Exception as error:
        return f"{type(error).__name__}: {' '.join(str(error).split())[:100]}"
    return f"{np.abs(together - alone).max() / np.abs(alone).max():.1e}"


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def workers():
    """What the first of two workers prints."""
    cluster = {"worker": [f"127.0.0.1:{free_port()}" for _ in range(2)]}
    processes = []
    for index in range(2):
        config = json.dumps({"cluster": cluster, "task": {"type": "worker", "index": index}})
        processes.append(
            subprocess.Popen(
                [sys.executable, __file__, WORKER],
                env={**os.environ, "TF_CONFIG": config},
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
        )
    try:
        return processes[0].communicate(timeout=300)[0].strip()
    finally:
        for process in processes:
            process.kill()


def main():
    if WORKER in sys.argv:
        strategy = tf.distribute.MultiWorkerMirroredStrategy()
        try:
            trained(strategy, lambda: keras.optimizers.SGD(0.05))
        except Exception as error:
            print(f"{type(error).__name__}: {' '.join(str(error).split())[:100]}", flush=True)
        else:
            print("trains", flush=True)
        os._exit(0)  # Without waiting for the other worker.
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    print(f"Keras {keras.__version__}, TensorFlow {tf.__version__}")
    for name, (make_optimizer, options) in CASES.items():
        print(f"{name:34} {outcome(strategy, make_optimizer, options)}", flush=True)
    print(f"{'two workers, SGD':34} {workers()}")


if __name__ == "__main__":
    main()
