"""Moving a label to another version: load both, move the label, unload the old version."""

from __future__ import annotations

import time
from pathlib import Path
from urllib.parse import quote

import requests
from google.protobuf import text_format

from tfgen import checks
from tfgen.errors import InputError
from tfgen.export.serving import model_config
from tfgen.files import PathLike, write_text

CONFIG = "models.config"
COPIES = (f"config/{CONFIG}", f"kubernetes/base/{CONFIG}")  # in a deployment directory


def promote(
    deployment: PathLike,
    name: str,
    version: int,
    *,
    label: str = "stable",
    server: str | None = None,
    seconds: float = 120.0,
) -> str:
    """Rewrite `models.config` so that a label points to another version, in three steps.

    TF Serving refuses a label of a version that is not loaded, and requests for a label whose
    version has been unloaded. So the first step adds the version to those that are served, the
    second moves the label, and the third removes the versions without a label. With a server, all
    steps are taken, each after the server has applied the previous one. Without a server, each call
    takes the next step; between the second and the third step, the label can move back at once.

    Args:
        deployment: a directory that `tfgen.export.deploy.write` made, or a `models.config`.
        name: name of the model.
        version: a positive integer.
        label: name of the label.
        server: `http://HOST:PORT` of the REST API of a TF Serving that reads this file.
        seconds: maximum time that the server may take for a step.

    Returns:
        The step taken last: "loading", "moved" or "done".

    Raises:
        InputError: a file that cannot be read, a model or a version that does not exist, a version
            that does not load.

    Source: `g3doc/serving_config.md` of tensorflow/serving.

    Example:

    >>> import pathlib, tempfile, tfgen
    >>> from tfgen.export import deploy
    >>> directory = pathlib.Path(tempfile.mkdtemp())
    >>> base = tfgen.export.saved_model("vae-digits", directory / "vae").parent
    >>> out = deploy.write(directory / "deploy", {"vae": base}, labels={"vae": {"stable": 1}})
    >>> [deploy.promote(out, "vae", 2) for _ in range(3)]
    ['loading', 'moved', 'done']
    """
    files = _files(Path(deployment))
    version = checks.integer("version", version, 1, 2**63 - 1)
    if not model_config.NAME.fullmatch(label):
        raise InputError(f"label {label!r} must not be empty or contain / or :")
    if server is not None and not server.startswith(("http://", "https://")):
        raise InputError(f"server {server!r} must be http://HOST:PORT")
    config = model_config.read(files[0])
    model = _model(config, name, files[0])
    versions = model_config.versions_on_disk(model.base_path)
    if versions and version not in versions:
        raise InputError(f"{model.base_path} has no version {version}")
    while True:
        step = _next_step(model, label, version)
        for file in files:
            write_text(file, text_format.MessageToString(config))
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


def _files(deployment):
    if deployment.is_file():
        return [deployment]
    files = [deployment / copy for copy in COPIES if (deployment / copy).is_file()]
    if not files:
        raise InputError(f"{deployment} is neither a {CONFIG} nor a directory with {COPIES[0]}")
    return files


def _model(config, name, file):
    for model in config.model_config_list.config:
        if model.name == name:
            return model
    names = [model.name for model in config.model_config_list.config]
    hint = checks.did_you_mean(name, names)
    raise InputError(f"{file} has no model {name!r}; it has {', '.join(names)}{hint}")


def _wait(server, name, version, label, seconds):
    """Return once the version is AVAILABLE, or once the label points to it."""
    url = f"{server.rstrip('/')}/v1/models/{quote(name, safe='')}"
    url += f"/versions/{version}" if label is None else f"/labels/{quote(label, safe='')}/metadata"
    end, status = time.monotonic() + seconds, "no answer"
    while time.monotonic() < end:
        try:
            answer = requests.get(url, timeout=5).json()
            if (status := answer.get("error")) is None:
                reached, status = _progress(answer, version, label)
                if reached:
                    return
        except (requests.RequestException, ValueError, KeyError, TypeError, AttributeError):
            status = "no answer"
        time.sleep(0.2)
    if label is None:
        result = f"version {version} stays in {CONFIG}, and the label has not moved"
    else:
        result = f"in {CONFIG} {label} points to {version}, and the other versions stay"
    raise InputError(f"{url} after {seconds:g} s: {status}; {result}")


def _progress(answer, version, label):
    """Whether the server has applied the step, and a description of its state."""
    if label is not None:
        found = int(answer["model_spec"]["version"])
        return found == version, f"the label points to version {found}"
    (found,) = answer["model_version_status"]
    message = found["status"].get("error_message", "")
    return found["state"] == "AVAILABLE", f"the version is {found['state']} {message}".strip()
