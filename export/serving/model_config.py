"""`models.config`: which models are served, from where, which versions, under which labels."""

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from tensorflow_serving.config.model_server_config_pb2 import ModelConfig, ModelServerConfig

from tfgen.errors import InputError
from tfgen.export.serving import text_config
from tfgen.export.serving.statuses import ServingError, invalid

NAME = re.compile(r"[^/:]+")


def read(path: str | Path) -> ModelServerConfig:
    """The `ModelServerConfig` of a text file such as `models.config`.

    Raises:
        InputError: it cannot be read, or cannot be served.

    Source: `config/model_server_config.proto` of tensorflow/serving.

    Example:

    >>> import pathlib, tempfile
    >>> from tfgen.export.serving import model_config
    >>> path = pathlib.Path(tempfile.mkdtemp(), "models.config")
    >>> _ = path.write_text("model_config_list { config { "
    ...     "name: 'glow' base_path: '/models/glow' model_platform: 'tensorflow' } }")
    >>> model_config.read(path).model_config_list.config[0].name
    'glow'
    """
    config = text_config.read(path, ModelServerConfig())
    try:
        check(config)
    except ServingError as error:
        raise InputError(f"{path}: {error.message}") from None
    return config


def of_models(base_paths: Mapping[str, str | Path]) -> ModelServerConfig:
    """The configuration that serves the latest version of each model.

    Args:
        base_paths: a dict from a model's name to its base directory.
    """
    config = ModelServerConfig()
    config.model_config_list.SetInParent()
    for name, path in base_paths.items():
        config.model_config_list.config.add(
            name=name, base_path=os.path.abspath(path), model_platform="tensorflow"
        )
    return config


def check(config: ModelServerConfig) -> None:
    """Refuse a configuration that TF Serving refuses.

    Raises:
        ServingError: no list of models, a name that is missing or used twice, a relative base
            path, another platform than tensorflow, an unusable label.
    """
    if config.WhichOneof("config") != "model_config_list":
        raise invalid("Invalid ServerModelConfig: only model_config_list is supported")
    seen = set()
    for model in config.model_config_list.config:
        for kind, name in (
            ("Model name", model.name),
            *(("Label", k) for k in model.version_labels),
        ):
            if not NAME.fullmatch(name):
                raise invalid(f"{kind} {name!r} is empty or contains / or :")
        if model.name in seen:
            raise invalid(f"Illegal to list model {model.name} multiple times in config list")
        seen.add(model.name)
        if not os.path.isabs(model.base_path):
            raise invalid(
                f"Expected model {model.name} to have an absolute path or URI; "
                f"got base_path()={model.base_path}"
            )
        if model.model_platform != "tensorflow":
            raise invalid(
                f"Model {model.name} has platform {model.model_platform!r}; the only supported "
                "platform is 'tensorflow'"
            )


def versions_on_disk(base_path: str | Path) -> dict[int, str]:
    """The versions in a base directory; none if it cannot be read. See `versions_in`."""
    try:
        return versions_in(base_path)
    except OSError:
        return {}


def versions_in(base_path: str | Path) -> dict[int, str]:
    """A dict from each version's number to its directory. Names such as `tmp-...` are ignored.

    Raises:
        OSError: the base directory is missing or cannot be read, for example while its disk is
            unavailable, which does not mean that its versions were removed.
    """
    with os.scandir(base_path) as entries:
        return {
            int(entry.name): entry.path
            for entry in entries
            if entry.name.isascii() and entry.name.isdecimal() and int(entry.name) < 2**63
        }


def aspired(model: ModelConfig, found: Iterable[int]) -> set[int]:
    """The versions on the disk for which the policy of a `ModelConfig` asks."""
    policy = model.model_version_policy
    kind = policy.WhichOneof("policy_choice") or "latest"
    if kind == "all":
        return set(found)
    if kind == "specific":
        return set(policy.specific.versions) & set(found)
    return set(sorted(found)[-(policy.latest.num_versions or 1) :])
