"""Prometheus and Grafana: scrape targets, alerts and the dashboard."""

from __future__ import annotations

from typing import Any

from tfgen.export.deploy import configs

REQUESTS = ":tensorflow:serving:request_count"
LATENCY = ":tensorflow:serving:request_latency"  # a histogram of microseconds


def prometheus() -> dict[str, Any]:
    """The content of `prometheus.yml`."""
    target = {"targets": [f"serving:{configs.REST}"]}
    return {
        "global": {"scrape_interval": "5s"},
        "rule_files": ["alerts.yml"],
        "scrape_configs": [
            {"job_name": "serving", "metrics_path": configs.METRICS, "static_configs": [target]}
        ],
    }


def alerts() -> dict[str, Any]:
    """The content of `alerts.yml`."""
    rules = [
        _alert("ServingDown", 'up{job="serving"} == 0', "1m", "TF Serving cannot be scraped"),
        _alert("ServingErrors", f"{_errors()} > 0.01", "5m", "More than 1 % of requests fail"),
        _alert("ServingSlow", f"{_quantile(0.99)} > 1000", "5m", "p99 is above one second"),
    ]
    return {"groups": [{"name": "serving", "rules": rules}]}


def _alert(name, expression, duration, summary):
    return {
        "alert": name,
        "expr": expression,
        "for": duration,
        "labels": {"severity": "page"},
        "annotations": {"summary": summary},
    }


def _errors():
    failed = f'sum(rate({REQUESTS}{{status!="OK"}}[5m])) by (model_name)'
    return f"{failed} / sum(rate({REQUESTS}[5m])) by (model_name)"


def _quantile(q):
    """The quantile of the latency in milliseconds."""
    rate = f"sum(rate({LATENCY}_bucket[5m])) by (le, model_name, entrypoint)"
    return f"histogram_quantile({q}, {rate}) / 1000"


def data_source() -> dict[str, Any]:
    """Grafana's data source."""
    source = {
        "name": "Prometheus",
        "uid": "prometheus",
        "type": "prometheus",
        "url": "http://prometheus:9090",
        "isDefault": True,
    }
    return {"apiVersion": 1, "datasources": [source]}


def provider() -> dict[str, Any]:
    """The directory in which Grafana finds dashboards."""
    options = {"path": "/var/lib/grafana/dashboards"}
    return {
        "apiVersion": 1,
        "providers": [{"name": "tfgen", "type": "file", "options": options}],
    }


def dashboard() -> dict[str, Any]:
    """The dashboard: requests, errors and latencies by model."""
    graphs = [
        ("Requests per second", "reqps", f"sum(rate({REQUESTS}[5m])) by (model_name, status)"),
        ("Errors", "percentunit", _errors()),
        ("Latency, median", "ms", _quantile(0.5)),
        ("Latency, p99", "ms", _quantile(0.99)),
    ]
    panels = [
        {
            "id": i + 1,
            "type": "timeseries",
            "title": title,
            "datasource": {"type": "prometheus", "uid": "prometheus"},
            "gridPos": {"x": 12 * (i % 2), "y": 8 * (i // 2), "w": 12, "h": 8},
            "fieldConfig": {"defaults": {"unit": unit}, "overrides": []},
            "targets": [{"refId": "A", "expr": expression}],
        }
        for i, (title, unit, expression) in enumerate(graphs)
    ]
    return {
        "uid": "tfgen-serving",
        "title": "TF Serving",
        "schemaVersion": 39,
        "time": {"from": "now-1h", "to": "now"},
        "refresh": "10s",
        "panels": panels,
    }
