"""Training: recipes, strategies, the loop, callbacks, checkpoints, run directories.

The submodules are imported on first use; `recipe` does not need TensorFlow.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=[
        "callbacks",
        "checkpoint",
        "curve",
        "devices",
        "diagnosis",
        "finished",
        "initial_weights",
        "loop",
        "loss_scaling",
        "memory",
        "progress",
        "recipe",
        "recipe_data",
        "recipe_files",
        "replicated",
        "run",
        "run_directory",
        "schedule",
        "setup",
        "signals",
        "state",
        "strategy",
        "summary",
        "tensorboard",
    ],
)
