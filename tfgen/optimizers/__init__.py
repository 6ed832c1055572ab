"""Adam and AdaMax exactly as printed, for Keras."""

from tfgen.optimizers.adam import Adam
from tfgen.optimizers.adamax import AdaMax
from tfgen.optimizers.averaging import TemporalAveraging, averaged_weights, temporal_average
from tfgen.optimizers.inverse_sqrt import InverseSqrt

CLASSES = ("AdaMax", "Adam")

__all__ = [
    "AdaMax",
    "Adam",
    "InverseSqrt",
    "TemporalAveraging",
    "averaged_weights",
    "temporal_average",
]
