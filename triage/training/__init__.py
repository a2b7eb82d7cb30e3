"""Training on reviewers' votes: the loop, its checkpoints, and runs that survive the loss of a worker."""
