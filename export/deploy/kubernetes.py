"""Kustomize manifests: a base, an overlay for production, and a canary beside it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tfgen.export.deploy import configs

APP, TRACK = "app.kubernetes.io/name", "track"
NAME, CONFIG, CLAIM = "tfgen-serving", "tfgen-serving-config", "models"


def base(model: str, files: Sequence[str]) -> dict[str, Any]:
    """The Deployment and its configuration; a volume claim `models` holds the SavedModels.

    Args:
        model: name of the model that the probes query.
        files: the names of the configuration files.
    """
    kustomization = _kustomization(
        resources=["deployment.yaml"],
        configMapGenerator=[{"name": CONFIG, "files": files}],
    )
    return {"kustomization.yaml": kustomization, "deployment.yaml": _deployment(model)}


def production() -> dict[str, Any]:
    """The base with a Service, autoscaler and disruption budget."""
    return {
        "kustomization.yaml": _kustomization(
            resources=["../base", "service.yaml", "autoscaler.yaml", "disruption.yaml"],
        ),
        "service.yaml": {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": NAME},
            # Headless: an HTTP/2 connection stays with one pod, so gRPC clients must see all pods.
            "spec": {
                "clusterIP": "None",
                "selector": {APP: NAME},
                "ports": [
                    {"name": "grpc", "port": configs.GRPC, "targetPort": "grpc"},
                    {"name": "rest", "port": configs.REST, "targetPort": "rest"},
                ],
            },
        },
        "autoscaler.yaml": {
            "apiVersion": "autoscaling/v2",
            "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": NAME},
            "spec": {
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": NAME},
                "minReplicas": 2,
                "maxReplicas": 8,
                "metrics": [
                    {
                        "type": "Resource",
                        "resource": {
                            "name": "cpu",
                            "target": {"type": "Utilization", "averageUtilization": 70},
                        },
                    }
                ],
            },
        },
        "disruption.yaml": {
            "apiVersion": "policy/v1",
            "kind": "PodDisruptionBudget",
            "metadata": {"name": NAME},
            "spec": {"minAvailable": 1, "selector": {"matchLabels": {APP: NAME}}},
        },
    }


def canary() -> dict[str, Any]:
    """One more pod, of another image tag or configuration, behind production's Service."""
    target = {"kind": "Deployment", "name": NAME}
    patch = "\n".join(
        f"- {{op: add, path: {path}, value: {value}}}"
        for path, value in (
            ("/spec/replicas", 1),
            ("/spec/selector/matchLabels/track", "canary"),
            ("/spec/template/metadata/labels/track", "canary"),
        )
    )
    kustomization = _kustomization(
        resources=["../base"],
        nameSuffix="-canary",
        images=[{"name": configs.IMAGE, "newTag": configs.TAG}],
        patches=[{"target": target, "patch": patch}],
    )
    return {"kustomization.yaml": kustomization}


def _kustomization(**content):
    return {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization", **content}


def _deployment(model):
    labels = {APP: NAME, TRACK: "stable"}
    answers = {"httpGet": {"path": f"/v1/models/{model}/metadata", "port": "rest"}}
    container = {
        "name": "serving",
        "image": f"{configs.IMAGE}:{configs.TAG}",
        "args": configs.flags(),
        "ports": [
            {"name": "grpc", "containerPort": configs.GRPC},
            {"name": "rest", "containerPort": configs.REST},
        ],
        "startupProbe": {**answers, "periodSeconds": 5, "failureThreshold": 120},
        "readinessProbe": {**answers, "periodSeconds": 5, "failureThreshold": 2},
        "livenessProbe": {"tcpSocket": {"port": "grpc"}, "periodSeconds": 10},
        # Time for the endpoints to drop the pod before it stops listening.
        "lifecycle": {"preStop": {"exec": {"command": ["sleep", "10"]}}},
        "resources": {
            "requests": {"cpu": "1", "memory": "1Gi"},
            "limits": {"memory": "4Gi"},
        },
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [
            {"name": "config", "mountPath": configs.CONFIG_DIR, "readOnly": True},
            {"name": "models", "mountPath": "/models", "readOnly": True},
        ],
    }
    pod = {
        "securityContext": {"runAsNonRoot": True, "runAsUser": 65534},
        "terminationGracePeriodSeconds": 45,
        "containers": [container],
        "volumes": [
            {"name": "config", "configMap": {"name": CONFIG}},
            {"name": "models", "persistentVolumeClaim": {"claimName": CLAIM, "readOnly": True}},
        ],
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": NAME},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": pod},
        },
    }
