"""The owner's relays: changes to them, keys, what relays say about themselves, a test."""
