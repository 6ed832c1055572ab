"""The parts of a VAE in the order from an image to its log-probability, for summaries."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tfgen.models.summary import Row, row, row_of

if TYPE_CHECKING:
    from tfgen.models.vae.model import VAE


def rows_of(model: VAE) -> list[Row]:
    """Encoder, posterior, prior, decoder and likelihood."""
    latents = (None, model.latent_dim)
    parts: list[Row] = []
    for name, network in (("encoder", model.encoder), ("decoder", model.decoder)):
        shape = tuple(network.output_shape)
        nested = getattr(network, "layers", [])
        parts.append(row(type(network).__name__, name, shape, layers=[network], rows=nested))
    for name, part in (("posterior", model.posterior), ("prior", model.prior)):
        rows = [row_of(bijector) for bijector in part.bijectors]
        parts.append(row(type(part).__name__, name, latents, layers=part.layers, rows=rows))
    encoder, decoder, posterior, prior = parts
    likelihood = row(type(model._likelihood).__name__, "likelihood", (None, *model.image_shape))
    return [encoder, posterior, prior, decoder, likelihood]
