"""A training from recipe to run directory."""

import os
from pathlib import Path

import keras
from rich.console import Console
from rich.text import Text

import tfgen
from tfgen.data.augmentation import Augmentation
from tfgen.errors import InputError
from tfgen.files import expanded, write_json
from tfgen.models import preset
from tfgen.optimizers.averaging import share_of_first_weights
from tfgen.training import (
    curve,
    finished,
    initial_weights,
    loss_scaling,
    memory,
    recipe,
    recipe_data,
    run_directory,
)
from tfgen.training import strategy as strategies
from tfgen.training.checkpoint import Checkpoints
from tfgen.training.loop import Loop
from tfgen.training.progress import ProgressBar
from tfgen.training.schedule import WarmupDecay
from tfgen.training.signals import StoppedError
from tfgen.training.tensorboard import TensorBoard

LOGS = "logs"
MOST_OF_THE_FIRST_WEIGHTS = 0.05


def train(
    chosen,
    out=None,
    *,
    data_dir=None,
    initial=None,
    strategy="auto",
    devices=None,
    command=None,
    console=None,
):
    """Train what a recipe says, evaluate it on the test split, and save it.

    The directory then holds `config.json`, `model.weights.h5`, `card.json`, `README.md`, pictures
    and `logs`; `tfgen.zoo.load` reads it. If the training fails before its first checkpoint,
    nothing is left; afterwards `resume` goes on with it.

    Args:
        chosen: a `Recipe`.
        out: the directory to make; by default the first free one of `runs/NAME-001` and so on.
        data_dir: where local data sets lie, see `tfgen.data.load`.
        initial: the directory of a model whose weights the training begins with, see
            `tfgen.training.initial_weights`.
        strategy, devices: see `tfgen.training.strategy.choose`.
        command: how to do this again, for the card.
        console: a `rich.console.Console` to report to.

    Returns:
        The path of the directory; None in a worker that is not the chief.

    Raises:
        InputError: a directory that holds something already, missing data, a recipe that its model
            refuses, initial weights that do not fit, a training that diverged.
        StoppedError: SIGINT or SIGTERM came; the training was saved.

    Example:

    >>> import tempfile, tfgen
    >>> from tfgen.training import recipe, run
    >>> short = recipe.load("vae-digits", ["epochs=1"])
    >>> directory = run.train(short, tempfile.mkdtemp() + "/run")
    VAE of 102,224 parameters, 1,293 images (8, 8, 1) of digits, 1 device
    21 steps, 21 an epoch, of 64 images; learning rate 0.001
    epoch 1/1: ...
    >>> tfgen.zoo.card(directory)["metrics"]["nats"]["unit"]
    'nats/image'
    """
    chosen = _as_initial(chosen, initial)
    settings = {
        "directory": os.getcwd(),
        "data_dir": _absolute(data_dir),
        "initial": _absolute(initial),
        "strategy": strategy,
        "devices": devices,
        "command": command,
    }
    console = console or Console()
    distribution = strategies.choose(strategy, devices)
    if not strategies.is_chief(distribution):
        training = _Training(chosen, distribution, settings, _shared(out), console)
        training.plan()
        _follow(training)
        return None
    if strategies.worker_count(distribution) > 1:
        _shared(out)
    with run_directory.claimed(out, chosen.name) as out:
        training = _Training(chosen, distribution, settings, out, console)
        training.plan()
        training.train()
        training.finish()
    return out


def resume(out, *, data_dir=None, strategy=None, devices=None, console=None):
    """Go on with a training that was stopped or killed, from its newest checkpoint.

    Args:
        out: the directory of the run.
        data_dir, strategy, devices: by default those of the run.
        console: a `rich.console.Console` to report to.

    Returns:
        The path of the directory; None in a worker that is not the chief.

    Raises:
        InputError: no unfinished run there, or another process is at it; and as `train`.
        StoppedError: as `train`.
    """
    console = console or Console()
    plan = run_directory.plan_of(out)
    given = {"data_dir": _absolute(data_dir), "strategy": strategy, "devices": devices}
    settings = {**plan["settings"], **{k: v for k, v in given.items() if v is not None}}
    distribution = strategies.choose(settings["strategy"], settings["devices"])
    chosen = recipe.Recipe.model_validate(plan["recipe"])
    if not strategies.is_chief(distribution):
        training = _Training(chosen, distribution, settings, Path(out), console)
        training.resume()
        _follow(training)
        return None
    with run_directory.claimed_again(out) as out:
        training = _Training(chosen, distribution, settings, out, console)
        training.resume()
        training.train()
        training.finish()
    return out


