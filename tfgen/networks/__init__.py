"""The Keras networks inside couplings, encoders and decoders."""

from tfgen.networks.convolutional import convolutional
from tfgen.networks.coupling_dense import coupling_dense
from tfgen.networks.dense import dense
from tfgen.networks.gated_residual import gated_residual
from tfgen.networks.image_features import image_features
from tfgen.networks.residual import residual_decoder, residual_encoder

__all__ = [
    "convolutional",
    "coupling_dense",
    "dense",
    "gated_residual",
    "image_features",
    "residual_decoder",
    "residual_encoder",
]
