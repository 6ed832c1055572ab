"""`models.config`: which models are served, from where, which versions, under which labels."""

import os
import re
from pathlib import Path

from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

from tfgen.errors import InputError
from tfgen.export.serving.statuses import ServingError, invalid

NAME = re.compile(r"[^/:]+")


def read(path):
    """The `ModelServerConfig` of a text file.

    Args:
        path: of a file such as `models.config`.

    Raises:
        InputError: it cannot be read, or says nothing that can be served.

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
    try:
        text = Path(path).read_text("utf-8")
        config = text_format.Parse(text, model_server_config_pb2.ModelServerConfig())
        check(config)
    except (text_format.ParseError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is no ModelServerConfig in text format: {error}") from None
    except ServingError as error:
        raise InputError(f"{path}: {error.message}") from None
    return config


def of_models(base_paths):
    """The configuration that serves the latest version of each model.

    Args:
        base_paths: a dict from a model's name to its base directory.

    Example:

    >>> from tfgen.export.serving import model_config
    >>> config = model_config.of_models({"glow": "/models/glow"})
    >>> config.model_config_list.config[0].model_platform
    'tensorflow'
    """
    config = model_server_config_pb2.ModelServerConfig()
    config.model_config_list.SetInParent()
    for name, path in base_paths.items():
        config.model_config_list.config.add(
            name=name, base_path=os.path.abspath(path), model_platform="tensorflow"
        )
    return config


def check(config):
    """Refuse what TF Serving refuses.

    Raises:
        ServingError: no list of models, a name that is missing or used twice, a relative base
            path, another platform than tensorflow, an unusable label.
    """
    if config.WhichOneof("config") != "model_config_list":
        raise invalid("Invalid ServerModelConfig: only model_config_list is supported")
    seen = set()
    for model in config.model_config_list.config:
        if not NAME.fullmatch(model.name):
            raise invalid(f"Model name {model.name!r} is empty or holds one of / and :")
        if model.name in seen:
            raise invalid("Illegal to list model ", model.name, " multiple times in config list")
        seen.add(model.name)
        if not os.path.isabs(model.base_path):
            raise invalid(
                f"Expected model {model.name} to have an absolute path or URI; "
                f"got base_path()={model.base_path}"
            )
        if model.model_platform != "tensorflow":
            raise invalid(
                f"Model {model.name} has platform {model.model_platform!r}; only 'tensorflow' is "
                "served"
            )
        for label in model.version_labels:
            if not NAME.fullmatch(label):
                raise invalid(f"Version label {label!r} is empty or holds one of / and :")


def versions_on_disk(base_path):
    """From a version's number to its folder. Other names are ignored, `tmp-...` among them."""
    try:
        entries = list(os.scandir(base_path))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    found = {}
    for entry in entries:
        if entry.name.isascii() and entry.name.isdecimal() and int(entry.name) < 2**63:
            found[int(entry.name)] = entry.path
    return found


def aspired(model, found):
    """Those of the versions on the disk that the policy of a `ModelConfig` asks for."""
    policy = model.model_version_policy
    kind = policy.WhichOneof("policy_choice") or "latest"
    if kind == "all":
        return set(found)
    if kind == "specific":
        return set(policy.specific.versions) & set(found)
    count = policy.latest.num_versions or 1
    return set(sorted(found)[-count:])
