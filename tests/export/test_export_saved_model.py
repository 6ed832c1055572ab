"""SavedModels: their versions, and the files after an export or its failure."""

import json
import threading

import numpy as np
import pytest
from export_cases import perturbed

import tfgen
from tfgen.errors import InputError
from tfgen.export import to_saved_model, warmup
from tfgen.models import preset


def small_vae(**options):
    """A model of images with two channels, so that no signature takes files."""
    return tfgen.models.VAE(
        (2, 2, 2), latent_dim=2, hidden_units=[4], likelihood="gaussian", **options
    )


def test_a_model_still_computes_with_its_weights_after_an_export(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (4, 4, 4, 2), "uint8")
    flow = perturbed(tfgen.models.Glow((4, 4, 2), levels=1, depth=1, width=4, num_classes=3))
    before = flow.log_prob(images).numpy()
    tfgen.export.saved_model(flow, tmp_path)
    np.testing.assert_array_equal(flow.log_prob(images), before)
    for weight in flow.trainable_weights:
        if "mixing" in weight.path:
            weight.assign_add(np.full(weight.shape, 0.05, "float32"))
    fresh = type(flow).from_config(flow.get_config())
    fresh.set_weights(flow.get_weights())
    assert np.abs(flow.log_prob(images) - before).min() > 1e-3
    np.testing.assert_allclose(flow.log_prob(images), fresh.log_prob(images), rtol=1e-6)


def test_versions_are_numbered_and_never_overwritten(tmp_path):
    vae = small_vae()
    assert tfgen.export.saved_model(vae, tmp_path).name == "1"
    assert tfgen.export.saved_model(vae, tmp_path, version=7).name == "7"
    assert tfgen.export.saved_model(vae, tmp_path).name == "8"
    with pytest.raises(InputError, match="7 exists: choose another version"):
        tfgen.export.saved_model(vae, tmp_path, version=7)
    for version in (0, -1, "3", True, 2**63):
        with pytest.raises(InputError, match=f"version must be an integer from 1 to {2**63 - 1}"):
            tfgen.export.saved_model(vae, tmp_path, version=version)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["1", "7", "8"]


def test_two_exports_at_once_get_two_versions(tmp_path, monkeypatch):
    """Both choose the same number before either takes it."""
    write, both = to_saved_model._write, threading.Barrier(2)

    def written(source, directory):
        write(source, directory)
        both.wait(120)

    monkeypatch.setattr(to_saved_model, "_write", written)
    threads = [
        threading.Thread(target=tfgen.export.saved_model, args=(small_vae(name=name), tmp_path))
        for name in "ab"
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["1", "2"]
    names = {
        json.loads((tmp_path / v / "assets.extra" / preset.CARD).read_text())["model"]["name"]
        for v in "12"
    }
    assert names == {"a", "b"}


def test_a_failed_export_leaves_nothing(tmp_path, monkeypatch):
    def fail(*arguments, **options):
        raise OSError("the disk is full")

    monkeypatch.setattr(warmup, "write", fail)
    with pytest.raises(OSError, match="the disk is full"):
        tfgen.export.saved_model(small_vae(), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_bad_targets_are_refused(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match="is a file"):
        tfgen.export.saved_model("vae-digits", tmp_path / "file")
    with pytest.raises(InputError, match="no model 'vea'"):
        tfgen.export.saved_model("vea", tmp_path / "new")
    assert not (tmp_path / "new").exists()
