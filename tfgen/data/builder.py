"""What tfgen's TFDS builders share: raw uint8 images in a fixed order, and no chatter."""

import contextlib
import io
import logging
import threading

import numpy as np
import tensorflow_datasets as tfds


class ImageBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """Stores images as raw bytes, one after the other as the generators yield them.

    Raw bytes rather than PNG: measured on MNIST, a fifth of the time to write and nothing to decode
    when read, for two and a half times the disk space.

    A subclass sets `name` and `VERSION` and gives `_info` (through `image_info`) and
    `_split_generators` (with `_generate_examples(pairs of image and labels)`). What it puts into
    `self.info.metadata` until its generators are exhausted is stored with the data.
    """

    VERSION = tfds.core.Version("1.0.0")
    url_infos = None  # downloads nothing: TFDS need not look for checksums beside the module

    def image_info(self, image_shape, labels, *, homepage=None) -> tfds.core.DatasetInfo:
        """Description of examples that have an `image` and the TFDS features `labels`."""
        image = tfds.features.Tensor(
            shape=tuple(image_shape), dtype=np.uint8, encoding=tfds.features.Encoding.BYTES
        )
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict({"image": image, **labels}),
            homepage=homepage,
            disable_shuffling=True,
            metadata=tfds.core.MetadataDict(),
        )

    def _generate_examples(self, pairs):
        for position, (image, labels) in enumerate(pairs):
            yield position, {"image": image, **labels}


_quieting = contextlib.ExitStack()
_quieted = 0
_quiet_lock = threading.Lock()


@contextlib.contextmanager
def quiet():
    """Keeps TFDS from printing banners, progress bars and warnings; any number of threads may."""
    global _quieted
    with _quiet_lock:
        _quieted += 1
        if _quieted == 1:
            _silence(_quieting)
    try:
        yield
    finally:
        with _quiet_lock:
            _quieted -= 1
            if _quieted == 0:
                _quieting.close()


def _silence(stack):
    """Turns everything off; closing the stack turns on again what was on."""
    shown = getattr(tfds.core.utils.tqdm_utils, "_active", True)
    logger = logging.getLogger("absl")
    stack.callback(tfds.display_progress_bar, shown)
    stack.callback(logger.setLevel, logger.level)
    stack.enter_context(contextlib.redirect_stdout(io.StringIO()))
    tfds.disable_progress_bar()
    logger.setLevel(logging.ERROR)
