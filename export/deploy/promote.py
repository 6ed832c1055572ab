"""A label moves to another version: both are loaded, it moves, then the old one goes."""

import time
from pathlib import Path
from urllib.parse import quote

import requests
from google.protobuf import text_format

from tfgen.errors import InputError
from tfgen.export.serving import model_config
from tfgen.files import write_atomically

CONFIG = "models.config"
COPIES = (f"config/{CONFIG}", f"kubernetes/base/{CONFIG}")  # of a deployment folder


def promote(place, name, version, *, label="stable", server=None, seconds=120.0):
    """Rewrite `models.config` so that a label means another version, in three steps.

    TF Serving refuses a label of a version that is not loaded, and requests of a label whose
    version is gone. So the first step adds the version to those that are served, the second moves
    the label, and the third leaves out the versions without a label. With a server all are made,
    each when it follows the one before; without one, each call makes the step that comes next, and
    between the second and the third the label can move back at once.

    Args:
        place: a folder that `tfgen.export.deploy.write` made, or a `models.config`.
        name: of the model.
        version: a positive integer.
        label: its name.
        server: `http://HOST:PORT` of the REST API of a TF Serving that reads this file.
        seconds: that the server may take for a step.

    Returns:
        The step: "loading", "moved" or "done".

    Raises:
        InputError: a file that cannot be read, a model or a version that is not there, a version
            that does not load.

    Source: `g3doc/serving_config.md` of tensorflow/serving.

    Example:

    >>> import pathlib, tempfile, tfgen
    >>> from tfgen.export import deploy
    >>> place = pathlib.Path(tempfile.mkdtemp())
    >>> base = tfgen.export.saved_model("vae-digits", place / "vae").parent
    >>> folder = deploy.write(place / "deploy", {"vae": base}, labels={"vae": {"stable": 1}})
    >>> [deploy.promote(folder, "vae", 2) for _ in range(3)]
    ['loading', 'moved', 'done']
    """
    files = _files(Path(place))
    if isinstance(version, bool) or not isinstance(version, int) or not 1 <= version < 2**63:
        raise InputError(f"version must be a positive integer of 64 bits, got {version!r}")
    if not model_config.NAME.fullmatch(label):
        raise InputError(f"label {label!r} is empty or holds one of / and :")
    if server is not None and not server.startswith(("http://", "https://")):
        raise InputError(f"server {server!r} is not http://HOST:PORT")
    config = model_config.read(files[0])
    model = _model(config, name, files[0])
    there = model_config.versions_on_disk(model.base_path)
    if there and version not in there:
        raise InputError(f"{model.base_path} has no version {version}")
    while True:
        step = _next_step(model, label, version)
        _write(files, config)
        if server is None or step == "done":
            return step
        _wait(server, name, version, label if step == "moved" else None, seconds)


def _next_step(model, label, version):
    served = model.model_version_policy.specific.versions
    if version not in served:
        known = {*served, *model.version_labels.values(), version}
        step = "loading"
    elif model.version_labels.get(label) != version:
        model.version_labels[label] = version
        known = {*served}
        step = "moved"
    else:
        known = {*model.version_labels.values()}
        step = "done"
    model.model_version_policy.specific.SetInParent()
    del served[:]
    model.model_version_policy.specific.versions.extend(sorted(known))
    return step


def _files(place):
    if place.is_file():
        return [place]
    files = [place / copy for copy in COPIES if (place / copy).is_file()]
    if not files:
        raise InputError(f"{place} is neither a {CONFIG} nor a folder that holds {COPIES[0]}")
    return files


def _model(config, name, file):
    for model in config.model_config_list.config:
        if model.name == name:
            return model
    names = ", ".join(model.name for model in config.model_config_list.config)
    raise InputError(f"{file} has no model {name!r}; it has {names}")


def _write(files, config):
    text = text_format.MessageToString(config)
    for file in files:
        write_atomically(file, lambda path: Path(path).write_text(text, "utf-8"))


def _wait(server, name, version, label, seconds):
    """Until the version is AVAILABLE, or until the label means it."""
    url = f"{server.rstrip('/')}/v1/models/{quote(name, safe='')}"
    url += f"/versions/{version}" if label is None else f"/labels/{quote(label, safe='')}/metadata"
    end, said = time.monotonic() + seconds, "it does not answer"
    while time.monotonic() < end:
        try:
            answer = requests.get(url, timeout=5).json()
            said = answer.get("error")
            if said is None and label is None:
                (found,) = answer["model_version_status"]
                said = f"it is {found['state']} {found['status'].get('error_message', '')}".strip()
                if found["state"] == "AVAILABLE":
                    return
            elif said is None:
                said = f"it means version {answer['model_spec']['version']}"
                if int(answer["model_spec"]["version"]) == version:
                    return
        except (requests.RequestException, ValueError, KeyError, TypeError, AttributeError):
            said = "it does not answer"
        time.sleep(0.2)
    undone = f"version {version} stays in {CONFIG}, the label has not moved"
    if label is not None:
        undone = f"{CONFIG} says that {label} is {version}, and keeps the other versions"
    raise InputError(f"{url} after {seconds:g} s: {said}; {undone}")
