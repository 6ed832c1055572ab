"""What every test shares: quiet TensorFlow, a home of its own, two logical devices."""

import os
import tempfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["TFGEN_HOME"] = tempfile.mkdtemp(prefix="tfgen-tests-")

import keras
import pytest
import tensorflow as tf

# Must happen before TensorFlow's runtime starts; one device more costs the other tests nothing.
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)

# As many as there are cores would be two here: too few where replicas wait for one another.
tf.config.threading.set_inter_op_parallelism_threads(8)


@pytest.fixture(autouse=True)
def _same_random_numbers_in_every_run():
    keras.utils.set_random_seed(0)
