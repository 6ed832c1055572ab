"""The data sources, one module per kind."""
