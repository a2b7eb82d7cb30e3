"""Staff of the console: accounts, login and sessions."""
