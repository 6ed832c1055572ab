"""Models to export, one batch of inputs for each signature, and Python's outputs for it."""

import functools
import io
import math

import keras
import numpy as np
from PIL import Image

import tfgen
from tfgen.export.source import Source

COUNT = 64
BATCHES = (1, 3, COUNT)
STEPS = 5  # of an interpolation


def perturbed(model):
    """The model with random weights, because an untrained coupling is the identity."""
    generator = np.random.default_rng(0)
    for weight in model.trainable_weights:
        weight.assign_add(generator.normal(0.0, 0.05, weight.shape).astype("float32"))
    return model


def dense_network(inputs, outputs, name):
    return keras.Sequential(
        [
            keras.Input(inputs),
            keras.layers.Flatten(),
            keras.layers.Dense(math.prod(outputs)),
            keras.layers.Reshape(outputs),
        ],
        name=name,
    )


# Small, and together they have every option: `test_the_models_have_every_option` in
# test_signatures.py.
UNTRAINED = {
    "glow-of-classes": lambda: tfgen.models.Glow(
        (8, 8, 3), levels=2, depth=1, width=8, num_classes=3
    ),
    "glow-additive": lambda: tfgen.models.Glow(
        (4, 4, 2),
        levels=2,
        depth=1,
        width=4,
        coupling="additive",
        permutation="shuffle",
        num_bits=5,
        num_classes=2,
        class_prior="pixel",
        memory="checkpoint",
    ),
    "glow-variational": lambda: tfgen.models.Glow(
        (4, 4, 1),
        levels=1,
        depth=1,
        width=8,
        network="gated",
        blocks=1,
        scale="sigmoid",
        checkerboard=1,
        preprocessing="logit",
        dequantization="variational",
        dequantization_depth=1,
        dequantization_width=4,
    ),
    "vae-of-flows": lambda: tfgen.models.VAE(
        (4, 4, 1),
        latent_dim=4,
        hidden_units=[8],
        binarization="static",
        prior="flow",
        posterior="flow",
        flow_steps=1,
        flow_width=8,
        estimator="A",
        num_monte_carlo_samples=2,
        beta=0.5,
        kl_warmup=10,
        free_bits=0.1,
    ),
    "vae-rgb": lambda: tfgen.models.VAE(
        (8, 8, 3),
        latent_dim=4,
        hidden_units=[16],
        likelihood="quantized_logistic",
        neighbours=2,
        num_importance_samples=5,
        num_backward_samples=2,
        iwae_start_step=10,
        map_num_examples=100,
        mse_weight=0.1,
    ),
    "vae-convolutional": lambda: tfgen.models.VAE(
        (4, 4, 2),
        latent_dim=2,
        encoder="conv",
        decoder="conv",
        channels=[4],
        blocks=2,
        activation="relu",
        likelihood="gaussian",
    ),
    "vae-of-own-networks": lambda: tfgen.models.VAE(
        (2, 2, 2),
        latent_dim=2,
        encoder=dense_network((2, 2, 2), (4,), "encoder"),
        decoder=dense_network((2,), (2, 2, 4), "decoder"),
        likelihood="gaussian",
    ),
}


def _glow_in_bfloat16():
    return tfgen.models.Glow(
        (4, 4, 1),
        levels=1,
        depth=1,
        width=8,
        permutation="reverse",
        network_dtype="bfloat16",
        memory="reversible",
    )


def _vae_in_bfloat16():
    return tfgen.models.VAE((4, 4, 1), latent_dim=2, hidden_units=[8], network_dtype="bfloat16")


BFLOAT16 = {"glow": _glow_in_bfloat16, "vae": _vae_in_bfloat16}
MODELS = ["glow-digits", "vae-digits", *UNTRAINED]  # the others: tests/zoo, one export each


@functools.cache
def bfloat16(kind):
    """A model whose networks compute in bfloat16."""
    return perturbed(BFLOAT16[kind]())


@functools.cache
def model(name):
    return perturbed(UNTRAINED[name]()) if name in UNTRAINED else tfgen.zoo.load(name)


