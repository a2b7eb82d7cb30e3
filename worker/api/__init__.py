"""The HTTP interface: authenticated endpoints that call a use case and answer with a document."""
