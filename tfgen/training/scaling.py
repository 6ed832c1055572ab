"""Warm-ups and averages that are given in steps, cut to a fraction of a short training run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tfgen.optimizers import averaging

if TYPE_CHECKING:
    from tfgen.training.setup import Setup

Scaled = dict[str, dict[str, Any]]

LARGEST_WARMUP = 0.1  # of the learning rate, as a fraction of the steps of the run
LARGEST_OF_MODEL = {"kl_warmup": 0.25, "iwae_start_step": 0.85}
LARGEST_HORIZON = 0.2  # of the averages, 1 / (1 - momentum) updates


def scale(setup: Setup, steps: int) -> Scaled:
    """Cut what a recipe gives in steps to the steps of the run, in place.

    Equations, with n the number of steps, u = n / `gradient_accumulation_steps` of updates:

    - `schedule.warmup_steps` is at most n / 10
    - `model.kl_warmup` is at most n / 4, `model.iwae_start_step` at most 0.85 n
    - the decay rate m of averages is at most 1 - 1 / (0.2 u), so that an average covers about the
      last fifth of the run

    Nothing changes in a run that is long enough, and nothing depends on anything but the recipe and
    n: a resumed run has the same values. `schedule.scale_to_run=false` in a recipe switches it off.

    Args:
        setup: the objects of the recipe, before the first training step.
        steps: number of steps of the run.

    Returns:
        For the log and the card: `{key: {"given": ..., "used": ...}}` of each value that changed.

    Example:

    >>> import tensorflow as tf
    >>> from tfgen.training import recipe, setup
    >>> chosen = recipe.load("vae-digits", ["steps=100", "warmup_steps=50", "model.kl_warmup=20"])
    >>> made = setup.prepare(chosen, tf.distribute.get_strategy())
    >>> made.scaled
    {'schedule.warmup_steps': {'given': 50, 'used': 10}}
    """
    setup.schedule.total_steps = steps
    recipe = setup.recipe
    scaled: Scaled = {}
    if not recipe.schedule.scale_to_run:
        return scaled

    def cut(key, given, largest):
        if given > largest:
            scaled[key] = {"given": given, "used": largest}
        return min(given, largest)

    setup.schedule.warmup_steps = cut(
        "schedule.warmup_steps", recipe.schedule.warmup_steps, int(LARGEST_WARMUP * steps)
    )
    model: Any = setup.model
    for name, fraction in LARGEST_OF_MODEL.items():
        given = getattr(recipe.model, name, 0)
        if given:
            model.settings[name] = cut(f"model.{name}", given, int(fraction * steps))
    optimizer = setup.model.optimizer
    kind = averaging.averaging(optimizer)
    if kind is not None:
        accumulated = averaging.unwrapped(optimizer).gradient_accumulation_steps or 1
        name = "ema_momentum" if kind == "ema" else "averaging_momentum"
        largest = round(max(0.0, 1.0 - accumulated / (LARGEST_HORIZON * steps)), 6)
        given = averaging.momentum(optimizer)
        averaging.set_momentum(optimizer, cut(f"optimizer.{name}", given, largest))
    return scaled


def describe(scaled: Scaled) -> str:
    """The changed values in one line.

    >>> from tfgen.training.scaling import describe
    >>> describe({"schedule.warmup_steps": {"given": 500, "used": 12}})
    'schedule.warmup_steps 12 instead of 500'
    """
    return ", ".join(f"{key} {v['used']:g} instead of {v['given']:g}" for key, v in scaled.items())
