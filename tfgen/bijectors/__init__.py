"""Exact flow layers: TFP bijectors with Keras weights."""

from tfgen.bijectors.actnorm import ActNorm
from tfgen.bijectors.checkerboard import CheckerboardCoupling
from tfgen.bijectors.coupling import AdditiveCoupling, AffineCoupling
from tfgen.bijectors.flow import Flow
from tfgen.bijectors.flow_layer import FlowLayer
from tfgen.bijectors.glow import Glow
from tfgen.bijectors.glow_step import GlowStep
from tfgen.bijectors.invertible_conv import InvertibleConv1x1
from tfgen.bijectors.masked_autoregressive import MaskedAutoregressive
from tfgen.bijectors.permutation import Permutation
from tfgen.bijectors.rational_quadratic_coupling import RationalQuadraticCoupling
from tfgen.bijectors.split import Split
from tfgen.bijectors.squeeze import Squeeze

__all__ = [
    "ActNorm",
    "AdditiveCoupling",
    "AffineCoupling",
    "CheckerboardCoupling",
    "Flow",
    "FlowLayer",
    "Glow",
    "GlowStep",
    "InvertibleConv1x1",
    "MaskedAutoregressive",
    "Permutation",
    "RationalQuadraticCoupling",
    "Split",
    "Squeeze",
]
