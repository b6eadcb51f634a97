"""The source side: what is sent, read from files; blocking."""
