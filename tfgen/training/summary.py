"""Descriptions of the model, the plan and the memory, printed before the first step."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator, Mapping

import tensorflow as tf

from tfgen.optimizers.averaging import share_of_first_weights
from tfgen.training import memory, scaling
from tfgen.training import strategy as strategies
from tfgen.training.durations import words
from tfgen.training.setup import Setup

LARGEST_SHARE_OF_FIRST_WEIGHTS = 0.05


def of_model(setup: Setup) -> str:
    """The model, its data and its devices."""
    replicas, data = setup.distribution.num_replicas_in_sync, setup.data
    return (
        f"{setup.recipe.model.class_name} of {setup.model.count_params():,} parameters, "
        f"{data.splits['train']:,} images {data.image_shape} of {data.name}, "
        f"{replicas} device{'s' if replicas > 1 else ''}"
    )


def of_run(setup: Setup, seconds: float) -> str:
    """The model, its data, and the time and machine of its training, for a card.

    The model and data are described in the recipe's words if the run is that of the recipe, and
    otherwise in words of their own.

    Args:
        setup: the objects of the recipe.
        seconds: time of training.
    """
    return f"{_description(setup)}, trained in {words(seconds)} on {_machine(setup)}"


def _description(setup):
    model, data = setup.model, setup.data
    files = data.provenance.get("files")  # of a folder of images, their number
    published = not isinstance(files, list) or all(file["published"] for file in files)
    if setup.recipe.summary and published:
        return setup.recipe.summary
    kind = "class-conditional " if model.num_classes else ""
    shape = "x".join(map(str, model.image_shape))
    bits = "1 bit" if model.num_bits == 1 else f"{model.num_bits} bits"
    files = "" if published else " (not the published files)"
    return f"a {kind}{type(model).__name__} of {data.name}{files}, {shape} images of {bits}"


def _machine(setup):
    replicas = setup.distribution.num_replicas_in_sync
    workers = strategies.worker_count(setup.distribution)
    names = devices(setup.distribution)
    if names == ["CPU"]:
        cores = os.cpu_count() or 1
        found = f"{cores} core{'' if cores == 1 else 's'} ({platform.machine()})"
    else:
        found = f"{replicas // workers} x {names[0]}" if replicas > workers else names[0]
    return found if workers == 1 else f"{workers} machines of {found}"


def devices(distribution: tf.distribute.Strategy) -> list[str]:
    """The names of the devices in use, such as "NVIDIA H100"; "CPU" if there are no others."""
    details = tf.config.experimental.get_device_details
    names = [
        details(gpu).get("device_name", "GPU") for gpu in tf.config.list_physical_devices("GPU")
    ]
    return names[: distribution.num_replicas_in_sync] or ["CPU"]


def of_plan(setup: Setup, steps: int) -> str:
    """The steps, their batches and the learning rate."""
    batch_size, replicas = setup.recipe.training.batch_size, setup.distribution.num_replicas_in_sync
    workers, schedule = strategies.worker_count(setup.distribution), setup.schedule
    share = f", {-(-batch_size // replicas)} on each of {replicas} devices" if replicas > 1 else ""
    share += f" of {workers} workers" if workers > 1 else ""
    rate = f"learning rate {schedule.peak:g}"
    if schedule.decay != "constant":
        rate += f", {schedule.decay} decay to {schedule.peak * schedule.final:g}"
    if schedule.warmup_steps:
        rate += f", {schedule.warmup_steps:,} warm-up steps"
    return f"{of_steps(setup, steps)}{share}; {rate}"


def of_steps(setup: Setup, steps: int | None) -> str:
    """The number of steps and their batch size."""
    number = f"{steps:,} steps" if steps else "as many steps as the hours allow"
    size = setup.recipe.training.batch_size
    return f"{number}, {setup.steps_per_epoch:,} per epoch, of {size:,} images"


def notes(setup: Setup, steps: int) -> Iterator[str]:
    """What was scaled to a short run, or suggested changes if scaling is switched off."""
    schedule = setup.schedule
    if setup.scaled:
        yield (
            f"scaled to a run of {steps:,} steps: {scaling.describe(setup.scaled)} "
            "(schedule.scale_to_run=false keeps what is given)"
        )
    if schedule.warmup_steps >= steps:
        yield (
            f"training ends within the {schedule.warmup_steps:,} warm-up steps; with a smaller "
            "schedule.warmup_steps the learning rate would reach its peak"
        )
    share = share_of_first_weights(setup.model.optimizer, steps)
    if share > LARGEST_SHARE_OF_FIRST_WEIGHTS:
        yield (
            f"{share:.0%} of the averaged weights, which the model gets, will be the weights after "
            "the first step; use optimizer.use_ema=false or a smaller optimizer.ema_momentum"
        )


def of_memory(found: memory.Memory, images: int) -> str:
    """The memory of each device.

    Args:
        found: the memory of one device.
        images: number of images per step on each device.
    """
    weights, optimizer = (f"{size / 2**20:,.1f}" for size in (found.weights, found.optimizer))
    if found.total is None or found.step is None:
        return (
            f"memory of each device: {weights} MiB weights, {optimizer} MiB optimizer; that of a "
            f"step of {images:,} images is unknown, because TensorFlow does not count the memory "
            "of this device (on a CPU it does with TF_ENABLE_ONEDNN_OPTS=1)"
        )
    total, step = (f"{size / 2**20:,.1f}" for size in (found.total, found.step))
    return (
        f"memory of each device, approximately: {total} MiB ({weights} weights, {optimizer} "
        f"optimizer, {step} for the step of {images:,} images)"
    )


def of_initial_weights(taken: Mapping[str, str]) -> str:
    """The model that the initial weights come from."""
    return f"initial weights: those of {taken['name']}"
