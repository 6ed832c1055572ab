"""TFLite files, for devices."""

from pathlib import Path

import numpy as np

from tfgen.errors import InputError
from tfgen.export import cards, flatbuffer, litert_run, on_device
from tfgen.export import precision as precisions
from tfgen.export.signatures import DEVICE, Signatures
from tfgen.export.source import Source
from tfgen.files import sha256, write_atomically, write_json

NUM_IMAGES = 64
LARGEST_ERROR = 0.01  # of the standard deviation of log p(x) over the test images


def tflite(model, file, precision="float32", *, images=None):
    """Write one TFLite file with a signature for each verb, and its card beside it.

    The signatures are the first five of `tfgen.export.signatures.Signatures`, of builtin operations
    only. Before the file takes its name, LiteRT runs it on 64 test images. The card beside it,
    `NAME.tflite.json`, holds its size and SHA-256, for each signature the latency of one image on
    this machine and the error against the model, which images these are, and the model's own
    figures.

    Networks that compute in bfloat16, of which TFLite has no operations, compute in float32 in the
    file: the errors are against the model that does so too, and the card says it under `networks`.

    `log_prob` is left out of the file where rounding makes it useless: where its error on one of
    the images exceeds 1 % of the standard deviation of log p(x) over the test set, or over
    `images` if these differ. The card then says so under `left_out`.

    Args:
        model: a model, the name of a pretrained one, or a run directory.
        file: the path to write; ends in `.tflite`.
        precision: "float32", "float16" (weights; half the size), "dynamic_int8" (weights; a
            quarter) or "int8" (activations too): see `tfgen.export.precision`.
        images: uint8 `[M, H, W, C]` to measure and calibrate with; by default those of the data
            that the model was trained on, or where these are not on this machine, samples.

    Returns:
        The path of the file.

    Raises:
        InputError: an unknown precision or model, a directory that does not exist, images of
            another shape, a network with an operation that TFLite lacks.

    Example:

    >>> import tempfile, numpy as np, tfgen
    >>> from ai_edge_litert.interpreter import Interpreter
    >>> path = tfgen.export.tflite("vae-digits", tempfile.mkdtemp() + "/vae.tflite")
    >>> decode = Interpreter(str(path)).get_signature_runner("decode")
    >>> decode(latents=np.zeros((3, 8), "float32"))["images"].shape
    (3, 8, 8, 1)
    """
    file = _checked_file(file)
    if precision not in precisions.PRECISIONS:
        known = ", ".join(precisions.PRECISIONS)
        raise InputError(f"precision must be one of {known}, got {precision!r}")
    source = Source(model, images)
    content, entries = _converted(source, precision)
    about = cards.new(source, "TFLite", precision=precision, **entries)
    about["bytes"] = len(content)
    write_atomically(file, lambda path: path.write_bytes(content))
    about["files"] = {file.name: sha256(file)}
    write_json(cards.place(file), about)
    return file


def _converted(source, precision):
    """The bytes of the file, and what its card says of them."""
    model = on_device.in_float32(source.model)
    images, origin = source.images("test", NUM_IMAGES)
    cases = litert_run.expected(model, images)
    calibration, calibrated_with = None, None
    if precision == "int8":
        others, calibrated_with = source.images("train", NUM_IMAGES)
        calibration = _inputs(litert_run.expected(model, others, seed=1))
    signatures = Signatures(model, on_device=True)
    content = precisions.converted(signatures, precision, DEVICE, calibration)
    errors = litert_run.errors(content, cases)
    deviation, measured_on = source.deviation()
    left_out = {}
    largest = errors["log_prob"]["log_prob"]["largest"]
    if not largest <= LARGEST_ERROR * deviation:  # nor is it a number
        left_out["log_prob"] = {
            "reason": f"its error, {largest:.3g} nats, exceeds 1 % of {deviation:.4g} nats, the "
            f"standard deviation of log p(x) over {measured_on}",
            **errors.pop("log_prob")["log_prob"],
        }
        content = precisions.converted(signatures, precision, list(errors), calibration)
        errors = litert_run.errors(content, cases)
    functions = signatures.functions
    return content, {
        "signatures": {
            verb: {
                "inputs": cards.tensors(functions[verb].structured_input_signature[1]),
                "outputs": cards.tensors(functions[verb].structured_outputs),
                "error": errors[verb],
            }
            for verb in errors
        },
        "left_out": left_out,
        "networks": on_device.protocol(source.model),
        "operations": sorted(flatbuffer.operations(content)),
        "latency": litert_run.latencies(content, cases),
        "images": {"count": len(images), "from": origin, "calibration": calibrated_with},
        "log_prob_deviation": {"nats": deviation, "of": measured_on},
    }


def _inputs(cases):
    """The inputs of each signature; `decode` gets the latents of images and those of samples."""
    inputs = {verb: given for verb, (given, _) in cases.items()}
    latents = [inputs["decode"]["latents"], inputs["sample"]["noise"]]
    return {**inputs, "decode": {"latents": np.concatenate(latents)}}


def _checked_file(file):
    file = Path(file)
    if file.is_dir():
        raise InputError(f"{file} is a directory: give the name of a file")
    if file.suffix.lower() != ".tflite":
        raise InputError(f"{file}: the name of a TFLite file ends in .tflite")
    if not file.parent.is_dir():
        raise InputError(f"{file}: there is no directory {file.parent}")
    return file
