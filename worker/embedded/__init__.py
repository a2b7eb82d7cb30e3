"""Postgres and Redis from wheels, on private Unix sockets, and workers: no Docker, root or TCP port required."""
