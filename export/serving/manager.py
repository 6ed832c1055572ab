"""Loading and unloading of versions, labels and configurations without a failed request."""

from __future__ import annotations

import dataclasses
import logging
import os
import threading
import time
from collections.abc import Iterable

from tensorflow_serving.apis.get_model_status_pb2 import ModelVersionStatus
from tensorflow_serving.config.model_server_config_pb2 import ModelConfig, ModelServerConfig

from tfgen.export.serving import model_config
from tfgen.export.serving.batching import Scheduler
from tfgen.export.serving.flags import Flags
from tfgen.export.serving.metrics import Metrics
from tfgen.export.serving.servable import Servable
from tfgen.export.serving.statuses import ServingError, invalid

LOG = logging.getLogger(__name__)
START, LOADING = ModelVersionStatus.START, ModelVersionStatus.LOADING
AVAILABLE, END = ModelVersionStatus.AVAILABLE, ModelVersionStatus.END


@dataclasses.dataclass
class Version:
    """The state of one version of a model."""

    number: int
    path: str
    state: int = START
    error: ServingError | None = None
    servable: Servable | None = None
    retries: int = 0
    next_try: float = 0.0

    def unload(self) -> None:
        """Release the servable, which is closed when no request uses it any more."""
        if self.state == AVAILABLE:
            self.state, self.servable = END, None


class Model:
    """A model of the configuration, its versions by number and its labels.

    While it is pending, its versions have the state START; version 1 if there is none yet.
    """

    def __init__(self, config: ModelConfig, *, pending: bool = False):
        self.config = config
        self.pending = pending
        self.versions: dict[int, Version] = {}
        if pending:
            found = model_config.versions_on_disk(config.base_path)
            numbers = model_config.aspired(config, found) or {1}
            path = os.path.join(config.base_path, "{}")
            self.versions = {n: Version(n, found.get(n, path.format(n))) for n in numbers}
        self.labels: dict[str, int] = {}
        self.wanted: set[int] | None = None
        self.unreadable = False

    def found(self) -> dict[int, str]:
        """The directory of each version on the disk.

        As in TF Serving, a base directory that is missing or cannot be read does not mean that its
        versions were removed, and those that are available stay. Versions are removed from a base
        directory that exists.

        Source: `sources/storage_path/file_system_storage_path_source.cc` of tensorflow/serving.
        """
        try:
            found = model_config.versions_in(self.config.base_path)
        except OSError as error:
            available = {number: self.versions[number].path for number in self.available()}
            if available and not self.unreadable:
                LOG.warning(
                    "The base path %s of %s cannot be read (%s): its loaded versions stay",
                    self.config.base_path,
                    self.config.name,
                    error.strerror,
                )
            self.unreadable = bool(available)
            return available
        if self.unreadable:
            LOG.info("The base path %s can be read again", self.config.base_path)
        self.unreadable = False
        return found

    def available(self) -> dict[int, Servable]:
        """The servables that answer requests, by version."""
        found = ((version.number, version.servable) for version in list(self.versions.values()))
        return {number: servable for number, servable in found if servable is not None}

    def unload(self, numbers: Iterable[int]) -> None:
        """Unload some versions."""
        for number in numbers:
            self.versions[number].unload()
            LOG.info("Unloaded version %d of %s", number, self.config.name)


