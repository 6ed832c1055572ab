"""The end of a run whose model is worse than uniform noise."""

from __future__ import annotations

from pathlib import Path

from tfgen.errors import InputError
from tfgen.evaluation import quality
from tfgen.models import preset


class WorseThanUniformError(InputError):
    """A run has ended with a model that needs more bits/dim than uniform noise.

    The model, its card and its checkpoints are in the run directory. The command line prints the
    message and exits with code 1, since the input itself was valid.
    """

    exit_code = 1


def refuse_if_worse_than_uniform(directory: Path | None) -> Path | None:
    """Return the directory of a finished run unless its model is worse than uniform noise.

    Args:
        directory: the directory; None in a worker that is not the chief.

    Raises:
        WorseThanUniformError: it is worse, or its likelihood is not a number.

    Example:

    >>> import tfgen
    >>> from tfgen.training.quality import refuse_if_worse_than_uniform
    >>> refuse_if_worse_than_uniform(tfgen.zoo.directory("vae-digits")).name
    'vae-digits'
    """
    wrong = None if directory is None else quality.problem(preset.read_card(directory))
    if wrong is None:
        return directory
    raise WorseThanUniformError(
        f"the model is {wrong}; it was saved in {directory} for inspection: train longer "
        "(training.steps, epochs or hours), lower optimizer.learning_rate, or start from a "
        "pretrained model (--initial); curve.png shows whether the bits/dim still decrease"
    )
