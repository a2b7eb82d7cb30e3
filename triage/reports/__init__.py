"""What people read: reports on many messages, the history of one, flips of a rescoring run, registered models."""
