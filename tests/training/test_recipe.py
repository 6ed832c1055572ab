"""Recipes: reading, overriding, and errors that suggest similar names."""

import subprocess
import sys

import pytest

import tfgen
from tfgen.errors import InputError
from tfgen.training import recipe

SHAPES = {  # The data themselves take seconds to load.
    "cifar10": (32, 32, 3),
    "digits": (8, 8, 1),
    "fashion_mnist": (28, 28, 1),
    "mnist": (28, 28, 1),
    "shapes": (32, 32, 3),
}


@pytest.mark.parametrize("name", [n for n in recipe.names() if not n.endswith("-paper")])
def test_every_recipe_builds_its_model_and_optimizer(name):
    chosen = recipe.load(name)
    assert chosen.data.source in tfgen.data.names()
    model = recipe.build(tfgen.models, chosen.model, SHAPES[chosen.data.source])
    optimizer = recipe.build(tfgen.optimizers, chosen.optimizer)
    assert type(model).__name__ == chosen.model.class_name
    assert float(optimizer.learning_rate) == pytest.approx(chosen.optimizer.learning_rate)
    assert chosen.summary


def test_settings_replace_values_by_full_key_or_by_any_ending():
    chosen = recipe.load(
        "vae-digits",
        [
            "optimizer.learning_rate=3e-4",
            "epochs=2",
            "hidden_units=[7, 5]",
            "num_monte_carlo_samples=3",  # an argument that the recipe leaves at its default
            "weight_decay=0.1",
            "data.options.anything=1",
        ],
    )
    assert chosen.optimizer.learning_rate == 3e-4
    assert chosen.training.epochs == 2
    assert chosen.model.hidden_units == [7, 5]
    assert chosen.model.num_monte_carlo_samples == 3
    assert chosen.optimizer.weight_decay == 0.1
    assert chosen.data.options == {"anything": 1}


@pytest.mark.parametrize(
    ("settings", "values", "options"),
    [
        ([], {"data.source": "digits"}, {}),
        (["data.source=digits"], None, {}),
        (["source=digits"], None, {}),
        ([], {"data.source": "shapes"}, {"num_images": 30000}),
        (["data.options={}"], None, {}),
        (["data.options={size: 8}"], None, {"size": 8}),
        (["options={size: 8}"], None, {"size": 8}),
        (["data.options.size=8"], {"data.source": "digits"}, {"size": 8}),
        (["data.options.size=8", "data.source=digits"], None, {"size": 8}),
        (["data.options.size=8"], {"data.source": "shapes"}, {"num_images": 30000, "size": 8}),
    ],
)
def test_options_of_the_data_go_with_their_source(settings, values, options):
    chosen = recipe.load("glow-shapes", settings, values)
    assert chosen.data.options == options
    assert chosen.data.validation == 0
    if not settings:
        assert chosen.data.source == values["data.source"]


def test_a_new_length_replaces_the_old_one():
    for key, value in (("steps", 7), ("hours", 1.5), ("epochs", 3)):
        chosen = recipe.load("vae-digits", ["hours=2", f"{key}={value}"]).training
        given = {name: getattr(chosen, name) for name in recipe.LENGTHS}
        assert given == {**dict.fromkeys(recipe.LENGTHS), key: value}


