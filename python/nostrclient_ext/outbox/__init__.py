"""The outbox outside the core: its rows in the database, and who writes them."""
