"""Every optimizer of the package: the tests that hold for each run on all of them."""

import pytest

from tfgen.optimizers import Adam, AdaMax

OPTIMIZERS = {"adam": Adam, "adamax": AdaMax}
EVERY_OPTIMIZER = pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
