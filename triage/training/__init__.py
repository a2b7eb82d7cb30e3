"""Training on reviewers' votes: manifests, the loop and the network that comes out of it."""
