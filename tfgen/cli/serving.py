"""`tfgen serve`."""

import argparse

from rich.console import Console

from tfgen.cli.common import quiet_start
from tfgen.errors import InputError


def serve_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "models",
        nargs="*",
        metavar="BASE_DIR|NAME",
        help="directory of numbered SavedModels, pretrained model, or run directory",
    )
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to listen on (default: this machine only)"
    )
    parser.add_argument(
        "--port", type=int, default=8500, help="port of gRPC; 0 for none (default: 8500)"
    )
    parser.add_argument(
        "--rest_api_port", type=int, default=8501, help="port of REST; 0 for none (default: 8501)"
    )
    parser.add_argument("--rest_api_timeout_in_ms", type=int, default=30_000, metavar="N")
    _switch(parser, "rest_api_enable_cors_support", "allow requests from pages of other origins")
    parser.add_argument("--grpc_socket_path", metavar="PATH", help="gRPC on a UNIX socket as well")
    parser.add_argument(
        "--grpc_channel_arguments",
        default="",
        metavar="KEY=VALUE,...",
        help="options of the gRPC server",
    )
    parser.add_argument("--model_config_file", metavar="FILE", help="models.config file")
    parser.add_argument("--model_config_file_poll_wait_seconds", type=float, default=0, metavar="N")
    parser.add_argument("--model_name", default="default", metavar="NAME")
    parser.add_argument("--model_base_path", metavar="DIR", help="base directory of the only model")
    parser.add_argument("--file_system_poll_wait_seconds", type=float, default=1, metavar="N")
    _switch(
        parser,
        "allow_version_labels_for_unavailable_models",
        "new labels may be assigned before their versions are available",
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
    _switch(parser, "xla_cpu_compilation_enabled", "allow functions compiled with XLA")
    parser.add_argument("--grpc_max_threads", type=int, default=16, metavar="N")
    parser.add_argument("--rest_api_num_threads", type=int, default=16, metavar="N")
    for name, default, text in (
        ("max_bytes", 64 * 2**20, "largest request, and its inputs as arrays, in bytes"),
        ("max_rows", 200_000, "largest number of rows of a request"),
        ("max_result_bytes", 32 * 2**20, "largest result of a request, in bytes"),
        ("max_large_requests", 2, "requests of over 8 MiB of memory that run at the same time"),
    ):
        text = f"{text} (default: {default})"
        parser.add_argument(f"--{name}", type=int, default=default, metavar="N", help=text)
    parser.add_argument(
        "--max_connections",
        type=int,
        default=512,
        metavar="N",
        help="open connections to each port; others wait (default: 512)",
    )
    parser.add_argument(
        "--rest_api_header_timeout_in_ms",
        type=int,
        default=10_000,
        metavar="N",
        help="time in which the header of a request must arrive (default: 10000)",
    )
    parser.add_argument(
        "--rest_api_idle_timeout_in_ms",
        type=int,
        default=75_000,
        metavar="N",
        help="time after which a connection without requests is closed (default: 75000)",
    )
    parser.add_argument(
        "--allowed_hosts",
        default="",
        metavar="NAME,...",
        help="further names of this server in REST requests: NAME, .DOMAIN, or * for any (default: "
        "localhost, IP addresses, and the name of this machine)",
    )


def _switch(parser, name, text, *, default=False):
    """Add a flag as in TF Serving: --NAME, --NAME=true, --NAME=false."""
    parser.add_argument(f"--{name}", action="store_true", default=default, help=text)
    for value in ("true", "false"):
        action = f"store_{value}"
        parser.add_argument(f"--{name}={value}", dest=name, action=action, help=argparse.SUPPRESS)
        parser.set_defaults(**{name: default})


def serve(options: argparse.Namespace) -> None:
    from importlib import util

    modules = ("aiohttp", "grpc", "grpc_health", "orjson", "prometheus_client", "uvloop")
    missing = [name for name in modules if util.find_spec(name) is None]
    if missing:
        raise InputError(f"serve needs {' and '.join(missing)}: pip install 'tfgen[serve]'")
    ways = [options.models, options.model_config_file, options.model_base_path]
    if sum(map(bool, ways)) != 1:
        raise InputError(
            "give exactly one of BASE_DIR|NAME, --model_config_file and --model_base_path"
        )
    with quiet_start():
        from tfgen.export.serving import command
    command.serve(options, Console())
