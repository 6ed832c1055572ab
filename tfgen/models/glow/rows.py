"""The parts of a Glow in the order from an image to its log-probability, for summaries."""

from __future__ import annotations

from typing import TYPE_CHECKING

import keras

from tfgen.bijectors import Split
from tfgen.models.summary import Row, row, row_of

if TYPE_CHECKING:
    from tfgen.models.glow.model import Glow


def rows_of(model: Glow) -> list[Row]:
    """Dequantization, preprocessing, the bijectors of each level, and the prior.

    A split has two outputs: what stays for the next level, and the latents that leave.
    """
    shape = (None, *model.image_shape)
    dequantization = model._dequantization
    found = [
        row(
            type(dequantization).__name__,
            "dequantization",
            shape,
            layers=[dequantization] if isinstance(dequantization, keras.Layer) else [],
            rows=[row_of(bijector) for bijector in dequantization.bijectors],
        ),
        row_of(model._preprocessing, "preprocessing"),
    ]
    prefix = f"{model.flow.name}_"
    for bijector in model.flow.inner_bijectors:
        name, shapes = bijector.name.removeprefix(prefix), None
        if isinstance(bijector, Split):
            sides = (None, *bijector.data_shape[:2])
            shapes = ((*sides, bijector.staying), (*sides, bijector.leaving))
        found.append(row_of(bijector, name, shapes))
    latents = (None, model.latent_dim)
    if model._class_prior is not None:
        found.append(row("ClassPrior", "class_prior", latents, layers=[model._class_prior]))
    else:
        found.append(row("StandardNormal", "latents", latents))
    return found
