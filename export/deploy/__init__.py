"""A deployment of TF Serving: configurations, docker-compose, kustomize."""

from tfgen.export.deploy.directory import write
from tfgen.export.deploy.promote import promote

__all__ = ["promote", "write"]
