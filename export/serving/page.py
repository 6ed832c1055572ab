"""The page of `tfgen serve`, and the list of models and cards that it shows."""

import functools
from pathlib import Path
from typing import Any

from tfgen import files
from tfgen.errors import InputError
from tfgen.export.serving.manager import Manager
from tfgen.export.serving.statuses import ServingError

CARD = "assets.extra/card.json"
CONTENT_SECURITY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "connect-src 'self'; img-src 'self' data: blob:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)


@functools.cache
def html() -> str:
    """The page: one file that contains its style and its script."""
    return Path(__file__).with_name("page").joinpath("index.html").read_text("utf-8")


def models(manager: Manager) -> list[dict[str, Any]]:
    """The models that have an available version: name, version, labels, signatures, card.

    The card is None for a SavedModel that tfgen did not export.
    """
    found = []
    for name, model in sorted(manager.models.items()):
        try:
            servable = manager.find(name)
        except ServingError:
            continue
        found.append(
            {
                "name": name,
                "version": servable.version,
                "labels": model.labels,
                "signatures": sorted(n for n in servable.signatures if not n.startswith("__")),
                "card": _card(servable.path / CARD),
            }
        )
    return found


def _card(file):
    try:
        card = files.read_json(file)
    except InputError:
        return None
    return card if isinstance(card, dict) else None
