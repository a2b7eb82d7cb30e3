"""What people look at: the report over many messages, and the history of one."""
