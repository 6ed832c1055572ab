"""Everything that measures a model: likelihoods, estimators, figures of cards, pictures.

The submodules are imported when first used.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=[
        "attributes",
        "class_samples",
        "figures",
        "hmc",
        "latent_pictures",
        "latent_statistics",
        "likelihood",
        "metrics",
        "pictures",
        "quadrature",
        "report",
    ],
)
