"""Code for experiments on the claims of the papers.

The baselines are the algorithms that "Auto-Encoding Variational Bayes" is compared with.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submodules=["baselines"])