def dry_run(chosen, *, data_dir=None, initial=None, strategy="auto", devices=None, console=None):
    """Say what a training would be, without starting it: parameters, memory and steps.

    Args:
        chosen: a `Recipe`.
        data_dir, initial, strategy, devices, console: as for `train`.

    Returns:
        The memory that each device needs, a `tfgen.training.memory.Memory`.

    Raises:
        InputError: missing data, a recipe that its model refuses, initial weights that do not fit.
    """
    chosen = _as_initial(chosen, initial)
    settings = {"data_dir": data_dir, "initial": _absolute(initial)}
    distribution = strategies.choose(strategy, devices)
    training = _Training(chosen, distribution, settings, None, console or Console())
    return training.estimate()


def _follow(training):
    """The part of a worker that is not the chief: it trains, and writes nothing."""
    training.train()
    training.wait_for_all()


def _absolute(directory):
    return None if directory is None else str(expanded(directory).resolve())


def _shared(out):
    if out is None:
        raise InputError("several workers need --out DIR, a directory that all of them see")
    return Path(out)


class _Training:
    """From a recipe to a run directory, in steps that a resumption shares."""

    def __init__(self, chosen, distribution, settings, out, console):
        self._chosen, self._settings, self._out = chosen, settings, out
        self._distribution, self._console = distribution, console
        self._is_chief = strategies.is_chief(distribution)
        self._data = recipe_data.load(chosen, settings["data_dir"], settings.get("directory"))
        keras.utils.set_random_seed(chosen.training.seed)
        steps = _planned_steps(chosen.training, self._data.splits["train"])
        self._schedule = WarmupDecay(
            chosen.optimizer.learning_rate, steps or 1, **chosen.schedule.model_dump()
        )
        with distribution.scope():
            self._model = recipe.build(tfgen.models, chosen.model, self._data.image_shape)
            recipe_data.check_classes(self._model, self._data)
            optimizer = recipe.build(
                tfgen.optimizers, chosen.optimizer, learning_rate=self._schedule
            )
            self._model.compile(
                loss_scaling.wrapped_if_needed(optimizer, self._model),
                seed=chosen.training.seed,
                jit_compile=strategies.compiles(distribution),
            )
        replicas = distribution.num_replicas_in_sync
        self._say(
            f"{chosen.model.class_name} of {self._model.count_params():,} parameters, "
            f"{self._data.splits['train']:,} images {self._data.image_shape} of {self._data.name}, "
            f"{replicas} device{'s' if replicas > 1 else ''}"
        )
        self._steps = steps

    def plan(self):
        """Fix the first weights and how many steps there are; write what a resumption needs."""
        self._take_over_initial_weights()
        self._loop = self._new_loop(self._steps or 1)
        if self._steps is None:
            self._measure()
        if not self._is_chief:
            return
        path = self._out / run_directory.PLAN
        path.parent.mkdir(exist_ok=True)
        plan = {"recipe": self._chosen.to_dict(), "settings": self._settings}
        write_json(path, plan)

    def resume(self):
        """Go back to the newest checkpoint; to the start if the run was killed before any."""
        self._loop = self._new_loop(self._steps)
        if not run_directory.can_be_resumed(self._out):
            self._say("no checkpoint yet: from the start")
            self._take_over_initial_weights()
            return
        for path, reason in self._loop.resume():
            self._say(f"{path.name} is damaged ({reason}): going back to the one before")
        self._say(f"resumed at step {self._loop.step:,} of {self._loop.total_steps:,}")

    def estimate(self):
        """Say how many steps there are and what memory they need."""
        self._take_over_initial_weights()
        replicas = self._distribution.num_replicas_in_sync
        each = -(-self._chosen.training.batch_size // replicas)
        steps = f"{self._steps:,} steps" if self._steps else "as many steps as there is time for"
        images = self._data.splits["train"]
        per_epoch = -(-images // self._chosen.training.batch_size)
        self._say(
            f"{steps}, {per_epoch:,} an epoch, of {self._chosen.training.batch_size:,} images"
        )
        found = memory.estimate(self._model, each)
        self._say(
            f"memory of each device, about: {_mib(found.total)} MiB "
            f"({_mib(found.weights)} weights, {_mib(found.optimizer)} optimizer, "
            f"{_mib(found.step)} for the step of {each:,} images)"
        )
        return found

    def train(self):
        self._state_the_plan()
        try:
            self._loop.run()
        except StoppedError as stopped:
            raise stopped.with_message(
                f"stopped at step {self._loop.step:,} of {self._loop.total_steps:,} and saved; "
                f"go on with: tfgen-train --resume --out {self._out}"
            ) from None

    def finish(self):
        """Evaluate and write the model."""
        self._loop.choose(self._chosen.training.weights)
        card = finished.card(self._chosen, self._data, self._model, self._loop, self._distribution)
        card["command"] = self._settings["command"]
        if "initial_weights" in self._settings:
            card["training"]["initial_weights"] = self._settings["initial_weights"]
        card["name"] = self._out.resolve().name
        finished.write(self._model, card, self._data, self._loop, self._out)
        self.wait_for_all()

    def wait_for_all(self):
        """Return when every worker is done."""
        self._loop.wait_for_all()

    def _take_over_initial_weights(self):
        directory = self._settings.get("initial")
        if directory is None:
            return
        taken = initial_weights.take_over(directory, self._model)
        if self._settings.setdefault("initial_weights", taken) != taken:
            raise InputError(
                f"{directory} holds {taken['name']} with weights of sha256 {taken['sha256']}, and "
                f"the run began with {self._settings['initial_weights']}: put those back, or begin "
                "anew"
            )
        self._say(f"the first weights are those of {taken['name']}")

    def _new_loop(self, steps):
        chosen, data, model = self._chosen, self._data, self._model
        training, checkpoint = chosen.training, chosen.checkpoint
        labels = getattr(model, "num_classes", None) is not None
        train = data.stream(
            "train",
            batch_size=training.batch_size,
            seed=training.seed,
            labels=labels,
            augmentation=Augmentation(**chosen.augmentation.model_dump()),
        )
        validation = None
        if "validation" in data.splits:
            validation = data.stream("validation", batch_size=training.batch_size, shuffle=False)
        return Loop(
            model,
            self._distribution,
            train,
            validation,
            steps,
            Checkpoints(self._out / run_directory.CHECKPOINTS, checkpoint.keep),
            every_steps=checkpoint.every_steps,
            every_minutes=checkpoint.every_minutes,
            writes=self._is_chief,
            watchers=[
                ProgressBar(self._console),
                TensorBoard(self._out / LOGS, recipe.to_yaml(chosen)),
                curve.Curve(self._out / curve.FILE),
            ]
            if self._is_chief
            else [],
        )

    def _measure(self):
        """From hours to steps, once and for all."""
        hours = self._chosen.training.hours
        steps = self._loop.steps_in(3600 * hours)
        self._schedule.total_steps = steps
        self._chosen = recipe.with_value(self._chosen, "training.steps", steps, "training.hours")
        self._say(f"{hours:g} hours are {steps:,} steps on this machine")
        self._loop = self._new_loop(steps)

    def _state_the_plan(self):
        loop, replicas = self._loop, self._distribution.num_replicas_in_sync
        size = self._chosen.training.batch_size
        workers = strategies.worker_count(self._distribution)
        share = f", {-(-size // replicas)} on each of {replicas} devices" if replicas > 1 else ""
        share += f" of {workers} workers" if workers > 1 else ""
        schedule = self._schedule
        rate = f"learning rate {schedule.peak:g}"
        if schedule.decay != "constant":
            rate += f", {schedule.decay} decay to {schedule.peak * schedule.final:g}"
        if schedule.warmup_steps:
            rate += f", {schedule.warmup_steps:,} steps of warm-up"
        self._say(
            f"{loop.total_steps:,} steps, {loop.stream.steps_per_epoch:,} an epoch, of {size:,} "
            f"images{share}; {rate}"
        )
        for note in self._notes():
            self._say(f"note: {note}")

    def _notes(self):
        """What a short training should know of settings made for a long one."""
        steps, schedule = self._loop.total_steps, self._schedule
        if schedule.warmup_steps >= steps:
            yield (
                f"the {schedule.warmup_steps:,} steps of warm-up are never over; a smaller "
                "schedule.warmup_steps lets the learning rate arrive"
            )
        left = share_of_first_weights(self._model.optimizer, steps)
        if left > MOST_OF_THE_FIRST_WEIGHTS:
            yield (
                f"the averaged weights, which the model gets, will be {left:.0%} the first ones; "
                "optimizer.use_ema=false or a smaller optimizer.ema_momentum shows what was learnt"
            )

    def _say(self, text):
        if not self._is_chief:
            return
        self._console.print(Text(text), soft_wrap=True)


def _as_initial(chosen, initial):
    """The recipe, with images of the shape that the initial weights are for if it says no other."""
    if initial is None or chosen.data.image_shape or chosen.data.source in tfgen.data.names():
        return chosen
    shape = preset.read_card(_absolute(initial)).get("image_shape")
    return recipe.with_value(chosen, "data.image_shape", shape, f"the shape of {initial}")


def _mib(size):
    return f"{size / 2**20:,.1f}"


def _planned_steps(training, images):
    """Steps of the whole training; None where the time decides."""
    if training.hours is not None:
        return None
    return training.steps or training.epochs * -(-images // training.batch_size)
