"""A card as text: the table in the terminal, and the README.md of its directory."""

import math
from collections.abc import Mapping
from typing import Any

from rich.table import Table
from rich.text import Text

from tfgen.evaluation import quality

LABELS = {
    "bits_per_dim": "bits/dim",
    "nats": "negative log-likelihood, nats",
    "nats_importance_weighted": "negative log-likelihood by a tighter bound, nats",
    "sample_class_accuracy": "samples of the requested class",
    "moves_hue": "hue moved",
    "moves_size": "size increased",
    "moves_x": "position moved right",
    "moves_y": "position moved down",
    "moves_only_hue": "hue moved, other attributes kept",
    "moves_only_size": "size increased, other attributes kept",
    "moves_only_x": "position moved right, other attributes kept",
    "moves_only_y": "position moved down, other attributes kept",
}

CAPTIONS = {
    "samples": "Samples at temperature {temperature:g}.",
    "interpolation": "Interpolations between two test images in latent space.",
    "reconstructions": "Test images, each above its reconstruction.",
    "temperatures": "Samples from the same noise at temperatures from 0 to 1.1.",
    "manifold": "Decoded images on a grid of quantiles of the prior.",
    "curve": "Bits/dim during training.",
}

Card = Mapping[str, Any]


def table(card: Card) -> Table:
    """The metrics of a card with their protocols, for the terminal."""
    result = Table("metric", "value", caption_justify="left")
    result.title = Text(card["name"], "table.title")
    for name, metric in card["metrics"].items():
        result.add_row(Text(label(name)), value(metric))
    result.caption = Text("\n".join(protocols(card)), "table.caption")
    wrong = quality.problem(card)
    if wrong:
        result.caption.append(f"\n{wrong}", "bold red")
    return result


def label(name: str) -> str:
    """A metric's name in words."""
    return LABELS.get(name, name)


def temperature(card: Card) -> float:
    """The temperature that a card recommends for samples; 1 if it recommends none.

    >>> from tfgen.evaluation import report
    >>> report.temperature({"sampling": {"temperature": 0.9}}), report.temperature({})
    (0.9, 1.0)
    """
    return float(card.get("sampling", {}).get("temperature", 1.0))


def protocols(card: Card) -> list[str]:
    """One sentence for each way in which metrics of a card were measured."""
    return list(dict.fromkeys(_protocol(metric) for metric in card["metrics"].values()))


def value(metric: Mapping[str, Any]) -> str:
    """A metric with its standard error, rounded to the first nonzero digit of the error.

    A standard error of 0, that of a single image or of a share of 100 %, is omitted.
    """
    error, share = metric["standard_error"], metric["unit"] == "share"
    digits = 1 if share else 3
    if 0 < error < 1:
        digits = max(digits, math.ceil(-math.log10(100 * error if share else error)))
    kind = f".{digits}{'%' if share else 'f'}"
    return f"{metric['value']:{kind}}" + (f" ± {error:{kind}}" if error else "")


def _protocol(metric):
    p = metric["protocol"]
    if metric["unit"] == "share":
        return f"{p['data']} {p['split']}, {p['images']:,} images: {p['bound']}"
    return (
        f"{p['data']} {p['split']}, {p['images']:,} images; {p['dims']} dims, "
        f"{_count(p['bits'], 'bit')}; padding: {p['padding']}; dequantization: "
        f"{p['dequantization']}; {p['bound']}; {_count(p['samples'], 'sample')} per image"
    )


def _count(number, noun):
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _notes(card):
    """What a reader has to know before using the model, as paragraphs of the README."""
    notes = []
    wrong = quality.problem(card)
    if wrong:
        notes.append(f"**This model is {wrong}.** Do not use it; train longer or otherwise.")
    return "".join(f"\n{note}\n" for note in notes)


def readme(card: Card) -> str:
    """The README.md of a run directory."""
    model = card["recipe"]["model"]
    rows = "\n".join(
        f"| {label(name)} | {value(metric)} |" for name, metric in card["metrics"].items()
    )
    measured = "\n".join(f"- {protocol}" for protocol in protocols(card))
    arguments = ", ".join(f"{k}={v!r}" for k, v in model.items() if k != "class")
    environment = ", ".join(f"{k} {v}" for k, v in card["environment"].items())
    shape = ", ".join(map(str, card["image_shape"]))
    recommended = temperature(card)
    images, seconds = card["training"]["images_seen"], card["training"]["seconds"]
    command = f"- Command: `{card['command']}`\n" if card["command"] else ""
    splits = ", ".join(f"{count:,} {split}" for split, count in card["data"]["splits"].items())
    pictures = "\n\n".join(
        f"![{name}]({name}.png)\n\n{CAPTIONS[name].format(temperature=recommended)}"
        for name in card["pictures"]
    )
    return f"""# {card["name"]}

{card["summary"][0].upper()}{card["summary"][1:]}.
{_notes(card)}
| metric | value |
|---|---|
{rows}

How the metrics were measured:

{measured}

```python
import tfgen

model = tfgen.zoo.load("{card["name"]}")  # or the path of this directory
images = model.sample(16, temperature={recommended}, seed=0)  # uint8 [16, {shape}]
log_prob = model.log_prob(images)  # nats; {card["bound"]}
latents = model.encode(images)  # float32 [16, {card["latent_dim"]}]
images = model.decode(latents)
```

{pictures}

## Training

{command}- Model: `{model["class"]}({arguments})`, {card["parameters"]:,} parameters
- Data: `{card["data"]["name"]}`, {splits} images of shape ({shape})
- Training: {images:,} images seen in {seconds:,.0f} s of wall-clock time
- Environment: {environment}

`card.json` contains this information, the recipe and the SHA-256 digest of every file.
"""
