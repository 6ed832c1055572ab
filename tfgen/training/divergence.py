"""The end of a training that went wrong."""

import math

import keras

from tfgen.errors import InputError


class StopAtDivergence(keras.callbacks.Callback):
    """Raises InputError after the first epoch whose bits/dim is not finite."""

    def on_epoch_end(self, epoch, logs=None):
        bits = logs["bits_per_dim"]
        if not math.isfinite(bits):
            raise InputError(
                f"the training diverged: bits/dim is {bits} in epoch {epoch + 1}; "
                "a smaller optimizer.learning_rate may help"
            )
