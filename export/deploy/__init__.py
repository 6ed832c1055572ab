"""What a team needs to run TF Serving itself: configurations, docker-compose, kustomize."""

from tfgen.export.deploy.folder import write
from tfgen.export.deploy.promote import promote

__all__ = ["promote", "write"]
