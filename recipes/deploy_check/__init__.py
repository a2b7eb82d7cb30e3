"""Proves the deployment by running it: `make deploy-check`."""