class Manager:
    """Loads the versions that a configuration asks for, and swaps them without a failed request.

    A new version is loaded and warmed up before the old one is unloaded, and the old one ends when
    its last request is answered (TF Serving's AvailabilityPreservingPolicy). A version that fails
    to load leaves the old one in place.

    Args:
        config: the models.
        flags: the server's flags.
        scheduler: runs rows of several requests together.
        metrics: measures the runs.
        pending: whether the models wait for `load` or `reload`, while their state is START.

    Attributes:
        models: the `Model`s by name.

    Raises:
        ServingError: the configuration cannot be used, or a version does not load.

    Source: `model_servers/server_core.cc`, `core/availability_preserving_policy.h` of
        tensorflow/serving.
    """

    def __init__(
        self,
        config: ModelServerConfig,
        flags: Flags | None = None,
        *,
        scheduler: Scheduler | None = None,
        metrics: Metrics | None = None,
        pending: bool = False,
    ):
        self.models: dict[str, Model] = {}
        self._flags = flags or Flags()
        self._scheduler = scheduler
        self._metrics = metrics
        self._changing = threading.Lock()  # one change at a time; requests do not wait for it
        if not pending:
            self.reload(config)
            return
        model_config.check(config)
        models = config.model_config_list.config
        self.models = {model.name: Model(model, pending=True) for model in models}

    def load(self, name: str) -> None:
        """Load a pending model.

        Raises:
            ServingError: a version does not load.
        """
        with self._changing:
            model = self.models.get(name)
            if model is not None and model.pending:  # no `reload` has come first
                model.pending = False
                self._load_wanted(model)
                model.versions = {n: model.versions[n] for n in model.wanted or ()}
                self._raise_error_of(model)

    def fail(self, name: str, error: ServingError) -> None:
        """Give the versions of a pending model the state END, with an error."""
        if name in self.models:
            for version in self.models[name].versions.values():
                version.state, version.error = END, error

    def reload(self, config: ModelServerConfig) -> None:
        """Serve this configuration and nothing else; returns when its versions are loaded.

        Raises:
            ServingError: it cannot be used (then nothing has changed), a version does not load, or
                a label points to a version that is not available.
        """
        model_config.check(config)
        with self._changing:
            wanted = {model.name: model for model in config.model_config_list.config}
            for name, model in wanted.items():
                found = model_config.versions_on_disk(model.base_path)
                known = self.models.get(name) or Model(model)
                there = model_config.aspired(model, found) | set(known.available())
                self._check_labels(model, known, there)
            for name, model in wanted.items():
                old = self.models.get(name)
                if old is None or old.config.base_path != model.base_path:
                    self._replace(old, Model(model))
                self.models[name].config = model
                self.models[name].pending = False
            for name in set(self.models) - set(wanted):
                self._remove(name)
            for known in self.models.values():
                self._load_wanted(known)
            for known in self.models.values():  # before old versions are unloaded
                self._check_labels(known.config, known, set(known.available()))
                known.labels = dict(known.config.version_labels)
            for known in self.models.values():
                self._unload_others(known)
            for known in self.models.values():
                self._raise_error_of(known)

    def poll(self) -> None:
        """Look for new versions on the disk, load them, and unload the others."""
        with self._changing:
            for model in self.models.values():
                if not model.pending:
                    self._load_wanted(model)
                    self._unload_others(model)

    def find(self, name: str, version: int | None = None, label: str | None = None) -> Servable:
        """A model's servable, by version or label if given; `ServingError` if there is none."""
        model = self._named(name)
        if label is not None:
            if model is None or label not in model.labels:
                raise invalid(f"Unrecognized servable version label: {label}")
            version = model.labels[label]
        available = model.available() if model else {}
        if version is None and available:
            version = max(available)
        if version not in available:
            asked = f"Latest({name})" if version is None else f"Specific({name}, {version})"
            raise ServingError("NOT_FOUND", f"Servable not found for request: {asked}")
        return available[version]

    def versions(self, name: str, version: int | None = None) -> list[Version]:
        """States of a model's versions, newest first, or of one; `ServingError` if it has none."""
        model = self._named(name)
        known = dict(model.versions) if model else {}
        found = [known[n] for n in sorted(known, reverse=True) if version in (None, n)]
        if not found:
            which = f"version {version}" if known else "any versions"
            raise ServingError("NOT_FOUND", f"Could not find {which} of model {name}")
        return found

    def close(self) -> None:
        """Unload every version; one that is being loaded is not waited for."""
        for name in list(self.models):
            self._remove(name)

    def _named(self, name):
        if not name:
            raise invalid("ModelSpec has no name specified.")
        return self.models.get(name)

    def _replace(self, old, new):
        """Load a model from its new base path, if any, before its old versions are unloaded."""
        name = new.config.name
        if old is not None:
            self._load_wanted(new)
            if old.available() and not new.available():
                path = new.config.base_path
                raise invalid(f"No version of model {name} could be loaded from {path}")
        self.models = {**self.models, name: new}
        if old is not None:
            old.unload(old.available())

    def _remove(self, name):
        gone = self.models[name]
        self.models = {key: model for key, model in self.models.items() if key != name}
        gone.unload(gone.available())

    def _load_wanted(self, model):
        config = model.config
        found = model.found()
        before, model.wanted = model.wanted, model_config.aspired(config, found)
        if not model.wanted and model.wanted != before:
            LOG.warning(
                "No versions of servable %s found under base path %s. Did you forget to name your "
                "leaf directory as a number (eg. '/1/')?",
                config.name,
                config.base_path,
            )
        for number in sorted(model.wanted):
            version = model.versions.get(number)
            if version is None or (version.state == END and version.error is None):
                version = Version(number, found[number])
                model.versions = {**model.versions, number: version}
            if version.state == START or self._is_to_be_retried(version):
                self._load(config.name, version)

    def _unload_others(self, model):
        others = set(model.available()) - model.wanted
        if not model.wanted or set(model.available()) != others:  # else these still answer
            model.unload(others)

    def _is_to_be_retried(self, version):
        left = version.error is not None and version.retries < self._flags.max_num_load_retries
        return left and time.monotonic() >= version.next_try

    def _load(self, name, version):
        version.retries += version.error is not None
        version.state, version.error = LOADING, None
        try:
            version.servable = Servable(
                name,
                version.number,
                version.path,
                warm_up=self._flags.enable_model_warmup,
                scheduler=self._scheduler,
                metrics=self._metrics,
                limits=self._flags.limits,
            )
            version.state = AVAILABLE
            LOG.info("Loaded version %d of %s from %s", version.number, name, version.path)
        except ServingError as error:
            self._fail(name, version, error.code, error.message)
        except Exception as error:  # No error may affect the other versions.
            LOG.exception("Loading version %d of %s:", version.number, name)
            self._fail(name, version, "INTERNAL", repr(error))

    def _fail(self, name, version, code, message):
        version.next_try = time.monotonic() + self._flags.load_retry_interval_micros / 1e6
        # Not the error that was raised, whose traceback would keep the session alive.
        version.error, version.state = ServingError(code, message), END
        LOG.error("Loading version %d of %s failed: %s", version.number, name, version.error)

    def _check_labels(self, config, known, there):
        """Check that labels point to available versions; a flag exempts new labels."""
        for label, number in config.version_labels.items():
            is_new = label not in known.labels
            if number not in there and not (
                is_new and self._flags.allow_version_labels_for_unavailable_models
            ):
                raise ServingError(
                    "FAILED_PRECONDITION",
                    f"Request to assign label to version {number} of model {config.name}, which is "
                    f"not currently available for inference (label {label})",
                )

    def _raise_error_of(self, model):
        for number in model.wanted:
            error = model.versions[number].error
            if error is not None:
                raise ServingError(
                    error.code,
                    f"version {number} of {model.config.name} does not load: {error.message}",
                )
