"""Images as uint8 `[N, H, W, C]`: named data sets, folders of images, and their input pipeline.

Everything is imported when first used; `names` and `describe` never import TensorFlow.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "catalog": ["describe", "load", "names"],
        "dataset": ["Dataset"],
    },
)
