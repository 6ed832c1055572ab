"""The deployment directory of a set of models."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from tfgen.errors import InputError
from tfgen.export.deploy import compose, configs, kubernetes, monitoring
from tfgen.export.serving import model_config
from tfgen.files import PathLike, to_json, write_directory_atomically

NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,50}[a-z0-9])?")


def write(
    out: PathLike,
    models: Mapping[str, PathLike],
    *,
    labels: Mapping[str, Mapping[str, int]] | None = None,
) -> Path:
    """Write a directory from which docker-compose or kustomize runs TF Serving on these models.

    - `config/`: TF Serving's `models.config`, `batching.config` and `monitoring.config`
    - `docker-compose.yml`: TF Serving, Prometheus, Grafana; `prometheus/`, `grafana/`
    - `kubernetes/base`, `kubernetes/production`, `kubernetes/canary`: kustomize manifests

    Args:
        out: the directory to create; it must not exist.
        models: a dict from a model's name to its base directory, with at least one version.
        labels: a dict from a model's name to a dict from a label to a version. A model with labels
            serves exactly these versions, any other model its latest version.

    Returns:
        The path of the directory.

    Raises:
        InputError: a directory that exists, no models, a name that is not a DNS label, a base
            directory without the requested versions.

    Source: `config/model_server_config.proto`, `g3doc/serving_config.md` of tensorflow/serving.

    Example:

    >>> import pathlib, tempfile, tfgen
    >>> from tfgen.export import deploy
    >>> directory = pathlib.Path(tempfile.mkdtemp())
    >>> _ = tfgen.export.saved_model("vae-digits", directory / "vae")
    >>> out = deploy.write(
    ...     directory / "deploy", {"vae": directory / "vae"}, labels={"vae": {"stable": 1}}
    ... )
    >>> (out / "docker-compose.yml").is_file()
    True
    """
    out, labels = Path(out), labels or {}
    paths = {name: os.path.abspath(path) for name, path in models.items()}
    _check(out, paths, labels)

    def write_files(directory):
        for name, content in _files(paths, labels).items():
            file = directory / name
            file.parent.mkdir(parents=True, exist_ok=True)
            _write(file, content)

    return write_directory_atomically(out.parent, out.name, write_files)


def _check(out, models, labels):
    if out.exists():
        raise InputError(f"{out} exists: choose another directory")
    if not models:
        raise InputError("no models to deploy")
    for name, path in models.items():
        if not NAME.fullmatch(name):
            raise InputError(
                f"model name {name!r} must consist of lower-case letters, digits and hyphens, as "
                "DNS names do"
            )
        versions = set(model_config.versions_on_disk(path))
        if not versions:
            raise InputError(f"{path} holds no version of {name}: tfgen export writes one")
        missing = set(labels.get(name, {}).values()) - versions
        if missing:
            raise InputError(
                f"{path} has no version {min(missing)}, to which a label of {name} points"
            )
    for name in sorted(set(labels) - set(models)):
        raise InputError(f"labels for {name!r}, which is not deployed")


def _files(models, labels):
    serving = {
        "models.config": configs.models(models, labels),
        "batching.config": configs.batching(),
        "monitoring.config": configs.monitoring(),
    }
    first = min(models)
    return {
        **{f"config/{name}": content for name, content in serving.items()},
        "docker-compose.yml": compose.services(models),
        "prometheus/prometheus.yml": monitoring.prometheus(),
        "prometheus/alerts.yml": monitoring.alerts(),
        "grafana/datasources/prometheus.yml": monitoring.data_source(),
        "grafana/providers/tfgen.yml": monitoring.provider(),
        "grafana/dashboards/serving.json": monitoring.dashboard(),
        **{f"kubernetes/base/{name}": content for name, content in serving.items()},
        **{f"kubernetes/base/{n}": c for n, c in kubernetes.base(first, list(serving)).items()},
        **{f"kubernetes/production/{n}": c for n, c in kubernetes.production().items()},
        **{f"kubernetes/canary/{n}": c for n, c in kubernetes.canary().items()},
    }


def _write(file, content):
    if isinstance(content, str):
        file.write_text(content, "utf-8")
    elif file.suffix == ".json":
        file.write_text(to_json(content), "utf-8")
    else:
        yaml: Any = YAML(typ="safe", pure=True)
        yaml.default_flow_style = False
        yaml.sort_base_mapping_type_on_output = False
        yaml.width = 200
        yaml.representer.ignore_aliases = lambda _: True
        yaml.dump(content, file)
