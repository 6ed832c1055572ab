"""A run directory: what it holds, and that a failed run leaves none."""

import functools
import io
import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from tensorflow.core.util import event_pb2

import tfgen
from tfgen.errors import InputError
from tfgen.evaluation import metrics
from tfgen.files import read_json, sha256
from tfgen.training import curve, final_weights, loop, recipe, run, summary
from tfgen.training.run_directory import claimed
from tfgen.training.tensorboard import read_history


def short(name, *settings):
    small = {"vae-digits": ["hidden_units=[16]"], "glow-digits": ["width=8", "depth=1"]}
    return recipe.load(name, ["epochs=2", *small[name], *settings])


@pytest.fixture(scope="module")
def train_once(tmp_path_factory):
    """A function that trains a recipe, the same one only once."""

    @functools.cache
    def train(name):
        out = tmp_path_factory.mktemp("runs") / name
        return run.train(short(name), out, command=f"tfgen-train {name}")

    return train


@pytest.fixture(params=["vae-digits", "glow-digits"])
def finished(request, train_once):
    return train_once(request.param)


@pytest.fixture
def without_steps(monkeypatch):
    """Training runs without steps, for tests of what happens before and after them."""
    monkeypatch.setattr(loop.Loop, "_run_steps", lambda self, request: None)


def test_a_run_directory_is_a_zoo_model(finished):
    card = tfgen.zoo.card(finished)
    model = tfgen.zoo.load(finished)
    images = tfgen.data.load("digits").images("test")
    again = metrics.likelihood(model, tfgen.data.load("digits"), "test")
    assert again == card["metrics"]
    bits = again["bits_per_dim"]
    assert bits["value"] == pytest.approx(np.mean(model.bits_per_dim(images)), rel=1e-4)
    assert {"dims", "bits", "padding", "dequantization", "samples", "images"} <= set(
        bits["protocol"]
    )
    assert bits["protocol"]["images"] == 360


def test_the_card_is_complete(finished):
    card = json.loads((finished / "card.json").read_text())
    assert card["command"] == f"tfgen-train {finished.name}"
    chosen = {"epochs": 2, "steps": None, "hours": None, "batch_size": 64, "seed": 0}
    assert card["recipe"]["training"] == {**chosen, "weights": "last"}
    assert card["training"]["steps"] == 2 * 21
    assert card["data"]["splits"] == {"train": 1293, "validation": 144, "test": 360}
    assert card["training"]["images_seen"] == 2 * 1293
    assert {"tensorflow", "keras", "python", "tfgen", "devices"} <= set(card["environment"])
    files = {path.name for path in finished.iterdir() if path.is_file()}
    assert files == {*card["files"], "card.json"}
    for name, digest in card["files"].items():
        assert sha256(finished / name) == digest


def test_the_pictures_and_the_readme_are_there(finished):
    card = tfgen.zoo.card(finished)
    readme = (finished / "README.md").read_text()
    for name in card["pictures"]:
        picture = np.asarray(Image.open(finished / f"{name}.png"))
        assert min(picture.shape[:2]) >= 256
        assert picture.std() > 10
        assert f"({name}.png)" in readme
    assert f"{card['metrics']['bits_per_dim']['value']:.3f}" in readme
    assert card["command"] in readme
    assert list((finished / "logs" / "train").glob("events*"))
    assert list((finished / "logs" / "validation").glob("events*"))


def test_the_same_seed_gives_the_same_weights(finished, tmp_path):
    again = run.train(short(finished.name), tmp_path / "again")
    other = run.train(short(finished.name, "seed=1"), tmp_path / "other")
    weights, same, different = (
        np.concatenate([np.ravel(w) for w in tfgen.zoo.load(d).get_weights()])
        for d in (finished, again, other)
    )
    np.testing.assert_array_equal(same, weights)
    assert np.abs(different - weights).max() > 1e-3


def test_a_training_begins_with_the_weights_of_another_model(finished, tmp_path):
    """With a tiny learning rate it also ends with them, including those of actnorm."""
    standing = ["learning_rate=1e-30", "steps=2", "batch_size=50"]
    out = run.train(short(finished.name, *standing), tmp_path / "run", initial=finished)
    for found, weight in zip(
        tfgen.zoo.load(out).get_weights(), tfgen.zoo.load(finished).get_weights(), strict=True
    ):
        np.testing.assert_array_equal(found, weight)
    card = tfgen.zoo.card(out)
    assert card["training"]["initial_weights"] == {
        "name": finished.name,
        "sha256": sha256(finished / "model.weights.h5"),
    }
    assert card["metrics"]["nats"]["value"] == tfgen.zoo.card(finished)["metrics"]["nats"]["value"]


