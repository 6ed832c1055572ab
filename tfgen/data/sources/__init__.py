"""The data sets that can be named, one module each."""
