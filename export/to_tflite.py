"""TFLite files, for devices."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tfgen import checks
from tfgen.errors import InputError
from tfgen.export import cards
from tfgen.export.litert import conversion, flatbuffer, measurement
from tfgen.export.signatures import DEVICE, Signatures
from tfgen.export.source import Source
from tfgen.files import PathLike, to_json, write_atomically, write_bytes
from tfgen.models.base import GenerativeModel

NUM_IMAGES = 64
LARGEST_ERROR = 0.01  # of the standard deviation of log p(x) over the test images


def tflite(
    model: GenerativeModel | PathLike,
    file: PathLike,
    precision: str = "float32",
    *,
    images: npt.ArrayLike | None = None,
    overwrite: bool = True,
) -> Path:
    """Write a TFLite file with a signature for each verb, and its card beside it.

    The signatures are the first five of `tfgen.export.signatures`, and use only builtin operations.
    Before the file gets its name, LiteRT runs it on 64 test images. The card beside it,
    `NAME.tflite.json`, holds its size and SHA-256, for each signature the latency per image on this
    machine and the error against the model, which images these are, and the model's own figures.

    A model that was trained in half precision is exported in float32: see
    `tfgen.export.saved_model`. `encode` does not refuse images that its latents do not give back,
    because TFLite drops assertions; compare with `reconstruct` where images may be unusual.

    `log_prob` is left out of the file if rounding makes it useless, that is, if its error on one of
    the images exceeds 1 % of the standard deviation of log p(x) over the test set, or over `images`
    if these differ. The card then says so under `left_out`.

    Args:
        model: a model, the name of a pretrained one, or a run directory.
        file: the path to write, which must end in `.tflite`.
        precision: "float32", "float16" (weights; half the size), "dynamic_int8" (weights; a
            quarter) or "int8" (activations too): see `tfgen.export.litert.conversion`.
        images: uint8 `[M, H, W, C]` to measure and calibrate with; by default images of the data
            that the model was trained on, or samples if the data are not on this machine.
        overwrite: whether to replace a file of this name.

    Returns:
        The path of the file.

    Raises:
        InputError: an unknown precision or model, a directory that does not exist, a file that
            exists and must not be replaced, images of another shape, a network with an operation
            that TFLite lacks.

    Example:

    >>> import tempfile, numpy as np, tfgen
    >>> from ai_edge_litert.interpreter import Interpreter
    >>> path = tfgen.export.tflite("vae-digits", tempfile.mkdtemp() + "/vae.tflite")
    >>> decode = Interpreter(str(path)).get_signature_runner("decode")
    >>> decode(latents=np.zeros((3, 8), "float32"))["images"].shape
    (3, 8, 8, 1)
    """
    file = Path(file)
    if file.is_dir():
        raise InputError(f"{file} is a directory: give the name of a file")
    if file.suffix.lower() != ".tflite":
        raise InputError(f"{file}: the name of a TFLite file must end in .tflite")
    if not file.parent.is_dir():
        raise InputError(f"{file}: there is no directory {file.parent}")
    if not overwrite and file.exists():
        raise InputError(
            f"{file} exists: give another name, or replace it with --overwrite "
            "(overwrite=True in Python)"
        )
    checks.choice("precision", precision, conversion.PRECISIONS)
    source = Source(model, images)
    content, entries = _converted(source, precision)
    card = cards.new(source, "TFLite", precision=precision, **entries, bytes=len(content))
    card["files"] = {file.name: hashlib.sha256(content).hexdigest()}

    def write_both(temporary):
        temporary.write_text(to_json(card), "utf-8")
        write_bytes(file, content)  # There is space for both before either gets its name.

    write_atomically(cards.path_of(file), write_both)
    return file


def _converted(source, precision):
    """The bytes of the file, and their entries in its card."""
    model = source.model
    images, origin = source.images("test", NUM_IMAGES)
    references = measurement.references(model, images)
    calibration, calibrated_with = None, None
    if precision == "int8":
        others, calibrated_with = source.images("train", NUM_IMAGES)
        calibration = _calibration(measurement.references(model, others, seed=1))
    signatures = Signatures(model, on_device=True)
    content = conversion.convert(signatures, precision, DEVICE, calibration)
    errors = measurement.errors(content, references)
    deviation, measured_on = source.log_prob_deviation()
    left_out = {}
    largest = errors["log_prob"]["log_prob"]["largest"]
    if not largest <= LARGEST_ERROR * deviation:  # also where it is NaN
        left_out["log_prob"] = {
            "reason": f"its error, {largest:.3g} nats, exceeds 1 % of {deviation:.4g} nats, the "
            f"standard deviation of log p(x) over {measured_on}",
            **errors.pop("log_prob")["log_prob"],
        }
        content = conversion.convert(signatures, precision, list(errors), calibration)
        errors = measurement.errors(content, references)
    return content, {
        "signatures": {
            verb: {**cards.signature(signatures.functions[verb]), "error": errors[verb]}
            for verb in errors
        },
        "left_out": left_out,
        "operations": sorted(flatbuffer.operations(content)),
        "latency": measurement.latencies(content, references),
        "images": {"count": len(images), "from": origin, "calibration": calibrated_with},
        "log_prob_deviation": {"nats": deviation, "of": measured_on},
    }


def _calibration(references):
    """The inputs of each signature; `decode` gets the latents of images and those of samples."""
    inputs = {verb: given for verb, (given, _) in references.items()}
    latents = [inputs["decode"]["latents"], inputs["sample"]["noise"]]
    return {**inputs, "decode": {"latents": np.concatenate(latents)}}
