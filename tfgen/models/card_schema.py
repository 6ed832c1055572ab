"""What the entries of a card are, where they are given."""

from __future__ import annotations

import reprlib
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError

from tfgen.errors import InputError
from tfgen.models.config_limits import MAX_VERSION


class _Entries(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow")


class _Metric(_Entries):
    value: float = 0.0  # may be NaN
    standard_error: float = 0.0
    unit: str = ""
    protocol: dict[str, Any] = {}


class _Sampling(_Entries):
    temperature: Annotated[FiniteFloat, Field(ge=0)] = 1.0


class _Recipe(_Entries):
    data: dict[str, Any] = {}


class _Card(_Entries):
    files: dict[str, str]  # SHA-256, in hexadecimal
    sizes: dict[str, Annotated[int, Field(ge=0)]] = {}  # in bytes; not in cards of version 0.1.0
    name: str = ""
    version: Annotated[int, Field(ge=1, le=MAX_VERSION)] = 1
    class_: Annotated[str, Field(alias="class")] = ""
    summary: str = ""
    image_shape: list[int] = []
    parameters: int = 0
    bound: str = ""
    metrics: dict[str, _Metric] = {}
    sampling: _Sampling = _Sampling()
    recipe: _Recipe = _Recipe()


def check(card: Any, place: object) -> None:
    """Check the entries of a card that other code relies on; further entries are allowed.

    Args:
        card: the value in the file.
        place: where it comes from, for messages.

    Raises:
        InputError: it is not a dict, an entry has another type, or it lists no files.

    Example:

    >>> from tfgen.models import card_schema
    >>> card_schema.check({"files": {}, "name": 3}, "card.json")
    Traceback (most recent call last):
    ...
    tfgen.errors.InputError: card.json is damaged: its entry name is 3: Input should ...
    """
    if not isinstance(card, dict) or not isinstance(card.get("files"), dict):
        raise InputError(f"{place} is damaged: it lists no files")
    try:
        _Card.model_validate(card)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        entry = ".".join(str(part)[:100] for part in first["loc"])
        raise InputError(
            f"{place} is damaged: its entry {entry} is {reprlib.repr(first['input'])}: "
            f"{first['msg']}"
        ) from None
