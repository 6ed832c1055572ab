"""From a TFDS builder that is prepared to a `Dataset`."""

from tfgen.data.dataset import Dataset
from tfgen.data.reading import PreparedReader


def open_prepared(builder, *, name: str, options: dict) -> Dataset:
    """The `Dataset` of what one of tfgen's builders prepared.

    Args:
        builder: as `tfgen.data.prepared.prepared` gives it.
        name: what the data set is called.
        options: what it was asked for, recorded in the provenance.
    """
    info = builder.info
    stored = dict(info.metadata)
    unreadable = [tuple(entry) for entry in stored.pop("unreadable", [])]
    counts = {split: info.splits[split].num_examples for split in info.splits}
    order = [split for split in ("train", "validation", "test") if split in counts]
    return Dataset(
        name=name,
        image_shape=tuple(info.features["image"].shape),
        **label_fields(info.features),
        splits={split: counts[split] for split in order},
        provenance={
            "name": name,
            "builder": info.name,
            "version": str(info.version),
            "options": options,
            **stored,
            "unreadable_files": len(unreadable),
        },
        unreadable=unreadable,
        _reader=PreparedReader(builder),
        _stored={split: (split, 0, counts[split]) for split in order},
    )


def label_fields(features: dict) -> dict:
    """`num_classes`, `label_names` and `_label_key` of a `Dataset` for these TFDS features."""
    classes = {
        key: tuple(feature.names)
        for key, feature in features.items()
        if getattr(feature, "num_classes", None)
    }
    if "label" in classes:
        names = classes["label"]
        return {"num_classes": len(names), "label_names": names, "_label_key": "label"}
    return {"num_classes": None, "label_names": classes or None, "_label_key": None}