@pytest.mark.parametrize("failure", [KeyboardInterrupt, RuntimeError])
@pytest.mark.parametrize("existing", [False, True])
def test_a_failed_run_leaves_nothing(failure, existing, tmp_path, monkeypatch):
    def fail(self, *args, **options):
        raise failure

    monkeypatch.setattr(loop.Loop, "run", fail)
    out = tmp_path / "run"
    if existing:
        out.mkdir()
    with pytest.raises(failure):
        run.train(short("vae-digits"), out)
    assert [path.name for path in tmp_path.rglob("*")] == (["run"] if existing else [])


def test_a_directory_that_holds_something_is_left_alone(finished, tmp_path):
    before = sorted(finished.rglob("*"))
    with pytest.raises(InputError, match="already contains a run"):
        run.train(short("vae-digits"), finished)
    assert sorted(finished.rglob("*")) == before
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="is not empty"):
        run.train(short("vae-digits"), tmp_path)
    with pytest.raises(InputError, match="is a file"):
        run.train(short("vae-digits"), tmp_path / "notes.txt")


def test_two_runs_never_share_a_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with claimed(None, "vae-digits") as first, claimed(None, "vae-digits") as second:
        assert [str(first), str(second)] == ["runs/vae-digits-001", "runs/vae-digits-002"]
        with pytest.raises(InputError, match="being written by another run"), claimed(first, "x"):
            pass
        (first / "weights").write_text("mine")
    assert [path.name for path in first.iterdir()] == ["weights"]


def test_a_failed_run_removes_the_parent_directories_that_it_created(tmp_path):
    with pytest.raises(RuntimeError), claimed(tmp_path / "deep" / "er", "x") as out:  # noqa: PT012
        (out / "logs").mkdir()
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_what_the_log_holds(finished):
    """TensorBoard's scalars are those of the history; the curve is drawn from the same."""
    history = read_history(finished / "logs" / "history.csv")
    assert [record["step"] for record in history] == [21, 42]
    for split, key in (("train", "bits_per_dim"), ("validation", "val_bits_per_dim")):
        written = scalars(finished / "logs" / split, "bits_per_dim")
        assert written == {r["step"]: pytest.approx(r[key], rel=1e-6) for r in history}
    rates = scalars(finished / "logs" / "train", "learning_rate")
    assert list(rates.values()) == pytest.approx([1e-3, 1e-3])
    texts = tensors(finished / "logs" / "train", "recipe")
    chosen = recipe.Recipe.model_validate(tfgen.zoo.card(finished)["recipe"])
    assert recipe.to_yaml(chosen) in texts[0].decode()
    width, height, png = tensors(finished / "logs" / "train", "samples", 42)[:3]
    assert (int(width), int(height)) == Image.open(finished / "samples.png").size
    np.testing.assert_array_equal(
        np.asarray(Image.open(io.BytesIO(png))), np.asarray(Image.open(finished / "samples.png"))
    )
    drawn = curve.figure(history).axes[0].lines
    for line, key in zip(drawn, ("bits_per_dim", "val_bits_per_dim"), strict=True):
        np.testing.assert_array_equal(line.get_xdata(), [1, 2])
        np.testing.assert_array_equal(line.get_ydata(), [record[key] for record in history])


def events(folder):
    for path in sorted(folder.glob("events*")):
        for record in tf.data.TFRecordDataset(str(path)):
            event = event_pb2.Event.FromString(record.numpy())
            yield from ((event.step, value) for value in event.summary.value)


def scalars(folder, tag):
    return {
        step: float(tf.make_ndarray(value.tensor))
        for step, value in events(folder)
        if value.tag == tag
    }


def tensors(folder, tag, at=0):
    return next(
        tf.make_ndarray(value.tensor).ravel()
        for step, value in events(folder)
        if value.tag == tag and step == at
    )


def test_the_validation_figure_is_that_of_all_images(finished):
    model = tfgen.zoo.load(finished)
    images = tfgen.data.load("digits").with_validation(0.1).images("validation")
    last = read_history(finished / "logs" / "history.csv")[-1]
    assert last["val_bits_per_dim"] == pytest.approx(np.mean(model.bits_per_dim(images)), rel=1e-5)


