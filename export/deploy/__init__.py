"""What a team needs to run TF Serving itself: configurations, docker-compose, kustomize."""

from tfgen.export.deploy.folder import write

__all__ = ["write"]
