"""TFLite files: how they are converted, rewritten and measured."""
