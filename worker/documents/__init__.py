"""The JSON documents that commands print and that tasks take and return: one model each, importing nothing heavy."""
