"""Training: recipes, strategies, the loop, and what it leaves behind.

The submodules are imported when first used; `recipe` does without TensorFlow.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=[
        "divergence",
        "evaluation",
        "pictures",
        "progress",
        "recipe",
        "report",
        "run",
        "run_directory",
        "strategy",
    ],
)
