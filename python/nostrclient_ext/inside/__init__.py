"""Clients in this process, for other extensions' Python code."""
