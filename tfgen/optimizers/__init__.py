"""Adam and AdaMax for Keras, exactly as printed in the paper."""

from tfgen.optimizers.adam import Adam
from tfgen.optimizers.adamax import AdaMax
from tfgen.optimizers.averaging import AveragingCallback, average_of, averaged_weights
from tfgen.optimizers.inverse_sqrt import InverseSqrt

CLASSES = ("AdaMax", "Adam")

__all__ = [
    "AdaMax",
    "Adam",
    "AveragingCallback",
    "InverseSqrt",
    "average_of",
    "averaged_weights",
]
