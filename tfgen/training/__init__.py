"""Training: recipes, strategies, the loop, and what it leaves behind.

The submodules are imported when first used; `recipe` does without TensorFlow.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=[
        "checkpoint",
        "curve",
        "diagnosis",
        "loop",
        "loss_scaling",
        "memory",
        "progress",
        "recipe",
        "replicated",
        "run",
        "run_directory",
        "schedule",
        "signals",
        "state",
        "strategy",
        "tensorboard",
    ],
)
