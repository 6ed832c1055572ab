"""Where a training runs: one device, or several that mirror each other."""

import contextlib
import functools
import re

import tensorflow as tf

from tfgen.errors import InputError

STRATEGIES = ("auto", "single", "mirrored")


def choose(strategy="auto", devices=None):
    """A `tf.distribute.Strategy`.

    Args:
        strategy: "single" is one device; "mirrored" is `MirroredStrategy` over all devices asked
            for; "auto" mirrors if there is more than one and is "single" otherwise.
        devices: "cpu:N" leaves GPUs alone and splits the CPU into N logical devices, which must
            happen before TensorFlow has used them; "gpu:N" takes the first N GPUs; by default all
            GPUs, or else the CPU.

    Raises:
        InputError: an unknown strategy, devices that are not there or can no longer be made.

    Example:

    >>> from tfgen.training import strategy
    >>> strategy.choose("single", "cpu:1").num_replicas_in_sync
    1
    """
    if strategy not in STRATEGIES:
        raise InputError(f"--strategy must be one of {', '.join(STRATEGIES)}, got {strategy!r}")
    names = _device_names(devices)
    if strategy == "single" or (strategy == "auto" and len(names) == 1):
        return tf.distribute.get_strategy()
    return _mirrored(tuple(names))


@functools.cache
def _mirrored(names):
    # One for all trainings of a process: TensorFlow's collective operations of a second strategy
    # over the same devices would collide with those of the first.
    return tf.distribute.MirroredStrategy(names)


def _device_names(devices):
    if devices is None:
        count = len(tf.config.list_physical_devices("GPU"))
        return [f"/gpu:{i}" for i in range(count)] or ["/cpu:0"]
    match = re.fullmatch(r"(cpu|gpu):([1-9]\d*)", devices.lower())
    if not match:
        raise InputError(f"--devices must be cpu:N or gpu:N with N of at least 1, got {devices!r}")
    kind, count = match[1], int(match[2])
    if kind == "gpu":
        found = tf.config.list_physical_devices("GPU")
        if len(found) < count:
            raise InputError(f"--devices {devices}: TensorFlow sees {len(found)} GPUs here")
        _before_start(lambda: tf.config.set_visible_devices(found[:count], "GPU"))
    else:
        _before_start(lambda: _split_cpu(count))
    there = len(tf.config.list_logical_devices(kind.upper()))
    if there < count:
        raise InputError(f"--devices {devices}: TensorFlow has started with {there} of them")
    return [f"/{kind}:{i}" for i in range(count)]


def _split_cpu(count):
    tf.config.set_visible_devices([], "GPU")
    if count > 1:
        tf.config.set_logical_device_configuration(
            tf.config.list_physical_devices("CPU")[0],
            [tf.config.LogicalDeviceConfiguration()] * count,
        )


def _before_start(configure):
    # TensorFlow that has started already refuses; what it started with may do all the same.
    with contextlib.suppress(RuntimeError):
        configure()
