"""The sections of a recipe."""

from __future__ import annotations

from typing import Any, Literal

import pydantic

LENGTHS = ("epochs", "steps", "hours")


class Section(pydantic.BaseModel):
    """A part of a recipe, without unknown keys."""

    model_config = pydantic.ConfigDict(extra="forbid")


class Data(Section):
    """The training data: see `tfgen.data.load`."""

    source: str
    image_shape: tuple[int, int, int] | None = None
    options: dict[str, Any] = {}
    validation: float = pydantic.Field(0.1, ge=0, lt=1)


class Model(Section):
    """A class of `tfgen.models` and its arguments."""

    model_config = pydantic.ConfigDict(extra="allow", populate_by_name=True)
    class_name: str = pydantic.Field(alias="class")


class Optimizer(Section):
    """A class of `tfgen.optimizers` and its arguments."""

    model_config = pydantic.ConfigDict(extra="allow", populate_by_name=True)
    class_name: str = pydantic.Field("Adam", alias="class")
    learning_rate: float = pydantic.Field(1e-3, gt=0, allow_inf_nan=False)


class Schedule(Section):
    """The learning rate over the steps: see `tfgen.training.schedule`.

    With `scale_to_run`, warm-ups and averages that are longer than a fraction of the run are cut to
    it: see `tfgen.training.scaling`.
    """

    warmup_steps: int = pydantic.Field(0, ge=0)
    decay: Literal["constant", "linear", "cosine", "exponential"] = "constant"
    final: float = pydantic.Field(0.01, ge=0, le=1)
    scale_to_run: bool = True

    @pydantic.model_validator(mode="after")
    def _never_zero_of_an_exponential(self):
        if self.decay == "exponential" and self.final == 0:
            raise ValueError("an exponential decay never reaches final=0")
        return self


class Augmentation(Section):
    """Random changes of the training images: see `tfgen.data.augmentation`."""

    shift: int = pydantic.Field(0, ge=0)
    flip: bool = False


class Training(Section):
    """The length of training (one of epochs, steps and hours) and its other options.

    `batch_size` is the number of images per step over all replicas; `seed` is the seed of all
    random numbers; `weights` selects the final weights: those of the last step or those with the
    best validation.
    """

    epochs: int | None = pydantic.Field(None, ge=1)
    steps: int | None = pydantic.Field(None, ge=1)
    hours: float | None = pydantic.Field(None, gt=0, le=1e6)
    batch_size: int = pydantic.Field(64, ge=1)
    seed: int = pydantic.Field(0, ge=0, lt=2**31)
    weights: Literal["last", "best"] = "last"

    @pydantic.model_validator(mode="after")
    def _one_length(self):
        given = [name for name in LENGTHS if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(
                f"give one of {', '.join(LENGTHS)}, got {' and '.join(given) or 'none'}"
            )
        return self


class Sampling(Section):
    """The temperature that the card recommends; 1 samples from the model's own distribution."""

    temperature: float = pydantic.Field(1.0, ge=0, allow_inf_nan=False)


class Checkpoint(Section):
    """How often checkpoints are written, and how many are kept."""

    every_steps: int | None = pydantic.Field(1000, ge=1)
    every_minutes: float | None = pydantic.Field(10.0, gt=0)
    keep: int = pydantic.Field(3, ge=1)
