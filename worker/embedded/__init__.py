"""A real Postgres and a real Redis from wheels, on private Unix sockets: no Docker, no root, no TCP port."""