def test_averaged_weights_are_what_is_validated_and_saved(train_once, tmp_path, monkeypatch):
    plain = train_once("vae-digits")
    monkeypatch.setattr(
        final_weights, "_bits", lambda model, images: 1.0
    )  # not worse than the last
    settings = ("temporal_averaging=true", "schedule.scale_to_run=false")
    averaged = run.train(short("vae-digits", *settings), tmp_path / "averaged")
    read = [read_history(out / "logs" / "history.csv") for out in (plain, averaged)]
    for one, other in zip(*read, strict=True):  # the training itself is the same
        assert one["bits_per_dim"] == other["bits_per_dim"]
        assert one["val_bits_per_dim"] != other["val_bits_per_dim"]
    # The average of section 7.2 again, from the weights after each step.
    chosen = short("vae-digits")
    data = tfgen.data.load("digits").with_validation(0.1)
    keras.utils.set_random_seed(0)
    model = recipe.build(tfgen.models, chosen.model, data.image_shape)
    model.compile(tfgen.optimizers.Adam(1e-3), seed=0)
    stream = data.stream("train", batch_size=64)
    step = tf.function(model.gradient_step)
    total = [np.zeros(weight.shape) for weight in model.weights]
    for images in stream.from_step().take(42):
        step(images)
        total = [0.999 * t + 0.001 * w for t, w in zip(total, model.get_weights(), strict=True)]
    expected = [t / (1 - 0.999**42) for t in total]
    for found, value in zip(tfgen.zoo.load(averaged).get_weights(), expected, strict=True):
        np.testing.assert_allclose(found, value, atol=2e-6)
    for found, value in zip(tfgen.zoo.load(plain).get_weights(), model.get_weights(), strict=True):
        np.testing.assert_allclose(found, value, atol=1e-7)


def test_the_best_weights_are_those_of_the_best_validation(tmp_path):
    """A learning rate that rises for too long: the last validation is not the best."""
    rising = ("warmup_steps=126", "optimizer.learning_rate=1.0", "schedule.scale_to_run=false")
    settings = ("epochs=6", *rising)
    outs = {
        kind: run.train(short("vae-digits", f"weights={kind}", *settings), tmp_path / kind)
        for kind in ("best", "last")
    }
    images = tfgen.data.load("digits").with_validation(0.1).images("validation")
    history = read_history(outs["best"] / "logs" / "history.csv")
    bits = [record["val_bits_per_dim"] for record in history]
    assert min(bits) < bits[-1]
    for kind, expected in (("best", min(bits)), ("last", bits[-1])):
        found = np.mean(tfgen.zoo.load(outs[kind]).bits_per_dim(images))
        assert found == pytest.approx(expected, rel=1e-5)


def test_networks_in_bfloat16_train_from_a_recipe(tmp_path):
    out = run.train(short("glow-digits", "network_dtype=bfloat16"), tmp_path / "run")
    history = read_history(out / "logs" / "history.csv")
    assert history[1]["val_bits_per_dim"] < history[0]["val_bits_per_dim"]
    card, model = tfgen.zoo.card(out), tfgen.zoo.load(out)
    assert card["recipe"]["model"]["network_dtype"] == "bfloat16"
    assert read_json(out / "config.json")["config"]["network_dtype"] is None
    found = np.mean(model.bits_per_dim(tfgen.data.load("digits").images("test")))
    assert card["metrics"]["bits_per_dim"]["value"] == pytest.approx(found, abs=1e-5)
    assert card["bound"] == "exact density of the dequantized image"


def test_a_dry_run_prints_the_plan_and_writes_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    chosen = short("glow-digits", "batch_size=100")
    found = run.dry_run(chosen)
    output = " ".join(capsys.readouterr().out.split())
    parameters = recipe.build(tfgen.models, chosen.model, (8, 8, 1)).count_params()
    assert f"Glow of {parameters:,} parameters" in output
    assert "26 steps, 13 per epoch, of 100 images" in output
    assert " ".join(summary.of_memory(found.memory, 100).split()) in output
    assert (found.parameters, found.images, found.steps) == (parameters, 1293, 26)
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_uses_the_folder_that_is_given(tmp_path, monkeypatch, capsys):
    """./digits is not the data set of that name."""
    images_in(tmp_path / "digits", 20, (12, 12))
    monkeypatch.chdir(tmp_path)
    run.dry_run(short("vae-digits", "data.source=./digits", "batch_size=4"))
    assert "images (12, 12, 1) of digits" in capsys.readouterr().out


