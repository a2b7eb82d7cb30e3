"""Messages that another system holds: announced by it or found by a search, then read there one by one."""
