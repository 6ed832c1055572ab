"""Glow: model, preprocessing, dequantization, class prior."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=["class_prior", "dequantization", "preprocessing", "rows"],
    submod_attrs={"model": ["Glow"]},
)
