"""The command line: `tfgen` and `tfgen-train`.

Parsing, `--help` and listings do without TensorFlow, which takes seconds to import.
"""

import argparse
import contextlib
import os
import re
import shlex
import signal
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tfgen.errors import InputError


def main(arguments=None):
    """The `tfgen` command."""
    parser = argparse.ArgumentParser(
        prog="tfgen", description="Likelihood-based generative models to train, trust and serve."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, (add_arguments, run, summary) in COMMANDS.items():
        command = commands.add_parser(name, help=summary, description=summary)
        add_arguments(command)
        command.set_defaults(run=run)
    options = parser.parse_args(arguments)
    return _guarded(f"tfgen {options.command}", options)


def train(arguments=None):
    """The `tfgen-train` command, the same as `tfgen train`."""
    add_arguments, run, summary = COMMANDS["train"]
    parser = argparse.ArgumentParser(prog="tfgen-train", description=summary)
    add_arguments(parser)
    parser.set_defaults(run=run)
    return _guarded("tfgen-train", parser.parse_args(arguments))


def _guarded(program, options):
    """Run a command; bad input becomes one line on stderr and exit code 2."""
    _let_sigterm_clean_up()
    try:
        options.run(options)
    except InputError as error:
        print(f"{program}: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as interrupt:
        print(f"{program}: {str(interrupt) or 'interrupted'}", file=sys.stderr)
        return getattr(interrupt, "exit_code", 130)
    except BrokenPipeError:  # The reader of a pipe, such as head, has had enough.
        sys.stdout = None
        return 141
    except OSError as error:  # A disk, a permission, a path: nothing that a traceback explains.
        print(f"{program}: error: {error}", file=sys.stderr)
        return 2
    return 0


def _let_sigterm_clean_up():
    """SIGTERM ends the command as an exception does, so that nothing half-written is left."""

    def stop(number, frame):
        sys.exit(128 + number)

    with contextlib.suppress(ValueError):  # Only the main thread may.
        signal.signal(signal.SIGTERM, stop)


def _train_arguments(parser):
    parser.add_argument("recipe", nargs="?", metavar="RECIPE", help="a name, or a .yaml file")
    parser.add_argument("--list", action="store_true", help="list the recipes and data sets")
    parser.add_argument("--data", metavar="SOURCE", help="a data set's name, or a folder of images")
    parser.add_argument(
        "--data-dir", metavar="DIR", help="where local data sets lie (default: $TFGEN_DATA)"
    )
    parser.add_argument(
        "--out", metavar="DIR", help="the run directory to make (default: runs/RECIPE-001, ...)"
    )
    parser.add_argument(
        "--resume",
        action="store_true",
        help="go on with the run in --out DIR, which was stopped or killed",
    )
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="print parameters, memory and steps, and train nothing",
    )
    parser.add_argument(
        "--set",
        metavar="KEY=VALUE",
        nargs="+",
        action="extend",
        default=[],
        help="replace values of the recipe, such as optimizer.learning_rate=3e-4",
    )
    parser.add_argument("--epochs", type=int, metavar="N", help="passes over the training split")
    parser.add_argument("--seed", type=int, metavar="N", help="of everything random")
    parser.add_argument(
        "--strategy",
        metavar="NAME",
        help="auto (default), single, mirrored, or multi_worker with TF_CONFIG",
    )
    parser.add_argument(
        "--devices", metavar="KIND:N", help="gpu:N, or cpu:N to split the CPU (default: all GPUs)"
    )


def _train(options):
    from tfgen.training import recipe

    if options.list:
        _list_recipes()
        return
    if options.resume:
        _resume(options)
        return
    if options.recipe is None:
        raise InputError("which RECIPE? --list shows them; it stands before --set")
    values = {
        "data.source": options.data,
        "training.epochs": options.epochs,
        "training.seed": options.seed,
    }
    values = {key: value for key, value in values.items() if value is not None}
    chosen = recipe.load(options.recipe, options.set, values)
    with _quiet_start():
        from tfgen.training import run

    console = Console()
    if options.dry_run:
        run.dry_run(
            chosen,
            data_dir=options.data_dir,
            strategy=options.strategy or "auto",
            devices=options.devices,
            console=console,
        )
        return
    directory = run.run(
        chosen,
        options.out,
        data_dir=options.data_dir,
        strategy=options.strategy or "auto",
        devices=options.devices,
        command=_command(options),
        console=console,
    )
    _report(console, directory)


def _resume(options):
    given = [options.recipe, options.data, options.epochs, options.seed, *options.set]
    if options.dry_run or any(value is not None for value in given):
        raise InputError(
            "--resume goes on with the recipe of the run: leave RECIPE, --set, --data, "
            "--epochs, --seed and --dry-run away"
        )
    if options.out is None:
        raise InputError("--resume which run? Give its directory with --out DIR")
    with _quiet_start():
        from tfgen.training import run
    console = Console()
    directory = run.resume(
        options.out,
        data_dir=options.data_dir,
        strategy=options.strategy,
        devices=options.devices,
        console=console,
    )
    _report(console, directory)


def _report(console, directory):
    if directory is None:  # This process is not the chief of its workers.
        return
    from tfgen import zoo
    from tfgen.training import report

    console.print(report.table(zoo.card(directory)))
    console.print(f"Saved in {directory}", soft_wrap=True, highlight=False)


def _command(options):
    """The command again, less what does not change its result: where it writes."""
    words = ["tfgen-train", options.recipe]
    for flag in ("data", "epochs", "seed", "devices"):
        value = getattr(options, flag)
        if value is not None:
            words += [f"--{flag}", str(value)]
    if options.strategy:
        words += ["--strategy", options.strategy]
    if options.set:
        words += ["--set", *options.set]
    return shlex.join(words)


def _list_recipes():
    from tfgen import data
    from tfgen.training import recipe

    recipes = Table("recipe", "what it trains", box=None, pad_edge=False)
    for name in recipe.names():
        recipes.add_row(name, recipe.load(name).summary)
    sources = Table("data set", "what it holds", box=None, pad_edge=False)
    for name in data.names():
        sources.add_row(name, data.describe(name))
    console = Console()
    console.print(recipes)
    console.print()
    console.print(sources)


def _evaluate_arguments(parser):
    _model_argument(parser)
    parser.add_argument("--data", metavar="SOURCE", help="default: the data that it was trained on")
    parser.add_argument("--data-dir", metavar="DIR", help="where local data sets lie")
    parser.add_argument("--split", default="test", help="default: test")
    parser.add_argument(
        "--figure",
        nargs="+",
        metavar="NAME",
        help="of the card, such as bits_per_dim (default: every one that the data allow)",
    )


def _evaluate(options):
    from tfgen import zoo

    card = zoo.card(options.model)
    with _quiet_start():
        model = zoo.load(options.model)
        from tfgen import data
        from tfgen.training import report
        from tfgen.training.evaluation import evaluate
    trained_on = card.get("recipe", {}).get("data", {})
    source = options.data or trained_on.get("source")
    if source is None:
        raise InputError(f"the card of {options.model} names no data: give --data")
    chosen = data.load(
        source,
        data_dir=options.data_dir,
        image_shape=model.image_shape,
        options=trained_on.get("options") if source == trained_on.get("source") else None,
    )
    if trained_on.get("validation") and source == trained_on["source"]:
        chosen = chosen.holding_out(trained_on["validation"])
    if options.split not in chosen.splits:
        raise InputError(
            f"{source} has no split {options.split!r}; it has {', '.join(chosen.splits)}"
        )
    of_card = card.get("metrics", {})
    wanted = options.figure or [*of_card] or ["bits_per_dim", "nats"]
    metrics = {}
    if {"bits_per_dim", "nats"} & {*wanted}:
        found = evaluate(model, chosen, options.split)
        metrics = {name: found[name] for name in found if name in wanted}
    others = [name for name in wanted if name not in metrics]
    if source == trained_on.get("source") and options.split == "test":
        from tfgen.zoo import figures

        for name in others:
            samples = of_card.get(name, {}).get("protocol", {}).get("samples")
            metrics[name] = figures.measure(name, model, chosen, samples)
    elif options.figure and others:
        raise InputError(f"{others[0]} is a figure of the test split of {trained_on.get('source')}")
    Console().print(report.table({"name": card["name"], "metrics": metrics}))


def _sample_arguments(parser):
    _model_argument(parser)
    parser.add_argument("--temperature", type=float, default=1.0, help="default: 1")
    parser.add_argument("--seed", type=int, help="of the noise (default: another each time)")
    parser.add_argument(
        "--label", type=int, metavar="N", help="of a class-conditional model (default: all in turn)"
    )
    parser.add_argument(
        "--grid", default="8x8", metavar="ROWSxCOLUMNS", help="images in the picture (default: 8x8)"
    )
    parser.add_argument("--out", default="samples.png", metavar="FILE", help="a picture's file")


def _sample(options):
    from tfgen import zoo

    rows, columns = _grid(options.grid)
    out = _picture_file(options.out)
    with _quiet_start():
        model = zoo.load(options.model)
        from tfgen.models.preset import write_atomically
        from tfgen.training import pictures
    of_class = {}
    if options.label is not None:
        if not getattr(model, "num_classes", None):
            raise InputError(f"--label: {options.model} has no classes")
        of_class = {"y": options.label}
    images = model.sample(rows * columns, options.temperature, options.seed, **of_class)
    picture = pictures.grid(images, columns=columns)
    write_atomically(out, lambda path: picture.save(path))
    print(f"{rows * columns} samples in {out}")


def _interpolate_arguments(parser):
    _model_argument(parser)
    parser.add_argument(
        "images",
        nargs="*",
        metavar="IMAGE",
        help="two files, or several pairs (default: --rows pairs of samples)",
    )
    parser.add_argument(
        "--steps", type=int, default=8, metavar="N", help="images a row (default: 8)"
    )
    parser.add_argument("--rows", type=int, default=4, metavar="N", help="pairs of samples")
    parser.add_argument("--temperature", type=float, default=0.7, help="of samples (default: 0.7)")
    parser.add_argument("--seed", type=int, help="of the samples' noise")
    parser.add_argument(
        "--out", default="interpolation.png", metavar="FILE", help="a picture's file"
    )


def _interpolate(options):
    import numpy as np

    from tfgen import zoo

    if len(options.images) % 2:
        raise InputError(f"images come in pairs, from and to; there are {len(options.images)}")
    if options.rows < 1:
        raise InputError(f"--rows must be at least 1, got {options.rows}")
    out = _picture_file(options.out)
    with _quiet_start():
        model = zoo.load(options.model)
        from tfgen.models.preset import write_atomically
        from tfgen.training import pictures
        from tfgen.zoo.scoring import read_images
    if options.images:
        images = read_images(options.images, model.image_shape)
    else:
        images = model.sample(2 * options.rows, options.temperature, options.seed)
    between = np.asarray(model.interpolate(images[::2], images[1::2], options.steps))
    picture = pictures.grid(np.concatenate(between), columns=options.steps)
    write_atomically(out, lambda path: picture.save(path))
    print(f"{len(between)} x {options.steps} images in {out}")


def _score_arguments(parser):
    _model_argument(parser)
    parser.add_argument("folder", metavar="FOLDER", help="of images, with those in its subfolders")
    parser.add_argument(
        "--draws",
        type=int,
        default=1,
        metavar="N",
        help="of a flow's dequantization noise, or a VAE's importance samples (default: 1)",
    )
    parser.add_argument("--out", metavar="FILE", help="a CSV file (default: the terminal)")


def _score(options):
    """A line for each image: the file, log p(x) in nats, bits/dim, how it was estimated."""
    from tfgen import zoo

    if options.out is not None and not Path(options.out).parent.is_dir():
        raise InputError(f"--out {options.out}: there is no directory {Path(options.out).parent}")
    with _quiet_start():
        model = zoo.load(options.model)
        from tfgen.models.preset import write_atomically
        from tfgen.zoo import scoring
    rows, unreadable, words = scoring.score_folder(model, options.folder, options.draws)
    for path, reason in unreadable:
        print(f"tfgen score: left out: {path}: {reason}", file=sys.stderr)
    if options.out is None:
        scoring.write_csv(sys.stdout, rows, words)
        return

    def write(path):
        with open(path, "w", encoding="utf-8", newline="") as file:
            scoring.write_csv(file, rows, words)

    write_atomically(Path(options.out), write)
    print(f"{len(rows)} images in {options.out}: {words}")


def _fetch_arguments(parser):
    parser.add_argument(
        "source",
        metavar="SOURCE",
        help="the http or https address, or the path, of a model's folder",
    )
    parser.add_argument("--sha256", metavar="DIGEST", help="of its card.json, to be verified")


def _fetch(options):
    from rich.progress import Progress

    from tfgen import zoo

    with Progress(transient=True) as bar:
        tasks = {}

        def show(file, there, total):
            if file not in tasks:
                tasks[file] = bar.add_task(file)
            bar.update(tasks[file], completed=there, total=total)

        path = zoo.fetch(options.source, sha256=options.sha256, progress=show)
    print(f"Fetched {path.name} to {path}")


def _grid(text):
    match = re.fullmatch(r"([1-9][0-9]{0,2})x([1-9][0-9]{0,2})", text)
    if not match:
        raise InputError(f"--grid must be ROWSxCOLUMNS, such as 8x8, up to 999, got {text!r}")
    return int(match[1]), int(match[2])


def _picture_file(name):
    from PIL import Image

    path = Path(name)
    if Image.registered_extensions().get(path.suffix.lower()) not in Image.SAVE:
        raise InputError(f"--out {name}: unknown kind of picture; .png and .jpg work")
    if not path.parent.is_dir():
        raise InputError(f"--out {name}: there is no directory {path.parent}")
    return path


def _export_arguments(parser):
    _model_argument(parser)
    parser.add_argument(
        "out", metavar="OUT", help="a directory for SavedModels, or a file that ends in .tflite"
    )
    parser.add_argument("--version", type=int, metavar="N", help="of a SavedModel (default: next)")
    parser.add_argument(
        "--precision",
        metavar="NAME",
        help="of a TFLite file: float32 (default), float16, dynamic_int8 or int8",
    )
    parser.add_argument(
        "--promote",
        type=int,
        metavar="N",
        help="export nothing: let a label of the served MODEL mean its version N; OUT is a folder "
        "that `tfgen deploy` made, or a models.config",
    )
    parser.add_argument("--label", metavar="NAME", help="with --promote (default: stable)")
    parser.add_argument(
        "--server",
        metavar="URL",
        help="with --promote: of the REST API of the TF Serving that reads OUT; version N is "
        "waited for, and all steps are made",
    )


def _export(options):
    if options.promote is not None:
        _promote(options)
        return
    if options.label is not None or options.server is not None:
        raise InputError("--label and --server go with --promote N")
    from tfgen import zoo

    zoo.card(options.model)
    to_device = options.out.lower().endswith(".tflite")
    if to_device and options.version is not None:
        raise InputError("--version is for SavedModels; a TFLite file has none")
    if not to_device and options.precision is not None:
        raise InputError("--precision is for TFLite files, and OUT does not end in .tflite")
    with _quiet_start():
        from tfgen import export
    if not to_device:
        path = export.saved_model(options.model, options.out, version=options.version)
        print(f"Exported to {path}")
        return
    with _quiet_start():  # The converter reports there too.
        path = export.tflite(options.model, options.out, options.precision or "float32")
    _print_measured(export.card(path))
    print(f"Exported to {path}")


def _promote(options):
    if options.version is not None or options.precision is not None:
        raise InputError("--promote exports nothing: leave --version and --precision away")
    from tfgen.export import deploy

    label = options.label or "stable"
    step = deploy.promote(
        options.out, options.model, options.promote, label=label, server=options.server
    )
    text = {
        "loading": f"Version {options.promote} of {options.model} is to be loaded; when it is "
        f"AVAILABLE, the same command moves {label}",
        "moved": f"{label} of {options.model} is version {options.promote}; the same command "
        "lets versions without a label go",
        "done": f"{label} of {options.model} is version {options.promote}",
    }
    print(text[step])


def _deploy_arguments(parser):
    parser.add_argument("out", metavar="OUT", help="the folder to make")
    parser.add_argument(
        "models",
        nargs="+",
        metavar="[NAME=]BASE_DIR",
        help="what `tfgen export` wrote (NAME: the directory's own by default)",
    )
    parser.add_argument(
        "--label",
        nargs="+",
        action="extend",
        default=[],
        metavar="NAME:LABEL=N",
        help="versions of a model that are served under a label, such as vae:stable=1",
    )


def _deploy(options):
    models, labels = {}, {}
    for given in options.models:
        name, equals, path = given.partition("=")
        if not equals or os.path.isdir(given):
            name, path = Path(os.path.abspath(given)).name, given
        if name in models:
            raise InputError(f"two models of the name {name}: give one as NAME=BASE_DIR")
        models[name] = path
    for given in options.label:
        match = re.fullmatch(r"([^:=]+):([^:=/]+)=([1-9][0-9]{0,18})", given)
        if not match or int(match[3]) >= 2**63:
            raise InputError(f"--label takes NAME:LABEL=N, such as vae:stable=1, got {given!r}")
        labels.setdefault(match[1], {})[match[2]] = int(match[3])
    from tfgen.export import deploy

    path = deploy.write(options.out, models, labels=labels)
    print(f"Wrote {path}: docker compose up, or kubectl apply -k {path}/kubernetes/production")


def _print_measured(card):
    """What the exporter found when it ran a TFLite file."""
    table = Table("signature", "error", "ms", box=None, pad_edge=False)
    for name, entry in card["signatures"].items():
        (error,) = entry["error"].values()
        if "relative" in error:
            text = f"{error['relative']:.1e} relative"
        else:
            text = f"{error['mean_levels']:.3f} of 255 levels"
        table.add_row(name, text, f"{card['latency'][name]:.3f}")
    console = Console()
    console.print(table)
    for name, entry in card["left_out"].items():
        console.print(f"{name} is left out: {entry['reason']}", highlight=False)
    images = card["images"]
    console.print(
        f"{card['bytes']:,} bytes of {card['precision']}; errors over {images['count']} images "
        f"({images['from']}), milliseconds for one image on this machine",
        highlight=False,
    )


def _serve_arguments(parser):
    parser.add_argument(
        "models",
        nargs="*",
        metavar="BASE_DIR|NAME",
        help="directories of numbered SavedModels, pretrained models, run directories",
    )
    parser.add_argument("--host", default="127.0.0.1", help="default: only this machine can ask")
    parser.add_argument(
        "--port", type=int, default=8500, help="of gRPC; 0 for none (default: 8500)"
    )
    parser.add_argument(
        "--rest_api_port", type=int, default=8501, help="of REST; 0 for none (default: 8501)"
    )
    parser.add_argument("--rest_api_timeout_in_ms", type=int, default=30_000, metavar="N")
    _switch(parser, "rest_api_enable_cors_support", "let pages from elsewhere ask")
    parser.add_argument("--grpc_socket_path", metavar="PATH", help="gRPC on a UNIX socket as well")
    parser.add_argument(
        "--grpc_channel_arguments", default="", metavar="KEY=VALUE,...", help="of the gRPC server"
    )
    parser.add_argument("--model_config_file", metavar="FILE", help="a models.config")
    parser.add_argument("--model_config_file_poll_wait_seconds", type=float, default=0, metavar="N")
    parser.add_argument("--model_name", default="default", metavar="NAME")
    parser.add_argument("--model_base_path", metavar="DIR", help="of the one model to serve")
    parser.add_argument("--file_system_poll_wait_seconds", type=float, default=1, metavar="N")
    _switch(
        parser,
        "allow_version_labels_for_unavailable_models",
        "new labels may come before their versions",
    )
    parser.add_argument("--max_num_load_retries", type=int, default=5, metavar="N")
    parser.add_argument("--load_retry_interval_micros", type=int, default=60_000_000, metavar="N")
    _switch(parser, "enable_batching", "run rows of several requests together")
    parser.add_argument("--batching_parameters_file", metavar="FILE", help="BatchingParameters")
    parser.add_argument(
        "--monitoring_config_file", metavar="FILE", help="MonitoringConfig: metrics for Prometheus"
    )
    _switch(parser, "enable_grpc_healthcheck_service", "offer gRPC's standard health service")
    _switch(parser, "enable_model_warmup", "run warm-up requests (default)", default=True)
    _switch(parser, "xla_cpu_compilation_enabled", "let functions ask for XLA")
    parser.add_argument("--grpc_max_threads", type=int, default=16, metavar="N")
    parser.add_argument("--rest_api_num_threads", type=int, default=16, metavar="N")


def _switch(parser, name, text, *, default=False):
    """A flag as TF Serving takes it: --NAME, --NAME=true, --NAME=false."""
    parser.add_argument(f"--{name}", action="store_true", default=default, help=text)
    for value in ("true", "false"):
        action = f"store_{value}"
        parser.add_argument(f"--{name}={value}", dest=name, action=action, help=argparse.SUPPRESS)
        parser.set_defaults(**{name: default})


def _serve(options):
    from importlib import util

    modules = ("aiohttp", "grpc", "grpc_health", "orjson", "prometheus_client", "uvloop")
    missing = [name for name in modules if util.find_spec(name) is None]
    if missing:
        raise InputError(f"serve needs {' and '.join(missing)}: pip install 'tfgen[serve]'")
    ways = [options.models, options.model_config_file, options.model_base_path]
    if sum(map(bool, ways)) != 1:
        raise InputError("serve what? Give BASE_DIR|NAME, --model_config_file or --model_base_path")
    with _quiet_start():
        from tfgen.export.serving import command
    command.serve(options, Console())


def _zoo_arguments(parser):
    parser.add_argument("model", nargs="?", metavar="MODEL", help="show the card of one model")


def _zoo(options):
    from tfgen import zoo
    from tfgen.training import report

    console = Console()
    if options.model:
        card = zoo.card(options.model)
        readme = zoo.directory(options.model) / "README.md"
        if readme.exists():
            print(readme.read_text("utf-8"), end="")
        else:
            console.print_json(data=card)
        return
    table = Table("model", "what it is", "bits/dim", "parameters", box=None, pad_edge=False)
    for name in zoo.list():
        card = zoo.card(name)
        bits = card.get("metrics", {}).get("bits_per_dim")
        table.add_row(
            name,
            card.get("summary", card.get("class", "")),
            report.value(bits) if bits else "",
            f"{card.get('parameters', 0):,}",
        )
    console.print(table)


def _model_argument(parser):
    parser.add_argument("model", metavar="MODEL", help="a pretrained name, or a run directory")


@contextlib.contextmanager
def _quiet_start():
    """TensorFlow reports on its start to the process' stderr, past every log level: not shown."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    sys.stderr.flush()
    stderr = os.dup(2)
    try:
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        import tensorflow as tf

        tf.config.list_physical_devices()
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)


COMMANDS = {
    "train": (_train_arguments, _train, "Train the model of a recipe and save it."),
    "evaluate": (_evaluate_arguments, _evaluate, "Measure a model on a split of a data set."),
    "sample": (_sample_arguments, _sample, "Draw a grid of samples."),
    "interpolate": (
        _interpolate_arguments,
        _interpolate,
        "Draw the images between two in latent space.",
    ),
    "score": (_score_arguments, _score, "Write the log-likelihood of each image of a folder."),
    "fetch": (_fetch_arguments, _fetch, "Bring a model from a URL or a folder, verified."),
    "export": (_export_arguments, _export, "Write a SavedModel or a TFLite file."),
    "deploy": (_deploy_arguments, _deploy, "Write what TF Serving needs to serve exports."),
    "serve": (_serve_arguments, _serve, "Answer TF Serving's APIs, for development."),
    "zoo": (_zoo_arguments, _zoo, "List the pretrained models, or show the card of one."),
}

if __name__ == "__main__":
    sys.exit(main())
