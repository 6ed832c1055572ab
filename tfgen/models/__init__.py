"""Generative models as Keras models, each with `log_prob`, `sample`, `encode` and `decode`.

The submodules are imported when first used; `preset` reads cards without TensorFlow.
"""

import lazy_loader

CLASSES = ("Glow", "VAE")

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=[
        "base",
        "compiled",
        "exporting",
        "frozen",
        "glow",
        "graphs",
        "inputs",
        "likelihood_training",
        "noise",
        "preset",
        "pretrained",
        "saved_layers",
        "summary",
        "vae",
    ],
    submod_attrs={"glow": ["Glow"], "vae": ["VAE"]},
)
