"""The Keras networks inside couplings, encoders and decoders."""

from tfgen.networks.convolutional import convolutional
from tfgen.networks.dense import dense

__all__ = ["convolutional", "dense"]
