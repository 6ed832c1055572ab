"""The variational autoencoder: model, objectives, likelihoods, prior, posterior."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=[
        "arguments",
        "coders",
        "density",
        "importance_sampling",
        "likelihoods",
        "objectives",
        "posterior",
        "prior",
        "rows",
        "training_loss",
    ],
    submod_attrs={"model": ["VAE"]},
)
