"""Photos' bytes: the blob store and the URIs of senders."""
