"""tfgen: likelihood-based generative models to train, trust and serve, on TensorFlow.

Every model speaks four verbs: `log_prob`, `sample`, `encode` and `decode`.

The subpackages are imported when first used, so that `import tfgen` costs nothing.
"""

from pathlib import Path

import lazy_loader

__version__ = "0.1.0"

# `zoo` and `export` stand beside this folder in a checkout and inside it once installed. A Python
# started in a checkout finds this folder first, whatever is installed, and must find them too.
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
        "models",
        "networks",
        "optimizers",
        "training",
        "zoo",
    ],
    submod_attrs={"errors": ["InputError"]},
)
