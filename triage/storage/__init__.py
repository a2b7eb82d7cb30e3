"""All SQL and all blobs. Repositories take a session and never commit; who opens a transaction closes it."""
