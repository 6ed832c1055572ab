"""From the hours of a recipe to steps: what else a run needs time for is subtracted."""

from __future__ import annotations

import dataclasses
import time

import numpy as np

from tfgen.errors import InputError
from tfgen.training import final_weights
from tfgen.training.durations import words
from tfgen.training.loop import Loop
from tfgen.training.setup import Setup

MEASURED_SECONDS, MEASURED_FRACTION = 20.0, 0.05  # of the hours: for the time of a step
NUM_SAMPLES = 64  # as in the pictures
PICTURES = 3  # about as many times that many images are decoded for the pictures of a run


@dataclasses.dataclass(frozen=True)
class Budget:
    """The parts of the hours of a recipe, in seconds.

    Attributes:
        hours: what the recipe gives.
        preparation: until the first step, including this measurement and the compilation.
        step: one step of training, with its share of validation.
        evaluation: the estimate for evaluation and pictures at the end.
        steps: the number of steps that fit into the rest.
    """

    hours: float
    preparation: float
    step: float
    evaluation: float
    steps: int

    def describe(self) -> str:
        """The plan in one line.

        >>> from tfgen.training.budget import Budget
        >>> Budget(0.1, 60.0, 0.25, 90.0, 840).describe()
        '0.1 hours are 840 steps on this machine: 3.5 minutes for them, 60 seconds before, about \
90 seconds after them for evaluation and pictures'
        """
        return (
            f"{self.hours:g} hours are {self.steps:,} steps on this machine: "
            f"{words(self.steps * self.step)} for them, {words(self.preparation)} before, about "
            f"{words(self.evaluation)} after them for evaluation and pictures"
        )


def plan(setup: Setup, loop: Loop, hours: float, begun: float) -> Budget:
    """Measure a step and the parts of the evaluation, and divide the hours among them.

    The weights do not change. What cannot be measured in advance, such as another program that
    starts later, can make the run longer or shorter.

    Args:
        setup: the objects of the recipe.
        loop: the training loop, before its first step.
        hours: hours of the whole run.
        begun: when they began, by `time.monotonic()`.

    Raises:
        InputError: the hours are too few: no time is left for a single training step.
    """
    seconds = 3600.0 * hours
    compilation, step = loop.time_of_a_step(min(MEASURED_SECONDS, MEASURED_FRACTION * seconds))
    evaluation = _evaluation(setup, loop)
    # The loop of the run compiles its own step, with its own number of steps in the schedule.
    preparation = time.monotonic() - begun + compilation
    preparation, step, evaluation = map(loop.replicated.mean, (preparation, step, evaluation))
    steps = int((seconds - preparation - evaluation) / step)
    if steps < 1:
        needed = (preparation + evaluation) / 3600.0
        raise InputError(
            f"training.hours={hours:g} leaves no time for training: preparation took "
            f"{words(preparation)}, and evaluation and pictures will take about "
            f"{words(evaluation)}; give more than {needed:.2g} hours, or training.steps"
        )
    return Budget(hours, preparation, step, evaluation, steps)


def _evaluation(setup, loop):
    """Seconds of evaluation and pictures; their graphs are compiled here and used again there."""
    model, data = setup.model, setup.data
    images = np.asarray(loop.global_batch(0)[0])
    k = model.num_evaluation_samples

    def timed(function):
        np.asarray(function())  # compiles
        start = time.monotonic()
        np.asarray(function())
        return time.monotonic() - start

    per_image = timed(lambda: model.log_prob(images, num_samples=k)) / len(images)
    evaluated = data.splits["test"] + 2 * final_weights.count(setup)
    pictures = timed(lambda: model.sample(NUM_SAMPLES)) + timed(lambda: model.encode(images[:32]))
    return evaluated * per_image + PICTURES * pictures
