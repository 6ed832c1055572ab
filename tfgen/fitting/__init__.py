"""What `compile`, `fit` and `evaluate` do: Keras training by maximum likelihood."""
