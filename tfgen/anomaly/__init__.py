"""Anomaly detection: scores of how unusual an image is for a model."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submodules=["scores"])
