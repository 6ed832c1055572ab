"""Whether the samples of a class-conditional model are of the class that was asked for."""

import keras
import numpy as np

SAMPLES_OF_A_CLASS = 100
TEMPERATURE = 0.7
EPOCHS = 3


def classifier(data, seed=0):
    """A convolutional classifier, trained on the training split of labelled images.

    Two convolutions with pooling and a dense layer; about 99 % on MNIST after three epochs.

    Args:
        data: a `tfgen.data.Dataset` with classes.
        seed: of its weights and of the order of the images.

    Returns:
        A Keras model `[N, H, W, C] -> [N, K]`, of logits.
    """
    keras.utils.set_random_seed(seed)
    model = keras.Sequential(
        [
            keras.Input(data.image_shape),
            keras.layers.Rescaling(1 / 255),
            keras.layers.Conv2D(32, 3, padding="same", activation="relu"),
            keras.layers.MaxPooling2D(),
            keras.layers.Conv2D(64, 3, padding="same", activation="relu"),
            keras.layers.MaxPooling2D(),
            keras.layers.Flatten(),
            keras.layers.Dense(128, activation="relu"),
            keras.layers.Dropout(0.3),
            keras.layers.Dense(data.num_classes),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", loss)
    model.fit(data.images("train"), data.labels("train"), batch_size=128, epochs=EPOCHS, verbose=0)
    return model


def predicted(model, images):
    """The class of each image."""
    return model.predict(np.asarray(images), batch_size=256, verbose=0).argmax(axis=1)


def as_asked(model, data, samples=SAMPLES_OF_A_CLASS, temperature=TEMPERATURE):
    """Of each sample whether it is classified as asked, and the classifier's test accuracy.

    Args:
        model: a class-conditional `tfgen.models.Glow`.
        data: what it was trained on.
        samples: of each class.
        temperature: of the samples.

    Returns:
        Booleans `[samples * K]`, the classes in turn; a number from 0 to 1.
    """
    judge = classifier(data)
    accuracy = float(np.mean(predicted(judge, data.images("test")) == data.labels("test")))
    asked = np.arange(samples * model.num_classes) % model.num_classes
    images = model.sample(len(asked), temperature, seed=0, labels=asked)
    return predicted(judge, images) == asked, accuracy
