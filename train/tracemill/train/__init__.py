"""Learning it: base models, the training loop, checkpoints, serving."""
