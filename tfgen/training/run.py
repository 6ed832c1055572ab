"""A training from recipe to run directory."""

import os
import platform
import time

import keras
import tensorflow as tf
from rich.console import Console

import tfgen
from tfgen.errors import InputError
from tfgen.models import preset
from tfgen.training import pictures, recipe, report
from tfgen.training import strategy as strategies
from tfgen.training.divergence import StopAtDivergence
from tfgen.training.evaluation import evaluate
from tfgen.training.progress import ProgressBar
from tfgen.training.run_directory import claimed


def run(
    chosen, out=None, *, data_dir=None, strategy="auto", devices=None, command=None, console=None
):
    """Train what a recipe says, evaluate it on the test split, and save it.

    The directory then holds `config.json`, `model.weights.h5`, `card.json`, `README.md`, pictures
    and TensorBoard's `logs`; `tfgen.zoo.load` reads it. If the training fails, nothing is left.

    Args:
        chosen: a `Recipe`.
        out: the directory to make; by default the first free one of `runs/NAME-001` and so on.
        data_dir: where local data sets lie, see `tfgen.data.load`.
        strategy, devices: see `tfgen.training.strategy.choose`.
        command: how to do this again, for the card.
        console: a `rich.console.Console` to report to.

    Returns:
        The path of the directory.

    Raises:
        InputError: a directory that holds something already, missing data, a recipe that its model
            refuses, a training that diverged.

    Example:

    >>> import tempfile, tfgen
    >>> from tfgen.training import recipe, run
    >>> short = recipe.load("vae-digits", ["epochs=1"])
    >>> directory = run.run(short, tempfile.mkdtemp() + "/run")
    VAE of 102,224 parameters, 1,293 images (8, 8, 1) of digits, 1 device
    epoch 1/1: ...
    >>> tfgen.zoo.card(directory)["metrics"]["nats"]["unit"]
    'nats/image'
    """
    console = console or Console()
    with claimed(out, chosen.name) as out:
        distribution = strategies.choose(strategy, devices)
        data = tfgen.data.load(
            chosen.data.source,
            data_dir=data_dir,
            image_shape=chosen.data.image_shape,
            options=chosen.data.options,
        )
        if chosen.data.validation:
            data = data.holding_out(chosen.data.validation)
        keras.utils.set_random_seed(chosen.training.seed)
        with distribution.scope():
            model = recipe.build(tfgen.models, chosen.model, data.image_shape)
            _check_classes(model, data)
            optimizer = recipe.build(tfgen.optimizers, chosen.optimizer)
            model.compile(optimizer, seed=chosen.training.seed)
        replicas = distribution.num_replicas_in_sync
        console.print(
            f"{chosen.model.class_name} of {model.count_params():,} parameters, "
            f"{data.splits['train']:,} images {data.image_shape} of {data.name}, "
            f"{replicas} device{'s' if replicas > 1 else ''}",
            soft_wrap=True,
            highlight=False,
        )
        history, seconds = _fit(model, chosen.training, data, out, console)
        card = _card(chosen, data, model, history, seconds, distribution, command)
        card["name"] = out.resolve().name
        _write(model, card, data, history, out)
    return out


def _check_classes(model, data):
    wanted = getattr(model, "num_classes", None)
    if wanted is not None and wanted != data.num_classes:
        found = f"{data.num_classes} classes" if data.num_classes else "no classes"
        raise InputError(f"model.num_classes is {wanted}, and {data.name} has {found}")


def _fit(model, training, data, out, console):
    labels = getattr(model, "num_classes", None) is not None

    def batches(split, **options):
        return data.tf_data(split, batch_size=training.batch_size, labels=labels, **options)

    bar = ProgressBar(training.epochs, data.splits["train"], console)
    start = time.perf_counter()
    try:
        history = model.fit(
            batches("train", shuffle=True, seed=training.seed),
            epochs=training.epochs,
            validation_data=batches("validation") if "validation" in data.splits else None,
            callbacks=[
                bar,
                StopAtDivergence(),
                keras.callbacks.TensorBoard(out / "logs", write_graph=False),
            ],
            shuffle=False,
            verbose=0,
        )
    finally:
        bar.close()
    return history.history, time.perf_counter() - start


def _card(chosen, data, model, history, seconds, distribution, command):
    epochs = len(history["bits_per_dim"])
    return {
        "summary": chosen.summary or f"{chosen.model.class_name} of {data.name}",
        "command": command,
        "metrics": evaluate(model, data, "test"),
        "data": {"name": data.name, "splits": data.splits, **data.provenance},
        "recipe": chosen.to_dict(),
        "training": {
            "epochs": epochs,
            "images_seen": epochs * data.splits["train"],
            "seconds": round(seconds, 1),
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


def _write(model, card, data, history, out):
    test = data.images("test")[:32]
    pictures.samples(model).save(out / "samples.png")
    if model.bound == "exact":  # A flow's reconstructions are the images themselves.
        second = "interpolation"
        pictures.interpolation(model, test).save(out / "interpolation.png")
    else:
        second = "reconstructions"
        pictures.reconstructions(model, test).save(out / "reconstructions.png")
    pictures.curve(history).savefig(out / "curve.png")
    card = {
        **card,
        "pictures": ["samples", second, "curve"],
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
