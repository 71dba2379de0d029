"""The owner's relays: his changes, the keys, what relays say about themselves, a test."""
