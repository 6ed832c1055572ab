"""Anomaly detection: scores of how unlike its training data a model finds an image."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submodules=["scores"])
