"""What a finished training leaves in its run directory."""

import os
import platform

import keras
import tensorflow as tf

import tfgen
from tfgen.evaluation import latent_pictures, pictures, report
from tfgen.evaluation.metrics import evaluate
from tfgen.models import preset
from tfgen.training import curve


def card(chosen, data, model, loop, distribution):
    """The figures of a finished training, and how it was made: a JSON-able dict."""
    epochs = loop.total_steps / loop.stream.steps_per_epoch
    return {
        "summary": chosen.summary or f"{chosen.model.class_name} of {data.name}",
        "metrics": evaluate(model, data, "test"),
        "data": {"name": data.name, "splits": data.splits, **data.provenance},
        "recipe": chosen.to_dict(),
        "training": {
            "epochs": round(epochs, 3),
            "steps": loop.total_steps,
            "images_seen": round(epochs * data.splits["train"]),
            "seconds": round(loop.seconds, 1),
            "replicas": distribution.num_replicas_in_sync,
        },
        "environment": {
            "tfgen": tfgen.__version__,
            "tensorflow": tf.__version__,
            "keras": keras.__version__,
            "python": platform.python_version(),
            "machine": platform.machine(),
            "cores": os.cpu_count(),
            "devices": ", ".join(_devices(distribution)),
        },
    }


def write(model, card, data, loop, out):
    """Write pictures, README, weights and card into a run directory, the card last."""
    test = data.images("test")[:32]
    if isinstance(model, tfgen.models.Glow):  # A flow's reconstructions are the images themselves.
        shown = {"interpolation": pictures.interpolation(model, test)}
    else:
        shown = latent_pictures.of_vae(model, test)
    shown = {"samples": pictures.samples(model), **shown}
    for name, picture in shown.items():
        picture.save(out / f"{name}.png")
    curve.draw(loop.history, out / curve.FILE)
    card = {
        **card,
        "pictures": [*shown, "curve"],
        "image_shape": list(model.image_shape),
        "latent_dim": model.latent_dim,
        "bound": model.bound,
        "parameters": model.count_params(),
    }
    (out / "README.md").write_text(report.readme(card), "utf-8")
    preset.save(model, out, card=card)


def _devices(distribution):
    """The names of the devices in use, such as "NVIDIA H100"; "CPU" where there is no other."""
    details = tf.config.experimental.get_device_details
    names = [
        details(gpu).get("device_name", "GPU") for gpu in tf.config.list_physical_devices("GPU")
    ]
    return names[: distribution.num_replicas_in_sync] or ["CPU"]
