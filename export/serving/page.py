"""The page of `tfgen serve`, and what it shows beyond TF Serving's API: the models with cards."""

import functools
import json
from pathlib import Path

from tfgen.export.serving.statuses import ServingError

CARD = "assets.extra/card.json"
CONTENT_SECURITY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "connect-src 'self'; img-src 'self' data: blob:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)


@functools.cache
def html():
    """The page: one file, with its style and its script."""
    return Path(__file__).with_name("page").joinpath("index.html").read_text("utf-8")


def models(manager):
    """The models that answer, as JSON: name, version, labels, signatures, card.

    Args:
        manager: a `tfgen.export.serving.manager.Manager`.

    Returns:
        A list of dicts. The card is None for a SavedModel that tfgen did not export.
    """
    found = []
    for name in manager.names():
        try:
            with manager.borrow(name) as servable:
                found.append(
                    {
                        "name": name,
                        "version": servable.version,
                        "labels": manager.labels(name),
                        "signatures": sorted(n for n in servable.signatures if n[:2] != "__"),
                        "card": _card(servable.path / CARD),
                    }
                )
        except ServingError:  # It has no version that answers.
            continue
    return found


def _card(file):
    try:
        card = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return card if isinstance(card, dict) else None
