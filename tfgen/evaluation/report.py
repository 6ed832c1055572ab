"""What is told of a finished run: its README and the table in the terminal."""

import math

from rich.table import Table
from rich.text import Text

EXPLAINED = {
    "bits_per_dim": "bits/dim",
    "nats": "negative log-likelihood, nats",
    "nats_importance_weighted": "the same with more samples an image, nats",
    "samples_as_asked": "samples of the class asked for",
    "moves_hue": "images whose hue moves as asked",
    "moves_size": "images whose size moves as asked",
    "moves_x": "images moved to the right as asked",
    "moves_y": "images moved down as asked",
    "moves_only_hue": "images of which the hue alone moves as asked",
    "moves_only_size": "images of which the size alone moves as asked",
    "moves_only_x": "images moved to the right and otherwise unchanged",
    "moves_only_y": "images moved down and otherwise unchanged",
}

CAPTIONS = {
    "samples": "Samples at temperature 1.",
    "interpolation": "Between two test images, in latent space.",
    "reconstructions": "Test images, each above its reconstruction.",
    "temperatures": "Samples of the same noise at temperatures from 0 to 1.1.",
    "manifold": "The images of the prior's quantiles.",
    "curve": "Training by epochs.",
}


def table(card):
    """The test figures of a card with their protocols, as a `rich.table.Table`."""
    result = Table("figure", "value", caption_justify="left")
    result.title = Text(card["name"], "table.title")
    for name, metric in card["metrics"].items():
        result.add_row(Text(EXPLAINED.get(name, name)), value(metric))
    result.caption = Text("\n".join(protocols(card)), "table.caption")
    return result


def protocols(card):
    """One sentence for each way in which figures of a card were counted."""
    return list(dict.fromkeys(_protocol(metric) for metric in card["metrics"].values()))


def value(metric):
    """A figure with its standard error, to a digit in which that is not 0; none of one image."""
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
        f"{p['dequantization']}; {p['bound']}; {_count(p['samples'], 'sample')} an image"
    )


def _count(number, noun):
    return f"{number} {noun}{'' if number == 1 else 's'}"


def readme(card):
    """The README.md of a run directory, made from its card."""
    model = card["recipe"]["model"]
    rows = "\n".join(
        f"| {EXPLAINED.get(name, name)} | {value(metric)} |"
        for name, metric in card["metrics"].items()
    )
    arguments = ", ".join(f"{k}={v!r}" for k, v in model.items() if k != "class")
    environment = ", ".join(f"{k} {v}" for k, v in card["environment"].items())
    shape = ", ".join(map(str, card["image_shape"]))
    images, seconds = card["training"]["images_seen"], card["training"]["seconds"]
    command = f"- Command: `{card['command']}`\n" if card["command"] else ""
    splits = ", ".join(f"{count:,} {split}" for split, count in card["data"]["splits"].items())
    pictures = "\n\n".join(
        f"![{name}]({name}.png)\n\n{CAPTIONS[name]}" for name in card["pictures"]
    )
    return f"""# {card["name"]}

{card["summary"][0].upper()}{card["summary"][1:]}.

| figure | value |
|---|---|
{rows}

{"; ".join(protocols(card))}.

```python
import tfgen

model = tfgen.zoo.load("{card["name"]}")  # or the path of this directory
images = model.sample(16, temperature=1.0, seed=0)  # uint8 [16, {shape}]
nats = model.log_prob(images)  # {card["bound"]}
latents = model.encode(images)  # float32 [16, {card["latent_dim"]}]
images = model.decode(latents)
```

{pictures}

## How it was made

{command}- Model: `{model["class"]}({arguments})`, {card["parameters"]:,} parameters
- Data: `{card["data"]["name"]}`, {splits} images of shape ({shape})
- Training: {images:,} images seen in {seconds:,.0f} s by the clock, whatever else the machine did
- Environment: {environment}

`card.json` holds all of this, the recipe and the SHA-256 of every file.
"""
