"""tfgen: likelihood-based generative models to train, trust and serve, on TensorFlow.

Every model has four main methods, its verbs: `log_prob`, `sample`, `encode` and `decode`.

The subpackages are imported when first used, so that `import tfgen` is fast.
"""

from pathlib import Path

import lazy_loader

__version__ = "0.1.0"

# In a checkout, `zoo` and `export` are next to this directory; in an installation they are inside
# it. Python that is started in a checkout imports this directory even if tfgen is installed, and
# has to find both packages as well.
_checkout = Path(__file__).resolve().parent.parent
if not (Path(__file__).parent / "zoo").is_dir() and (_checkout / "zoo" / "__init__.py").is_file():
    __path__.append(str(_checkout))

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=[
        "anomaly",
        "bijectors",
        "claims",
        "data",
        "evaluation",
        "export",
        "fitting",
        "models",
        "networks",
        "optimizers",
        "training",
        "zoo",
    ],
    submod_attrs={"errors": ["InputError"]},
)
