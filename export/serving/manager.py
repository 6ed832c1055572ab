"""Servables come and go: versions on the disk, labels, configurations, without a failed request."""

import contextlib
import logging
import threading
import time

from tfgen.export.serving import model_config
from tfgen.export.serving.servable import Servable
from tfgen.export.serving.statuses import ServingError, invalid

LOG = logging.getLogger(__name__)
START, LOADING, AVAILABLE, UNLOADING, END = (10, 20, 30, 40, 50)  # ModelVersionStatus.State


class Version:
    """What is known of one version of a model."""

    def __init__(self, number, path):
        self.number = number
        self.path = path
        self.state = START
        self.error = None
        self.servable = None
        self.retries = 0
        self.next_try = 0.0


class Model:
    """A model of the configuration, its versions by number and its labels."""

    def __init__(self, config):
        self.config = config
        self.versions = {}
        self.labels = {}
        self.wanted = set()
        self.warned = False

    def available(self):
        """Numbers of the versions that answer requests."""
        return [n for n, version in list(self.versions.items()) if version.state == AVAILABLE]


class Manager:
    """Loads the versions that a configuration asks for, and swaps them without a failed request.

    A new version is loaded and warmed up before the old one is unloaded, and the old one ends when
    its last request has its answer (TF Serving's AvailabilityPreservingPolicy). A version that
    fails to load leaves the old one in place.

    Args:
        config: a `ModelServerConfig`.
        poll_seconds: between looks at the base directories; 0 looks once.
        load_retries: attempts after one that failed.
        retry_seconds: between these.
        warm_up: run the warm-up requests of each version.
        labels_before_load: labels may be given to versions that are not there yet.
        scheduler: a `tfgen.export.serving.batching.Scheduler`, which all models share.
        metrics: a `tfgen.export.serving.metrics.Metrics`.

    Raises:
        ServingError: the configuration cannot be used, or a version does not load.

    Source: `model_servers/server_core.cc`, `core/availability_preserving_policy.h` of
        tensorflow/serving.

    Example:

    >>> import tempfile, tfgen
    >>> from tfgen.export.serving import manager, model_config
    >>> base = tempfile.mkdtemp()
    >>> _ = tfgen.export.saved_model("vae-digits", base)
    >>> models = manager.Manager(model_config.of_models({"vae": base}))
    >>> with models.borrow("vae") as servable:
    ...     servable.version
    1
    >>> models.close()
    """

    def __init__(
        self,
        config,
        *,
        poll_seconds=1.0,
        load_retries=5,
        retry_seconds=60.0,
        warm_up=True,
        labels_before_load=False,
        scheduler=None,
        metrics=None,
    ):
        self.batched = scheduler is not None
        self._models = {}
        self._changing = threading.RLock()  # one change at a time; requests never wait for it
        self._load_retries = load_retries
        self._retry_seconds = retry_seconds
        self._servables = {"warm_up": warm_up, "scheduler": scheduler, "metrics": metrics}
        self._labels_before_load = labels_before_load
        self._stop = threading.Event()
        self._poller = None
        try:
            self.reload(config)
        except BaseException:
            self.close()
            raise
        if poll_seconds:
            self._poller = threading.Thread(
                target=self._poll_forever, args=(poll_seconds,), daemon=True, name="versions"
            )
            self._poller.start()

    def reload(self, config):
        """Serve this configuration and nothing else; returns when its versions are loaded.

        Raises:
            ServingError: it cannot be used (nothing has changed then), a version does not load, or
                a label points to a version that is not available.
        """
        model_config.check(config)
        with self._changing:
            wanted = {model.name: model for model in config.model_config_list.config}
            self._check_new_labels(wanted)
            for name, model in wanted.items():
                known = self._models.get(name)
                if known is None or known.config.base_path != model.base_path:
                    known = self._replace(name, model)
                known.config = model
            for name in set(self._models) - set(wanted):
                self._remove(name)
            for name in wanted:
                self._load_wanted(self._models[name])
            self._set_labels(wanted)  # before what they meant goes
            for name in wanted:
                self._unload_others(self._models[name])
            self._report_failures(wanted)

    def poll(self):
        """Look for new versions on the disk, load them, and let go of the others."""
        with self._changing:
            for model in list(self._models.values()):
                self._look(model)

    @contextlib.contextmanager
    def borrow(self, name, version=None, label=None):
        """The servable of a name and perhaps a version or label, which stays open meanwhile.

        Raises:
            ServingError: there is none.
        """
        while True:
            servable = self._find(name, version, label)
            if servable is not None and servable.acquire():  # else it went away just now
                break
        try:
            yield servable
        finally:
            servable.release()

    def names(self):
        """The names of the models, sorted."""
        return sorted(self._models)

    def known(self, name):
        """The name if it is a model's, else an empty one: what strangers ask for is not counted."""
        return name if name in self._models else ""

    def labels(self, name):
        """From a label of a model to the version that it means."""
        model = self._models.get(name)
        return dict(model.labels) if model else {}

    def versions(self, name, version=None):
        """What is known of a model's versions, newest first.

        Raises:
            ServingError: NOT_FOUND.
        """
        model = self._models.get(name)
        known = sorted(model.versions.copy().items(), reverse=True) if model else []
        if not known:
            raise ServingError("NOT_FOUND", f"Could not find any versions of model {name}")
        if version is None:
            return [entry for _, entry in known]
        if version not in dict(known):
            raise ServingError("NOT_FOUND", f"Could not find version {version} of model {name}")
        return [dict(known)[version]]

    def close(self):
        """Stop looking and close every session as soon as nobody uses it."""
        self._stop.set()
        if self._poller is not None:
            self._poller.join()
        with self._changing:
            for name in list(self._models):
                self._remove(name)

    def _find(self, name, version, label):
        if not name:
            raise invalid("ModelSpec has no name specified.")
        model = self._models.get(name)
        if label is not None:
            if model is None or label not in model.labels:
                raise invalid("Unrecognized servable version label: ", label)
            version = model.labels[label]
        if version is not None:
            entry = model.versions.get(version) if model else None
            if entry is None or entry.state != AVAILABLE:
                request = f"Specific({name}, {version})"
                raise ServingError("NOT_FOUND", f"Servable not found for request: {request}")
            return entry.servable
        available = model.available() if model else []
        entry = model.versions.get(max(available)) if available else None
        if entry is None:
            raise ServingError("NOT_FOUND", f"Servable not found for request: Latest({name})")
        return entry.servable

    def _replace(self, name, config):
        """A model that moved is loaded from its new place before the old one goes."""
        old, new = self._models.get(name), Model(config)
        if old is not None:
            self._look(new)
            if old.available() and not new.available():
                raise invalid(f"No version of model {name} could be loaded from {config.base_path}")
        self._models = {**self._models, name: new}
        if old is not None:
            _unload_all(old)
        return new

    def _remove(self, name):
        gone = self._models[name]
        self._models = {key: model for key, model in self._models.items() if key != name}
        _unload_all(gone)

    def _look(self, model):
        self._load_wanted(model)
        self._unload_others(model)

    def _load_wanted(self, model):
        found = model_config.versions_on_disk(model.config.base_path)
        wanted = model_config.aspired(model.config, found)
        if not wanted and not model.warned:
            _warn_of_no_versions(model.config)
        model.warned = not wanted
        for number in sorted(wanted):
            version = model.versions.get(number)
            if version is None or (version.state == END and version.error is None):
                version = Version(number, found[number])
                model.versions = {**model.versions, number: version}
            if version.state == START or self._to_be_retried(version):
                self._load(model.config.name, version)
        model.wanted = wanted

    def _unload_others(self, model):
        wanted = model.wanted
        if wanted and not set(model.available()) & wanted:
            return  # Nothing that is wanted answers: keep what does.
        for number, version in list(model.versions.items()):
            if number not in wanted and version.state == AVAILABLE:
                _unload(version)
                LOG.info("Unloaded version %d of %s", number, model.config.name)

    def _to_be_retried(self, version):
        return (
            version.error is not None
            and version.retries < self._load_retries
            and time.monotonic() >= version.next_try
        )

    def _load(self, name, version):
        version.retries += version.error is not None
        version.state, version.error = LOADING, None
        try:
            version.servable = Servable(name, version.number, version.path, **self._servables)
            version.state = AVAILABLE
            LOG.info("Loaded version %d of %s from %s", version.number, name, version.path)
        except ServingError as error:
            self._failed(name, version, error)
        except Exception as error:  # Whatever it is, it is this version's: the others go on.
            LOG.exception("Loading version %d of %s:", version.number, name)
            self._failed(name, version, ServingError("INTERNAL", repr(error)))

    def _failed(self, name, version, error):
        version.next_try = time.monotonic() + self._retry_seconds
        version.error, version.state = error, END
        LOG.error("Loading version %d of %s failed: %s", version.number, name, error)

    def _check_new_labels(self, wanted):
        """Before anything changes: which labels could not be given, whatever is loaded now."""
        for name, model in wanted.items():
            found = model_config.versions_on_disk(model.base_path)
            known = self._models.get(name)
            there = model_config.aspired(model, found) | set(known.available() if known else ())
            for label, number in model.version_labels.items():
                is_new = known is None or label not in known.labels
                if number not in there and not (self._labels_before_load and is_new):
                    raise _unavailable(label, number, name)

    def _set_labels(self, wanted):
        for name, config in wanted.items():
            model = self._models[name]
            for label, number in config.version_labels.items():
                is_new = label not in model.labels
                if number not in model.available() and not (self._labels_before_load and is_new):
                    raise _unavailable(label, number, name)
            model.labels = dict(config.version_labels)

    def _report_failures(self, wanted):
        for name, config in wanted.items():
            known = self._models[name].versions
            found = model_config.versions_on_disk(config.base_path)
            for number in model_config.aspired(config, found) & set(known):
                error = known[number].error
                if error is not None:
                    raise ServingError(
                        error.code, f"version {number} of {name} does not load: {error.message}"
                    )

    def _poll_forever(self, seconds):
        while not self._stop.wait(seconds):
            try:
                self.poll()
            except OSError as error:  # A folder that vanished, a disk that went away for a while.
                LOG.error("Looking for versions failed: %s", error)


def _unload(version):
    version.state = UNLOADING
    version.servable.close()
    version.servable = None
    version.state = END


def _unload_all(model):
    for version in model.versions.values():
        if version.state == AVAILABLE:
            _unload(version)


def _unavailable(label, number, name):
    return ServingError(
        "FAILED_PRECONDITION",
        f"Request to assign label to version {number} of model {name}, which is not currently "
        f"available for inference (label {label})",
    )


def _warn_of_no_versions(config):
    LOG.warning(
        "No versions of servable %s found under base path %s. Did you forget to name your leaf "
        "directory as a number (eg. '/1/')?",
        config.name,
        config.base_path,
    )
