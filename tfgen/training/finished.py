"""The files that finished training writes into its run directory."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

import tfgen
from tfgen.data.dataset import Dataset
from tfgen.evaluation import metrics, pictures, report
from tfgen.files import write_atomically, write_text
from tfgen.models import preset
from tfgen.models.base import GenerativeModel
from tfgen.training import curve, summary
from tfgen.training.loop import Loop
from tfgen.training.setup import Setup


def card(setup: Setup, loop: Loop) -> dict[str, Any]:
    """The metrics of a finished training run and how they were obtained, as JSON values.

    They are those of the model as it is saved, in float32; the recipe says what it trained in.
    """
    recipe, data = setup.recipe, setup.data
    model = preset.finished(setup.model)
    epochs = loop.step / loop.stream.steps_per_epoch
    scaled = {"scaled_to_run": setup.scaled} if setup.scaled else {}
    return {
        "summary": summary.of_run(setup, loop.seconds),
        "metrics": metrics.likelihood(model, data, "test"),
        "data": {"name": data.name, "splits": data.splits, **data.provenance},
        "sampling": recipe.sampling.model_dump(),
        "recipe": recipe.to_dict(),
        "training": {
            "epochs": round(epochs, 3),
            "steps": loop.step,
            "images_seen": round(epochs * data.splits["train"]),
            "seconds": round(loop.seconds, 1),
            "replicas": setup.distribution.num_replicas_in_sync,
            **scaled,
        },
        "environment": {
            "tfgen": tfgen.__version__,
            "tensorflow": tf.__version__,
            "keras": keras.__version__,
            "python": platform.python_version(),
            "machine": platform.machine(),
            "cores": os.cpu_count(),
            "devices": ", ".join(summary.devices(setup.distribution)),
        },
    }


def write(
    model: GenerativeModel,
    card: Mapping[str, Any],
    data: Dataset,
    history: Iterable[Mapping[str, Any]],
    out: Path,
) -> None:
    """Write pictures, README, weights and card into a run directory, the card last.

    Args:
        model: the model with its final weights.
        card: the result of `card`, with "name" and "command".
        data: the data set whose test images the pictures show.
        history: the history of the loop.
        out: the run directory.
    """
    model = preset.finished(model)
    test = data.images("test")[:32]
    shown = pictures.of_model(model, test, report.temperature(card))
    for name, picture in shown.items():
        write_atomically(out / f"{name}.png", picture.save)
    curve.draw(history, out / curve.FILE)
    card = {
        **card,
        "pictures": [*shown, "curve"],
        "image_shape": list(model.image_shape),
        "latent_dim": model.latent_dim,
        "bound": model.bound,
        "parameters": model.count_params(),
    }
    write_text(out / "README.md", report.readme(card))
    preset.save(model, out, card=card)
