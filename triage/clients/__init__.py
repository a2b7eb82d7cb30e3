"""Clients of the HTTP interface: registration, authentication and access tokens."""
