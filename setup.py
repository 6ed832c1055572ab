"""What tfgen installs: the packages, their data files, and each dependency with its reason."""

import re
from pathlib import Path

from setuptools import find_packages, setup

here = Path(__file__).parent
version = re.search(r'__version__ = "(.+)"', (here / "tfgen/__init__.py").read_text("utf-8"))[1]

dependencies = [
    "tensorflow>=2.21,<2.22",  # tensors, graphs, strategies, SavedModel and TFLite
    "keras>=3.12,<4",  # layers, models, optimizers, weights files
    "tensorflow-probability>=0.25,<0.26",  # bijectors and distributions
    "tf-keras>=2.21,<2.22",  # tensorflow-probability needs it to import; nothing here does
    "tensorflow-datasets>=4.9.9",  # builders: one way to prepare, split and read any data set
    "importlib-resources>=6",  # tensorflow-datasets 4.9.10 imports it without asking for it
    "scikit-learn>=1.4",  # the handwritten digits of the embedded data set; ROC curves
    "pillow>=10.1",  # reads folders of images, some transparent; writes the pictures
    "matplotlib>=3.8",  # the training curves
    "ruamel.yaml>=0.18",  # recipes: YAML 1.2, in which 1e-3 is a number
    "pydantic>=2.7",  # recipes: types, ranges and unknown keys checked
    "rich>=13",  # the progress bar and the tables in the terminal
    "tensorboard>=2.20",  # tf.summary writes its logs through it
    "lazy-loader>=0.4",  # `tfgen-train --help` answers without importing TensorFlow
    "argcomplete>=3.5",  # completes commands at TAB in bash, zsh and fish, with today's model names
    "filelock>=3.13",  # two processes may prepare the same data set, or fetch the same model
    "ai-edge-litert>=2.1",  # runs a TFLite file after it was written, to check it
    "tensorflow-serving-api>=2.21,<2.22",  # the messages of TF Serving's warm-up requests
    "requests>=2.31",  # tfgen.export.Client asks TF Serving's REST API; tfgen.zoo.fetch
]

extras = {
    "test": [
        "mypy>=1.15",  # the suite checks the annotations
        "pytest>=8",  # the suite
        "pytest-xdist>=3.5",  # runs it in two processes
        "hypothesis>=6.100",  # malformed images, recipes and requests, drawn and shrunk
        "pytest-timeout>=2.3",  # ends a test that hangs, and says where it hung
        "aiohttp>=3.9",  # as in `serve`, which the suite runs
        "grpcio>=1.60",  # as in `serve`
        "grpcio-health-checking>=1.60",  # as in `serve`
        "orjson>=3.10",  # as in `serve`
        "prometheus-client>=0.20",  # as in `serve`
        "uvloop>=0.19",  # as in `serve`
        "selenium>=4.20",  # drives the page of `tfgen serve` in Chromium, where that is installed
        "pydot>=3",  # as in `plot`
        "ruff>=0.9",  # the suite checks that the code is clean
    ],
    "serve": [
        "aiohttp>=3.9",  # HTTP for TF Serving's REST API
        "grpcio>=1.60",  # TF Serving's gRPC API
        "grpcio-health-checking>=1.60",  # gRPC's standard health service
        "orjson>=3.10",  # JSON as fast as the models that are asked in it
        "prometheus-client>=0.20",  # metrics under TF Serving's names
        "uvloop>=0.19",  # an event loop that costs gRPC and HTTP less than asyncio's own
    ],
    "plot": [
        "pydot>=3",  # keras.utils.plot_model, which also needs the program `dot` of Graphviz
    ],
    "gpu": [
        "tensorflow[and-cuda]>=2.21,<2.22",  # NVIDIA's CUDA libraries; `tfgen devices` checks them
    ],
    "bench": [
        "torch>=2.6",  # the peer in tools/bench_*.py
        "zuko>=1.3",  # the peer in tools/bench_two_moons.py
    ],
}

setup(
    name="tfgen",
    version=version,
    description="Likelihood-based generative models to train, trust and serve, on TensorFlow",
    long_description=(here / "README.md").read_text("utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    python_requires=">=3.10,<3.14",
    packages=[
        *find_packages(include=["tfgen", "tfgen.*"]),
        *(f"tfgen.{package}" for package in find_packages(include=["zoo", "export", "export.*"])),
    ],
    package_dir={"tfgen.zoo": "zoo", "tfgen.export": "export"},
    package_data={
        "tfgen.export.serving": ["page/index.html"],
        "tfgen": ["py.typed"],
        "tfgen.training": ["recipes/*.yaml"],
        "tfgen.zoo": ["*/*"],
    },
    install_requires=dependencies,
    extras_require=extras,
    entry_points={"console_scripts": ["tfgen = tfgen.cli:main", "tfgen-train = tfgen.cli:train"]},
)
