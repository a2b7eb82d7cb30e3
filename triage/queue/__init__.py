"""The queue of messages that wait for a person: list, claim, open, decide and undo."""
