"""The bytes of photos: the blob store, and the URIs that senders submit."""
