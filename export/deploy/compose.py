"""docker-compose: TF Serving, Prometheus and Grafana on one machine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tfgen.export.deploy import configs

PROMETHEUS = "prom/prometheus:v2.53.0"
GRAFANA = "grafana/grafana:11.3.0"


def services(models: Mapping[str, str]) -> dict[str, Any]:
    """The content of `docker-compose.yml`. Only this machine can reach the ports.

    Args:
        models: a dict from a model's name to its base directory.
    """
    serving = {
        "image": f"{configs.IMAGE}:{configs.TAG}",
        "command": configs.flags(),
        "ports": [f"127.0.0.1:{port}:{port}" for port in (configs.GRPC, configs.REST)],
        "volumes": [
            _bound("./config", configs.CONFIG_DIR),
            *(_bound(path, f"/models/{name}") for name, path in sorted(models.items())),
        ],
        "healthcheck": {
            "test": ["CMD", "bash", "-c", _probe(min(models))],
            "interval": "10s",
            "timeout": "5s",
            "retries": 3,
            "start_period": "120s",
        },
        "restart": "unless-stopped",
    }
    prometheus = {
        "image": PROMETHEUS,
        "ports": ["127.0.0.1:9090:9090"],
        "volumes": [_bound("./prometheus", "/etc/prometheus")],
        "restart": "unless-stopped",
    }
    grafana = {
        "image": GRAFANA,
        "ports": ["127.0.0.1:3000:3000"],
        "volumes": [
            _bound("./grafana/datasources", "/etc/grafana/provisioning/datasources"),
            _bound("./grafana/providers", "/etc/grafana/provisioning/dashboards"),
            _bound("./grafana/dashboards", "/var/lib/grafana/dashboards"),
        ],
        "depends_on": ["prometheus"],
        "restart": "unless-stopped",
    }
    return {"services": {"serving": serving, "prometheus": prometheus, "grafana": grafana}}


def _bound(source, target):
    """A mount in the long form, which allows every character in a path."""
    source = source.replace("$", "$$")
    return {"type": "bind", "source": source, "target": target, "read_only": True}


def _probe(model):
    """A health check without curl, which the image lacks.

    A request for metadata gets 404 until a version can answer; a request for the status does not.
    """
    path = f"/v1/models/{model}/metadata"
    return (
        f"exec 3<>/dev/tcp/127.0.0.1/{configs.REST} && "
        rf"printf 'GET {path} HTTP/1.0\r\n\r\n' >&3 && head -n 1 <&3 | grep -q ' 200 '"
    )
