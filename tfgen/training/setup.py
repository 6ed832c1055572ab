"""From a recipe to a compiled model and its training loop."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable
from pathlib import Path

import keras
import tensorflow as tf

import tfgen
from tfgen.data.augmentation import Augmentation
from tfgen.data.dataset import Dataset
from tfgen.models.base import GenerativeModel
from tfgen.training import loss_scaling, recipe_data, run_directory
from tfgen.training import recipe as recipes
from tfgen.training import strategy as strategies
from tfgen.training.checkpoint import Checkpoints
from tfgen.training.loop import Loop
from tfgen.training.recipe import Recipe
from tfgen.training.schedule import WarmupDecay


@dataclasses.dataclass
class Setup:
    """What a recipe describes.

    Attributes:
        recipe: it.
        distribution: the strategy under which the model was made.
        data: with its validation images held out.
        model: compiled.
        schedule: of the learning rate.
        steps: of the whole training; None where the recipe gives hours, until they are measured.
    """

    recipe: Recipe
    distribution: tf.distribute.Strategy
    data: Dataset
    model: GenerativeModel
    schedule: WarmupDecay
    steps: int | None

    @property
    def steps_per_epoch(self) -> int:
        """The number of batches that cover the training images, the last one perhaps smaller."""
        return -(-self.data.splits["train"] // self.recipe.training.batch_size)


def prepare(
    recipe: Recipe,
    distribution: tf.distribute.Strategy,
    *,
    data_dir: str | os.PathLike[str] | None = None,
    directory: str | os.PathLike[str] | None = None,
) -> Setup:
    """Load the data, seed every random number generator, and build and compile the model.

    Args:
        recipe: of the training.
        distribution: see `tfgen.training.strategy.choose`.
        data_dir: where local data sets are, see `tfgen.data.load`.
        directory: in which the run began, see `tfgen.training.recipe_data.load`.

    Raises:
        InputError: missing data, or a recipe that its model or optimizer refuses.
    """
    data = recipe_data.load(recipe, data_dir, directory)
    keras.utils.set_random_seed(recipe.training.seed)
    steps = _planned_steps(recipe.training, data.splits["train"])
    schedule = WarmupDecay(
        recipe.optimizer.learning_rate, steps or 1, **recipe.schedule.model_dump()
    )
    with distribution.scope():
        model = recipes.build(tfgen.models, recipe.model, data.image_shape)
        recipe_data.check_classes(model, data)
        optimizer = recipes.build(tfgen.optimizers, recipe.optimizer, learning_rate=schedule)
        model.compile(
            loss_scaling.wrapped_if_needed(optimizer, model),
            seed=recipe.training.seed,
            jit_compile=strategies.compiles(distribution),
        )
    return Setup(recipe, distribution, data, model, schedule, steps)


def make_loop(setup: Setup, out: Path, callbacks: Iterable[keras.callbacks.Callback] = ()) -> Loop:
    """The loop of a training that writes to a run directory; one step long if it has hours."""
    recipe, data, model = setup.recipe, setup.data, setup.model
    training, checkpoint = recipe.training, recipe.checkpoint
    train = data.stream(
        "train",
        batch_size=training.batch_size,
        seed=training.seed,
        labels=model.num_classes is not None,
        augmentation=Augmentation(**recipe.augmentation.model_dump()),
    )
    validation = None
    if "validation" in data.splits:
        validation = data.stream("validation", batch_size=training.batch_size, shuffle=False)
    return Loop(
        model,
        setup.distribution,
        train,
        validation,
        setup.steps or 1,
        Checkpoints(out / run_directory.CHECKPOINTS, checkpoint.keep),
        every_steps=checkpoint.every_steps,
        every_minutes=checkpoint.every_minutes,
        writes=strategies.is_chief(setup.distribution),
        callbacks=callbacks,
    )


def _planned_steps(training, images):
    """The steps of the whole training; None where the recipe gives hours."""
    if training.hours is not None:
        return None
    return training.steps or training.epochs * -(-images // training.batch_size)
