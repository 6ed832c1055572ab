"""Set-up of all tests: a quiet TensorFlow, a home directory for tests, two logical devices."""

import gc
import os
import tempfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["TFGEN_HOME"] = tempfile.mkdtemp(prefix="tfgen-tests-")

import keras
import pytest
import tensorflow as tf

# Must happen before TensorFlow's runtime starts; a second device does not slow down other tests.
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)

# The default, the number of cores, may be too small if replicas wait for one another.
tf.config.threading.set_inter_op_parallelism_threads(8)


@pytest.fixture(autouse=True)
def _same_random_numbers_in_every_run():
    keras.utils.set_random_seed(0)


# Their tests trace hundreds of small graphs and compare them with closed forms. Exports, pretrained
# models, servers, commands and guides run with graph optimization, as they do for users.
WITHOUT_GRAPH_OPTIMIZATION = {
    "bijectors",
    "claims",
    "evaluation",
    "models",
    "networks",
    "optimizers",
    "training",
}


@pytest.fixture(autouse=True, scope="module")
def _small_graphs_are_not_optimized(request):
    """TensorFlow takes longer to optimize a small graph than to run it a few times."""
    off = request.path.parent.name in WITHOUT_GRAPH_OPTIMIZATION
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": off})


def pytest_collection_finish():
    """Keep the collector off the modules that are imported; traces make many objects that stay."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