def exported(name):
    """The argument of the exporters: the name of a model that has one, otherwise the model."""
    return model(name) if name in UNTRAINED else name


@functools.cache
def cases(name):
    """The inputs and outputs of each signature by name, dicts of arrays of 64 rows."""
    m = model(name)
    generator = np.random.default_rng(0)
    if name in UNTRAINED:
        images = generator.integers(0, 256, (COUNT, *m.image_shape)).astype("uint8")
    else:
        images, _ = Source(name).images("test", COUNT)
    others = images[::-1]
    noise = generator.normal(size=(COUNT, m.latent_dim)).astype("float32")
    temperature = generator.uniform(0.2, 1.0, COUNT).astype("float32")
    seeds = np.stack([generator.integers(-(2**31), 2**31, COUNT), np.zeros(COUNT)], axis=1)
    seeds = seeds.astype("int32")
    turn = np.arange(COUNT) % STEPS
    of_class, labels = {}, [None] * COUNT
    if m.num_classes is not None:
        labels = generator.integers(0, m.num_classes, COUNT).astype("int32")
        of_class = {"labels": labels}
    sampled = m.latents_from_noise(noise * temperature[:, None], of_class.get("labels"))
    seeded = [
        m.sample(1, float(t), int(s), label)
        for (s, _), t, label in zip(seeds, temperature, labels, strict=True)
    ]
    between = m.interpolate(images, others, STEPS).numpy()[np.arange(COUNT), turn]
    found = {
        "log_prob": ({"images": images}, {"log_prob": m.log_prob(images)}),
        "encode": ({"images": images}, {"latents": m.encode(images)}),
        "decode": ({"latents": noise}, {"images": m.decode(noise)}),
        "reconstruct": ({"images": images}, {"images": m.reconstruct(images)}),
        "sample": (
            {"noise": noise, "temperature": temperature, **of_class},
            {"images": m.decode(sampled)},
        ),
        "sample_seeded": (
            {"seeds": seeds, "temperature": temperature, **of_class},
            {"images": np.concatenate(seeded)},
        ),
        "interpolate": (
            {"first": images, "second": others, "weight": (turn / (STEPS - 1)).astype("float32")},
            {"images": between},
        ),
    }
    if of_class:
        found["log_prob_given"] = (
            {"images": images, **of_class},
            {"log_prob": m.log_prob(images, labels)},
        )
    found["serving_default"] = found["log_prob"]
    return {
        key: (inputs, {k: np.asarray(v) for k, v in outputs.items()})
        for key, (inputs, outputs) in found.items()
    }


@functools.cache
def served_cases(name):
    """`cases`, and the signatures that take files."""
    files = {"images": "image_bytes", "first": "first_bytes", "second": "second_bytes"}
    found = dict(cases(name))
    if model(name).image_shape[-1] == 2:
        return found
    for key, (inputs, outputs) in cases(name).items():
        if set(files) & set(inputs) and key != "serving_default":
            given = {
                files.get(k, k): [png(image) for image in v] if k in files else v
                for k, v in inputs.items()
            }
            found[f"{key}_encoded"] = (given, outputs)
    return found


def rows(arrays, count):
    return {key: value[:count] for key, value in arrays.items()}


def png(image, kind="png", **options):
    file = io.BytesIO()
    Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(file, kind, **options)
    return file.getvalue()


def assert_same(found, expected, what, *, fraction_that_may_differ=1e-3):
    """Floats to 1e-5 relative. A value of an image that lies between two levels may be rounded to
    either when a sum is computed in another order."""
    assert found.keys() == expected.keys(), what
    for key, value in expected.items():
        assert found[key].dtype == value.dtype, what
        assert found[key].shape == value.shape, what
        if value.dtype == np.uint8:
            assert np.mean(found[key] != value) <= fraction_that_may_differ, what
        else:
            scale = np.abs(value).max()
            np.testing.assert_allclose(found[key] / scale, value / scale, atol=1e-5, err_msg=what)
