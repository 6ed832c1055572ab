"""Strategies: training on one device, on several mirrored devices, or on several machines."""

from __future__ import annotations

import contextlib
import functools
import os
import re

import tensorflow as tf

from tfgen import checks
from tfgen.errors import InputError
from tfgen.files import parse_json

STRATEGIES = ("auto", "single", "mirrored", "multi_worker")


def choose(strategy: str = "auto", devices: str | None = None) -> tf.distribute.Strategy:
    """The TensorFlow strategy with a given name.

    Args:
        strategy: "single" is one device; "mirrored" is `MirroredStrategy` over all devices
            given; "multi_worker" is `MultiWorkerMirroredStrategy` over the machines that the
            environment variable TF_CONFIG lists, and must be chosen before TensorFlow computes
            anything; "auto" is "multi_worker" if TF_CONFIG lists several machines, "mirrored" if
            there is more than one device, and "single" otherwise.
        devices: "cpu:N" ignores GPUs and splits the CPU into N logical devices, which must happen
            before TensorFlow uses them; "gpu:N" uses the first N GPUs; by default all
            GPUs, or the CPU if there are none.

    Raises:
        InputError: an unknown strategy, devices that do not exist or can no longer be created, a
            TF_CONFIG that lists no workers.

    Example:

    >>> from tfgen.training import strategy
    >>> strategy.choose("single", "cpu:1").num_replicas_in_sync
    1
    """
    checks.choice("--strategy", strategy, STRATEGIES)
    workers = _workers()
    if strategy == "multi_worker" or (strategy == "auto" and workers > 1):
        if not workers:
            raise InputError(
                "--strategy multi_worker: the environment variable TF_CONFIG must list the "
                'workers, as {"cluster": {"worker": ["HOST:PORT", ...]}, '
                '"task": {"type": "worker", "index": 0}}'
            )
        return _multi_worker(devices)
    names = _device_names(devices)
    if strategy == "single" or (strategy == "auto" and len(names) == 1):
        return tf.distribute.get_strategy()
    return _mirrored(tuple(names))


def compiles(strategy: tf.distribute.Strategy) -> bool:
    """Whether XLA compiles the steps: only for one GPU.

    CPUs are slower with XLA, and it cannot compile a step of several replicas.
    """
    alone = strategy.num_replicas_in_sync == 1 and worker_count(strategy) == 1
    return alone and bool(tf.config.list_logical_devices("GPU"))


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Whether this process is the one worker that writes files."""
    resolver = strategy.cluster_resolver
    if resolver is None or resolver.task_type in (None, "", "chief"):
        return True
    has_chief = "chief" in resolver.cluster_spec().jobs
    return not has_chief and resolver.task_type == "worker" and resolver.task_id == 0


def worker_count(strategy: tf.distribute.Strategy) -> int:
    """The number of processes that train together."""
    resolver = strategy.cluster_resolver
    jobs = resolver.cluster_spec().as_dict() if resolver is not None else {}
    return max(1, sum(len(jobs.get(job, [])) for job in ("chief", "worker")))


def _workers():
    """The number of workers that TF_CONFIG lists; 0 without it."""
    text = os.environ.get("TF_CONFIG")
    if not text:
        return 0
    try:
        cluster = parse_json(text, "TF_CONFIG").get("cluster", {})
        jobs = [cluster.get(job, []) for job in ("chief", "worker")]
        if all(isinstance(job, list) for job in jobs):
            return sum(map(len, jobs))
    except (InputError, AttributeError):
        pass
    raise InputError(
        f"the environment variable TF_CONFIG does not describe a cluster: {text[:200]}"
    )


@functools.cache
def _multi_worker(devices):
    if devices is not None:
        kind, _, count = devices.lower().partition(":")
        if kind == "gpu":
            _device_names(devices)
        elif count != "1":
            raise InputError(
                f"--devices {devices}: with several workers, each has one CPU device: use cpu:1"
            )
        else:
            _before_start(lambda: tf.config.set_visible_devices([], "GPU"))
    try:
        return tf.distribute.MultiWorkerMirroredStrategy()
    except RuntimeError as error:
        raise InputError(f"--strategy multi_worker: {error}") from None


@functools.cache
def _mirrored(names):
    # Logical CPUs share their memory: a sum on one of them takes less time than collectives.
    on_cpus = all(name.startswith("/cpu") for name in names)
    reduction = tf.distribute.ReductionToOneDevice() if on_cpus else None
    # One strategy per process: the collective operations of a second strategy over the same devices
    # would collide with those of the first.
    return tf.distribute.MirroredStrategy(names, cross_device_ops=reduction)


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
            raise InputError(f"--devices {devices}: TensorFlow found {len(found)} GPUs")
        _before_start(lambda: tf.config.set_visible_devices(found[:count], "GPU"))
    else:
        _before_start(lambda: _split_cpu(count))
    there = len(tf.config.list_logical_devices(kind.upper()))
    if there < count:
        raise InputError(
            f"--devices {devices}: TensorFlow has already started with {there} devices"
        )
    return [f"/{kind}:{i}" for i in range(count)]


def _split_cpu(count):
    tf.config.set_visible_devices([], "GPU")
    if count > 1:
        tf.config.set_logical_device_configuration(
            tf.config.list_physical_devices("CPU")[0],
            [tf.config.LogicalDeviceConfiguration()] * count,
        )


def _before_start(configure):
    # TensorFlow raises an error after its start; the existing configuration may be sufficient.
    with contextlib.suppress(RuntimeError):
        configure()