def test_a_recipe_can_be_a_file_and_survives_the_card(tmp_path):
    path = tmp_path / "own.yaml"
    path.write_text(
        "data: {source: digits}\nmodel: {class: VAE, latent_dim: 2}\ntraining: {epochs: 1}\n"
    )
    chosen = recipe.load(path)
    assert chosen.name == "own"
    assert chosen.optimizer.class_name == "Adam"
    assert recipe.Recipe.model_validate(chosen.to_dict()) == chosen
    again = tmp_path / "again" / "own.yaml"
    again.parent.mkdir()
    again.write_text(recipe.to_yaml(chosen).replace("name: own\n", ""))
    assert recipe.load(again) == chosen


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["epoch=3"], "no such key; nearest: training.epochs"),
        (["model.latent_dims=3"], "no such key; nearest: model.latent_dim"),
        (["epochs=many"], "training.epochs: input should be a valid integer.* got 'many'"),
        (["epochs=0"], "training.epochs: .*greater than or equal to 1, got 0"),
        (["training.batch_size=-1"], "greater than or equal to 1, got -1"),
        (["learning_rate=0"], "optimizer.learning_rate: .*greater than 0, got 0"),
        (["decay=cosin"], "schedule.decay: input should be 'constant', 'linear'.* got 'cosin'"),
        (["decay=exponential", "final=0"], "schedule: an exponential decay never reaches final=0"),
        (["warmup_stepz=3"], "no such key; nearest: schedule.warmup_steps"),
        (["checkpoint.keep=0"], "checkpoint.keep: .*greater than or equal to 1"),
        (["augmentation.shfit=1"], "no such key; nearest: augmentation.shift"),
        (["weights=all"], "training.weights: input should be 'last' or 'best'"),
        (["hours=0"], "training.hours: .*greater than 0"),
        (["hours=.inf"], "training.hours: .*less than or equal to 1000000.*, got inf"),
        (["hours=.nan"], "training.hours: .*, got nan"),
        (["data.options=null"], "data.options: input should be a valid dict"),
        (["epochs=null"], "training: give one of epochs, steps, hours, got none"),
        (["class=Glow"], "could be model.class or optimizer.class; give the full key"),
        (["epochs"], "--set epochs: expected key=value"),
        (["hidden_units=[3"], "is not a YAML value"),
        (["model.class=VEA", "latent=3"], "no class 'VEA'.*nearest: VAE"),
    ],
)
def test_bad_settings_name_the_nearest(settings, message):
    with pytest.raises(InputError, match=message):
        recipe.load("vae-digits", settings)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("data: [", "is not YAML"),
        ("just words", "is not a recipe"),
        ("schedule: {decy: linear}", "no key 'schedule.decy'; nearest: schedule.decay"),
        ("data: {sorce: digits}", "no key 'data.sorce'; nearest: data.source"),
        ("model: {class: VAE}", "the key 'data' is missing"),
    ],
)
def test_bad_files_say_what_is_wrong(tmp_path, text, message):
    path = tmp_path / "own.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        recipe.load(path)


def test_unknown_names_and_files():
    with pytest.raises(InputError, match="no recipe 'vae-digit'; nearest: vae-digits"):
        recipe.load("vae-digit")
    with pytest.raises(InputError, match=r"no recipe file nowhere.yaml"):
        recipe.load("nowhere.yaml")


def test_an_argument_that_a_class_does_not_have():
    chosen = recipe.load("vae-digits")
    section = chosen.model.model_copy(update={"depth": 3})
    with pytest.raises(InputError, match="VAE has no argument 'depth'"):
        recipe.build(tfgen.models, section, (8, 8, 1))


def test_recipes_do_without_tensorflow():
    code = (
        "import sys; from tfgen.training import recipe; recipe.load('vae-digits', ['epochs=2']); "
        "assert 'tensorflow' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_a_changed_recipe_loses_its_description():
    kept = ["seed=3", "data.validation=0.2", "every_steps=5", "epochs=150", "temperature=0.7"]
    chosen = recipe.load("vae-digits", kept)
    assert (chosen.summary, chosen.cost) == ("a VAE of binarized 8x8 handwritten digits", "seconds")
    assert chosen.sampling.temperature == 0.7
    for change in ("epochs=2", "latent_dim=3", "source=shapes", "optimizer.learning_rate=0.1"):
        chosen = recipe.load("vae-digits", [change])
        assert chosen.summary == chosen.cost == ""
        chosen = recipe.load("vae-digits", ["summary=my digits", change])
        assert chosen.summary == "my digits"
