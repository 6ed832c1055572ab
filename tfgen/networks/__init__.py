"""The Keras networks inside couplings, encoders and decoders."""

from tfgen.networks.convolutional import convolutional
from tfgen.networks.coupling_mlp import coupling_mlp
from tfgen.networks.gated_residual import gated_residual
from tfgen.networks.image_features import image_features
from tfgen.networks.masked_mlp import masked_mlp
from tfgen.networks.mlp import mlp
from tfgen.networks.residual import residual_decoder, residual_encoder

__all__ = [
    "convolutional",
    "coupling_mlp",
    "gated_residual",
    "image_features",
    "masked_mlp",
    "mlp",
    "residual_decoder",
    "residual_encoder",
]
