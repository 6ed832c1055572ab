"""Descriptions of the model, the plan and the memory, printed before the first step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from tfgen.optimizers.averaging import share_of_first_weights
from tfgen.training import memory
from tfgen.training import strategy as strategies
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
    """Suggested changes for short training with settings that are made for long training."""
    schedule = setup.schedule
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
    total, weights, optimizer, step = (
        f"{size / 2**20:,.1f}" for size in (found.total, found.weights, found.optimizer, found.step)
    )
    return (
        f"memory of each device, approximately: {total} MiB ({weights} weights, {optimizer} "
        f"optimizer, {step} for the step of {images:,} images)"
    )


def of_initial_weights(taken: Mapping[str, str]) -> str:
    """The model that the initial weights come from."""
    return f"initial weights: those of {taken['name']}"
