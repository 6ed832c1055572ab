"""Everything that measures a model: metrics of cards, estimators of log p(x), reports, pictures.

The submodules are imported when first used.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=[
        "attribute_directions",
        "class_accuracy",
        "folder_scores",
        "hmc",
        "latent_statistics",
        "metrics",
        "pictures",
        "quadrature",
        "quality",
        "report",
        "temperature",
    ],
)
