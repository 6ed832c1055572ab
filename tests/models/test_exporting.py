"""`keras.Model.export`: the signatures of tfgen, where Keras writes its own."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import tfgen
from tfgen.errors import InputError


@pytest.fixture(scope="module")
def model():
    return tfgen.models.VAE((4, 4, 1), latent_dim=2, hidden_units=[3])


def test_export_writes_a_saved_model_with_the_signatures_of_tfgen(model, tmp_path, capsys):
    images = np.random.default_rng(0).integers(0, 256, (3, 4, 4, 1), "uint8")
    target = tmp_path / "new" / "export"
    model.export(str(target))
    assert capsys.readouterr().out == ""
    loaded = tf.saved_model.load(str(target))
    assert {"log_prob", "sample", "encode", "decode", "serving_default"} <= set(loaded.signatures)
    found = loaded.signatures["serving_default"](images=tf.constant(images))["log_prob"]
    np.testing.assert_allclose(found, model.log_prob(images), rtol=1e-5)
    before = (target / "saved_model.pb").stat().st_ino
    model.export(target, verbose=True)  # replaces the earlier export
    assert (target / "saved_model.pb").stat().st_ino != before
    assert str(target) in capsys.readouterr().out
    assert [path.name for path in target.parent.iterdir()] == ["export"]


def test_export_writes_a_tflite_file(model, tmp_path):
    model.export(tmp_path / "vae.tflite", format="litert", precision="float16")
    runner = tf.lite.Interpreter(str(tmp_path / "vae.tflite")).get_signature_runner("decode")
    latents = np.zeros((1, 2), "float32")
    np.testing.assert_allclose(
        runner(latents=latents)["images"].astype(int), model.decode(latents), atol=1
    )


def test_what_export_cannot_do_is_refused(model, tmp_path):
    (tmp_path / "file").write_text("kept")
    for arguments, options, message in (
        (["x"], {"format": "onnx"}, "format must be one of tf_saved_model, litert, got 'onnx'"),
        (["x"], {"input_signature": []}, "input_signature must be None"),
        (["x"], {"is_static": True}, "the options are none, got is_static"),
        (["x.tflite"], {"format": "litert", "optimizations": []}, "precision, images"),
        ([""], {}, "holds other files: choose another directory"),
        (["file"], {}, "is a file: a SavedModel needs a directory"),
    ):
        with pytest.raises(InputError, match=message):
            model.export(tmp_path / arguments[0], **options)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_an_export_that_cannot_be_moved_keeps_the_earlier_one(model, tmp_path, monkeypatch):
    target = tmp_path / "export"
    target.mkdir()
    (target / "saved_model.pb").write_text("earlier")
    rename = Path.rename

    def fail(path, to):
        if path.name == "1" and Path(to) == target:
            raise OSError("no space")
        return rename(path, to)

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(OSError, match="no space"):
        model.export(target)
    assert (target / "saved_model.pb").read_text() == "earlier"
    assert [*tmp_path.iterdir()] == [target]
