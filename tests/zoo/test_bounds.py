"""What `log_prob` is has the same words on every surface."""

import csv
import io
import re

import pytest

import tfgen
from tfgen.evaluation import folder_scores, report
from tfgen.export import cards
from tfgen.export.source import Source
from tfgen.models import bounds
from tfgen.zoo import places

UNTRAINED = {
    "uniform": {"dequantization": "uniform"},
    "variational": {"dequantization": "variational", "dequantization_depth": 1},
}


@pytest.mark.parametrize("name", sorted(places.versions(places.PACKAGED)))
def test_every_surface_of_a_pretrained_model_says_the_same(name):
    model, card = tfgen.zoo.load(name), tfgen.zoo.card(name)
    assert model.bound == model.bound_of(1) == model.protocol()["bound"] == card["bound"]
    assert model.bound.split(",")[0] in (bounds.EXACT, bounds.LOWER)
    assert cards.new(Source(name), "SavedModel")["model"]["bound"] == model.bound
    assert f"# nats; {model.bound}\n" in report.readme(card)
    for metric, entry in card["metrics"].items():
        if entry["unit"] == "share":
            continue
        tight = metric == "nats_importance_weighted"
        k = entry["protocol"]["samples"] if tight else model.num_evaluation_samples
        for key, value in model.protocol(k).items():
            assert entry["protocol"][key] == value, (metric, key)
        drawn = re.search(r"(\d+) (?:dequantization|importance) samples?", model.bound_of(k))
        if drawn and "mean of" not in model.bound_of(k):
            assert int(drawn[1]) == entry["protocol"]["samples"]


@pytest.mark.parametrize("kind", UNTRAINED)
def test_scores_have_the_words_of_their_number_of_samples(kind):
    model = tfgen.models.Glow((4, 4, 1), levels=1, depth=1, width=4, **UNTRAINED[kind])
    expected = {"uniform": bounds.EXACT, "variational": "lower bound, 1 dequantization sample"}
    for samples, words in (
        (1, expected[kind]),
        (16, "lower bound, 16 dequantization samples"),
    ):
        scores = folder_scores.FolderScores([("a.png", -1.0, 2.0)], [], [], model.bound_of(samples))
        file = io.StringIO()
        folder_scores.write_csv(file, scores)
        (row,) = csv.DictReader(io.StringIO(file.getvalue()))
        protocol = model.protocol(samples)
        assert row["estimator"] == protocol["bound"] == model.bound_of(samples) == words
        draws = "one draw" if samples == 1 else "16 draws"
        assert protocol["dequantization"] == f"{kind}, {draws} per image"
