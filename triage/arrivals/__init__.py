"""Messages that another system holds: told of them or searching for them, then reading each one there."""
