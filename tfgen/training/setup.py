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
from tfgen.training import loss_scaling, recipe_data, run_directory, scaling
from tfgen.training import recipe as recipes
from tfgen.training import strategy as strategies
from tfgen.training.checkpoint import Checkpoints
from tfgen.training.loop import Loop
from tfgen.training.recipe import Recipe
from tfgen.training.schedule import WarmupDecay


@dataclasses.dataclass
class Setup:
    """The objects that a recipe describes.

    Attributes:
        recipe: the recipe.
        distribution: the strategy under which the model was created.
        data: the data set, with its validation images held out.
        model: the compiled model.
        schedule: the schedule of the learning rate.
        steps: number of training steps; None if the recipe gives hours, until they are converted.
        scaled: what was cut to a fraction of these steps, see `tfgen.training.scaling`.
    """

    recipe: Recipe
    distribution: tf.distribute.Strategy
    data: Dataset
    model: GenerativeModel
    schedule: WarmupDecay
    steps: int | None
    scaled: scaling.Scaled = dataclasses.field(default_factory=dict)

    @property
    def steps_per_epoch(self) -> int:
        """The number of batches that cover the training images; the last one may be smaller."""
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
        recipe: the recipe.
        distribution: the strategy, see `tfgen.training.strategy.choose`.
        data_dir: where local data sets are, see `tfgen.data.load`.
        directory: the directory in which the run started, see `tfgen.training.recipe_data.load`.

    Raises:
        InputError: missing data, or invalid arguments of the model or optimizer.
    """
    data = recipe_data.load(recipe, data_dir, directory)
    keras.utils.set_random_seed(recipe.training.seed)
    steps = _planned_steps(recipe.training, data.splits["train"])
    schedule = WarmupDecay(
        recipe.optimizer.learning_rate,
        steps or 1,
        **recipe.schedule.model_dump(exclude={"scale_to_run"}),
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
    setup = Setup(recipe, distribution, data, model, schedule, None)
    if steps is not None:
        set_steps(setup, steps)
    return setup


def set_steps(setup: Setup, steps: int) -> None:
    """Set the number of steps, once; warm-ups, decay and averages are scaled to it."""
    setup.steps = steps
    setup.scaled = scaling.scale(setup, steps)


def make_loop(setup: Setup, out: Path, callbacks: Iterable[keras.callbacks.Callback] = ()) -> Loop:
    """A training loop that writes to a run directory; of one step while `setup.steps` is None."""
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
    """The number of training steps; None if the recipe gives hours."""
    if training.hours is not None:
        return None
    return training.steps or training.epochs * -(-images // training.batch_size)