def images_in(folder, count, shape=(8, 8)):
    generator = np.random.default_rng(0)
    folder.mkdir(parents=True)
    for i in range(count):
        Image.fromarray(generator.integers(0, 256, shape, "uint8")).save(folder / f"{i}.png")
    return folder


@pytest.mark.parametrize("count", [1, 3, 9])
@pytest.mark.parametrize("name", ["vae-digits", "glow-digits"])
def test_few_test_images_are_enough(name, count, tmp_path, without_steps):
    images_in(tmp_path / "images" / "train", 20)
    images_in(tmp_path / "images" / "test", count)
    settings = (f"data.source={tmp_path / 'images'}", "data.image_shape=[8, 8, 1]", "epochs=1")
    out = run.train(short(name, *settings), tmp_path / "out")
    assert tfgen.zoo.card(out)["data"]["splits"]["test"] == count


@pytest.mark.parametrize(
    ("settings", "notes"),
    [
        (["steps=20", "warmup_steps=20", "use_ema=true", "ema_momentum=0.9"], ["20 steps", "14%"]),
        (["steps=20", "warmup_steps=19", "use_ema=true", "ema_momentum=0.8"], []),
        (
            ["steps=20", "use_ema=true", "ema_momentum=0.9", "gradient_accumulation_steps=5"],
            ["73%"],
        ),
    ],
)
def test_a_short_training_warns_of_settings_for_a_long_one(
    settings, notes, tmp_path, capsys, without_steps
):
    """0.9^19 is 14 %, 0.8^19 1 %, 0.9^3 73 %."""
    settings = (*settings, "schedule.scale_to_run=false")
    run.train(short("vae-digits", *settings), tmp_path / "run")
    output = capsys.readouterr().out
    assert output.count("note: ") == len(notes)
    assert all(note in output for note in notes)


def test_runs_without_a_directory_are_numbered(tmp_path, monkeypatch, without_steps):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "vae-digits-001").mkdir(parents=True)
    chosen = short("vae-digits", "epochs=1", "data.validation=0")
    assert str(run.train(chosen)) == "runs/vae-digits-002"
    assert tfgen.zoo.card("runs/vae-digits-002")["data"]["splits"]["train"] == 1437


def test_images_of_a_folder_are_fitted_to_initial_weights(tmp_path, without_steps):
    photos = images_in(tmp_path / "photos", 8, (20, 30))
    chosen = short("glow-digits", f"data.source={photos}", "batch_size=4")
    first = recipe.build(tfgen.models, chosen.model, (8, 8, 1))
    first.initialize(tfgen.data.load("digits").images("train")[:64])
    first.save_preset(tmp_path / "first")
    card = tfgen.zoo.card(run.train(chosen, tmp_path / "run", initial=tmp_path / "first"))
    assert card["image_shape"] == [8, 8, 1]
    assert card["recipe"]["data"]["image_shape"] == [8, 8, 1]
    again = recipe.with_value(chosen, "data.image_shape", [16, 16, 1], "test")
    with pytest.raises(InputError, match=r"for images of shape \[8, 8, 1\].*\[16, 16, 1\]"):
        run.train(again, tmp_path / "other", initial=tmp_path / "first")


def test_rgb_images_of_a_folder_can_be_trained_on(tmp_path):
    generator = np.random.default_rng(0)
    for i in range(30):
        pixels = generator.integers(0, 256, (20, 24, 3), "uint8")
        Image.fromarray(pixels).save(tmp_path / f"{i}.png")
    chosen = short(
        "vae-digits",
        f"data.source={tmp_path}",
        "data.image_shape=[16, 16, 3]",
        "likelihood=quantized_logistic",
    )
    out = run.train(chosen, tmp_path.parent / "run-of-folder")
    assert "Command" not in (out / "README.md").read_text("utf-8")
    assert tfgen.zoo.load(out).image_shape == (16, 16, 3)
    card = tfgen.zoo.card(out)
    assert card["metrics"]["bits_per_dim"]["protocol"]["bits"] == 8
    described = f"a VAE of {tmp_path.name}, 16x16x3 images of 8 bits, trained in"
    assert card["summary"].startswith(described)
    assert (out / "README.md").read_text("utf-8").splitlines()[2].startswith("A" + described[1:])
    assert card["recipe"]["summary"] == card["recipe"]["cost"] == ""
    assert card["sampling"] == {"temperature": 1.0}
