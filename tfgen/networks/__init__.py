"""The Keras networks inside couplings, encoders and decoders."""

from tfgen.networks.convolutional import convolutional
from tfgen.networks.coupling_dense import coupling_dense
from tfgen.networks.dense import dense

__all__ = ["convolutional", "coupling_dense", "dense"]
