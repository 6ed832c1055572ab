"""Whether a model has learned anything: its bits/dim against those of uniform noise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def problem(card: Mapping[str, Any]) -> str | None:
    """One sentence if the likelihood in a card is worse than that of uniform noise, or None.

    Uniform noise with b bits per value needs log2(2^b) = b bits/dim for every image: a model that
    needs more, or whose likelihood is not a number, has learned nothing about the images.

    Args:
        card: a card, or a dict with its "metrics".

    Example:

    >>> from tfgen.evaluation import quality
    >>> metric = {"value": 10.19, "protocol": {"bits": 8, "data": "photos", "split": "test"}}
    >>> quality.problem({"metrics": {"bits_per_dim": metric}})
    'worse than uniform noise: 10.190 bits/dim on photos test, where uniform noise needs 8'
    >>> quality.problem({"metrics": {"bits_per_dim": {**metric, "value": 3.1}}}) is None
    True
    """
    metric = card.get("metrics", {}).get("bits_per_dim")
    if metric is None or metric["value"] <= metric["protocol"]["bits"]:
        return None
    protocol = metric["protocol"]
    return (
        f"worse than uniform noise: {metric['value']:.3f} bits/dim on {protocol['data']} "
        f"{protocol['split']}, where uniform noise needs {protocol['bits']}"
    )
