"""The claims of the papers, and the code that their experiments need.

The baselines are the algorithms that "Auto-Encoding Variational Bayes" compares with.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submodules=["baselines"])
