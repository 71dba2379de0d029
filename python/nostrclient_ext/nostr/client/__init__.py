"""`client.NostrClient`, under the name its importers know."""
