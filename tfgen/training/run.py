"""Training from a recipe to a run directory."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import keras
import tensorflow as tf
from rich.console import Console
from rich.text import Text

import tfgen
from tfgen.errors import InputError
from tfgen.files import PathLike, expanded, write_json
from tfgen.models import preset
from tfgen.training import (
    budget,
    curve,
    final_weights,
    finished,
    initial_weights,
    memory,
    run_directory,
    summary,
)
from tfgen.training import recipe as recipes
from tfgen.training import strategy as strategies
from tfgen.training.memory import Memory
from tfgen.training.progress import ProgressBar
from tfgen.training.quality import refuse_if_worse_than_uniform
from tfgen.training.recipe import Recipe
from tfgen.training.setup import make_loop, prepare, set_steps
from tfgen.training.signals import StoppedError
from tfgen.training.tensorboard import TensorBoard

LOGS = "logs"


class DryRun(NamedTuple):
    """The result of `dry_run`.

    Attributes:
        parameters: number of the model's parameters.
        images: number of training images.
        steps: number of steps; None if the recipe gives hours.
        steps_per_epoch: number of steps that take each image once.
        batch_size: number of images per step, over all devices.
        memory: what each device needs.
    """

    parameters: int
    images: int
    steps: int | None
    steps_per_epoch: int
    batch_size: int
    memory: Memory


def train(
    recipe: Recipe,
    out: PathLike | None = None,
    *,
    data_dir: PathLike | None = None,
    initial: PathLike | None = None,
    strategy: str = "auto",
    devices: str | None = None,
    callbacks: Iterable[keras.callbacks.Callback] = (),
    command: str | None = None,
    begun: float | None = None,
    console: Console | None = None,
) -> Path | None:
    """Train a recipe's model, evaluate it on the test split, and save it.

    The directory then contains `config.json`, `model.weights.h5`, `card.json`, `README.md`,
    pictures and `logs`; `tfgen.zoo.load` reads it. If training fails before its first
    checkpoint, the directory is removed; afterwards, and where a file could not be written,
    `resume` continues it.

    Args:
        recipe: the recipe.
        out: the directory to create; by default the first free one of `runs/NAME-001` and so on.
        data_dir: where local data sets are, see `tfgen.data.load`.
        initial: the directory of a model with the initial weights, see
            `tfgen.training.initial_weights`.
        strategy, devices: see `tfgen.training.strategy.choose`.
        callbacks: Keras callbacks, called as described in `tfgen.training.loop.Loop`.
        command: the command line that repeats this run, for the card.
        begun: the time, by `time.monotonic()`, from which the hours of a recipe count; by default
            that of this call.
        console: where progress is printed.

    Returns:
        The path of the directory; None in a worker that is not the chief.

    Raises:
        InputError: a directory that is not empty, missing data, invalid arguments in the recipe,
            initial weights that do not fit, hours that leave no time for training, training that
            diverged, or a file that cannot be written.
        WorseThanUniformError: the model, which was saved, is worse than uniform noise.
        StoppedError: SIGINT or SIGTERM was received; training was saved.

    Example:

    >>> import tempfile, tfgen
    >>> from tfgen.training import recipe, run
    >>> short = recipe.load("vae-digits", ["epochs=1"])
    >>> directory = run.train(short, tempfile.mkdtemp() + "/run")
    VAE of 102,224 parameters, 1,293 images (8, 8, 1) of digits, 1 device
    21 steps, 21 per epoch, of 64 images; learning rate 0.001
    epoch 1/1: ...
    >>> tfgen.zoo.card(directory)["metrics"]["nats"]["unit"]
    'nats/image'
    """
    begun = time.monotonic() if begun is None else begun
    recipe = _fitted_to(initial, recipe)
    settings = {
        "directory": os.getcwd(),
        "data_dir": _absolute(data_dir),
        "initial": _absolute(initial),
        "strategy": strategy,
        "devices": devices,
        "command": command,
    }
    distribution = strategies.choose(strategy, devices)
    if strategies.worker_count(distribution) > 1 and out is None:
        raise InputError("several workers need --out DIR, a directory that they all see")
    with _claimed(distribution, out, recipe.name) as directory:
        training = _Training(recipe, distribution, settings, directory, callbacks, console)
        training.plan(begun)
        training.run()
        found = training.finish()
    return refuse_if_worse_than_uniform(found)


def resume(
    out: PathLike,
    *,
    data_dir: PathLike | None = None,
    strategy: str | None = None,
    devices: str | None = None,
    callbacks: Iterable[keras.callbacks.Callback] = (),
    console: Console | None = None,
) -> Path | None:
    """Continue a run that was stopped or killed, from its newest checkpoint.

    Args:
        out: the directory of the run.
        data_dir, strategy, devices: by default those of the run.
        callbacks: as for `train`; their state is not restored.
        console: where progress is printed.

    Returns:
        The path of the directory; None in a worker that is not the chief.

    Raises:
        InputError: there is no unfinished run, or another process uses it; the errors of `train`.
        WorseThanUniformError: as `train`.
        StoppedError: as `train`.
    """
    plan = run_directory.plan_of(out)
    given = {"data_dir": _absolute(data_dir), "strategy": strategy, "devices": devices}
    settings = {**plan["settings"], **{k: v for k, v in given.items() if v is not None}}
    distribution = strategies.choose(settings["strategy"], settings["devices"])
    recipe = Recipe.model_validate(plan["recipe"])
    with _claimed(distribution, out) as directory:
        training = _Training(recipe, distribution, settings, directory, callbacks, console)
        training.resume()
        training.run()
        found = training.finish()
    return refuse_if_worse_than_uniform(found)


def dry_run(
    recipe: Recipe,
    *,
    data_dir: PathLike | None = None,
    initial: PathLike | None = None,
    strategy: str = "auto",
    devices: str | None = None,
    console: Console | None = None,
) -> DryRun:
    """Print the parameters, steps and memory of training without starting it.

    Args:
        recipe: the recipe.
        data_dir, initial, strategy, devices, console: as for `train`.

    Returns:
        The same as a `DryRun`.

    Raises:
        InputError: missing data, invalid arguments in the recipe, initial weights that do not fit.
    """
    recipe = _fitted_to(initial, recipe)
    setup = prepare(recipe, strategies.choose(strategy, devices), data_dir=data_dir)
    output = _Output(setup.distribution, console)
    output.print(summary.of_model(setup))
    if initial is not None:
        taken = initial_weights.take_over(expanded(initial), setup.model)
        output.print(summary.of_initial_weights(taken))
    output.print(summary.of_steps(setup, setup.steps))
    images = -(-recipe.training.batch_size // setup.distribution.num_replicas_in_sync)
    found = memory.estimate(setup.model, images)
    output.print(summary.of_memory(found, images))
    return DryRun(
        parameters=setup.model.count_params(),
        images=setup.data.splits["train"],
        steps=setup.steps,
        steps_per_epoch=setup.steps_per_epoch,
        batch_size=recipe.training.batch_size,
        memory=found,
    )


class _Output:
    """A console on which only the chief worker prints."""

    def __init__(self, distribution, console):
        self.console = console or Console()
        self._is_chief = strategies.is_chief(distribution)

    def print(self, text):
        if self._is_chief:
            self.console.print(Text(text), soft_wrap=True)


class _Training:
    """The steps from a recipe to a run directory, for new and resumed runs.

    The constructor creates the compiled model.
    """

    def __init__(
        self,
        recipe: Recipe,
        distribution: tf.distribute.Strategy,
        settings: dict[str, Any],
        out: Path,
        callbacks: Iterable[keras.callbacks.Callback],
        console: Console | None,
    ) -> None:
        self._settings, self._out, self._callbacks = settings, out, list(callbacks)
        self._output = _Output(distribution, console)
        self._is_chief = strategies.is_chief(distribution)
        self._setup = prepare(
            recipe,
            distribution,
            data_dir=settings["data_dir"],
            directory=settings.get("directory"),
        )
        self._output.print(summary.of_model(self._setup))

    def plan(self, begun: float) -> None:
        """Set the initial weights and the number of steps; write the plan that `resume` reads."""
        self._take_initial_weights()
        self._loop = self._new_loop()
        hours = self._setup.recipe.training.hours
        if hours is not None:
            self._turn_into_steps(hours, begun)
        if self._is_chief:
            path = self._out / run_directory.PLAN
            path.parent.mkdir(exist_ok=True)
            recipe = self._setup.recipe.to_dict()
            write_json(path, {"recipe": recipe, "settings": self._settings})

    def resume(self) -> None:
        """Restore the newest checkpoint; start from the beginning if there is none."""
        self._loop = self._new_loop()
        if not run_directory.can_be_resumed(self._out):
            self._output.print("no checkpoint yet: starting from the beginning")
            self._take_initial_weights()
            return
        for path, reason in self._loop.resume():
            self._output.print(f"{path.name} is damaged ({reason}): using the previous one")
        self._output.print(f"resumed at step {self._loop.step:,} of {self._loop.total_steps:,}")

    def run(self) -> None:
        """Take the steps."""
        self._output.print(summary.of_plan(self._setup, self._loop.total_steps))
        for note in summary.notes(self._setup, self._loop.total_steps):
            self._output.print(f"note: {note}")
        with self._explained():
            self._loop.run()

    def finish(self) -> Path | None:
        """Evaluate and write the model. Returns the path of the directory in the chief worker."""
        with self._explained():
            if self._is_chief:
                self._write_model()
            self._loop.wait_for_all()
        return self._out if self._is_chief else None

    @contextlib.contextmanager
    def _explained(self):
        """Errors for a signal or a file that cannot be written say how to go on."""
        try:
            yield
        except OSError as error:
            saved = self._loop.saved_step
            kept = "no checkpoint is" if saved is None else f"the checkpoint of step {saved:,} is"
            raise InputError(
                f"{error.filename or self._out}: {error.strerror or error}; {self._where()}; "
                f"{kept} saved; once the file can be written, {self._how_to_resume()}"
            ) from error
        except KeyboardInterrupt as interruption:
            saved = self._loop.saved_step
            if saved is None:
                raise
            kept = "and saved" if saved == self._loop.step else f"but saved at step {saved:,}"
            number = getattr(interruption, "exit_code", 128 + signal.SIGINT) - 128
            message = f"{self._where()} {kept}; {self._how_to_resume()}"
            raise StoppedError(message, number) from None

    def _where(self):
        return f"stopped at step {self._loop.step:,} of {self._loop.total_steps:,}"

    def _how_to_resume(self):
        return f"resume with: tfgen-train --resume --out {self._out}"

    def _write_model(self):
        setup = self._setup
        chosen = final_weights.take(setup, self._loop)
        note = final_weights.describe(chosen)
        if note is not None:
            self._output.print(f"note: {note}")
        card = finished.card(setup, self._loop)
        card["training"]["weights"] = chosen
        card["command"] = self._settings["command"]
        if "initial_weights" in self._settings:
            card["training"]["initial_weights"] = self._settings["initial_weights"]
        card["name"] = self._out.resolve().name
        finished.write(setup.model, card, setup.data, self._loop.history, self._out)

    def _take_initial_weights(self):
        directory = self._settings.get("initial")
        if directory is None:
            return
        taken = initial_weights.take_over(directory, self._setup.model)
        if self._settings.setdefault("initial_weights", taken) != taken:
            raise InputError(
                f"{directory} contains {taken['name']} with weights of sha256 {taken['sha256']}, "
                f"but the run began with {self._settings['initial_weights']}: restore those "
                "weights, or start a new run"
            )
        self._output.print(summary.of_initial_weights(taken))

    def _new_loop(self):
        own = []
        if self._is_chief:
            own = [
                ProgressBar(self._output.console),
                TensorBoard(self._out / LOGS, recipes.to_yaml(self._setup.recipe)),
                curve.Curve(self._out / curve.FILE),
            ]
        return make_loop(self._setup, self._out, [*own, *self._callbacks])

    def _turn_into_steps(self, hours, begun):
        setup = self._setup
        found = budget.plan(setup, self._loop, hours, begun)
        set_steps(setup, found.steps)
        setup.recipe = recipes.with_value(
            setup.recipe, "training.steps", setup.steps, "training.hours", describes=True
        )
        self._output.print(found.describe())
        self._loop = self._new_loop()


@contextlib.contextmanager
def _claimed(distribution, out, name=None):
    """The run directory, locked by the chief worker; a new one if `name` is given."""
    if not strategies.is_chief(distribution):
        yield Path(out)
    elif name is None:
        with run_directory.claimed_again(out) as directory:
            yield directory
    else:
        with run_directory.claimed(out, name) as directory:
            yield directory


def _fitted_to(initial: PathLike | None, recipe: Recipe) -> Recipe:
    """The recipe; a folder without an image shape gets that of the initial weights."""
    if initial is None or recipe.data.image_shape or recipe.data.source in tfgen.data.names():
        return recipe
    shape = preset.read_card(_absolute(initial)).get("image_shape")
    return recipes.with_value(recipe, "data.image_shape", shape, f"the shape of {initial}")


def _absolute(directory):
    return None if directory is None else str(expanded(directory).resolve())
