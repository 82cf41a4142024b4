"""Training: a model, examples and a configuration in, a run folder with a better model out."""
