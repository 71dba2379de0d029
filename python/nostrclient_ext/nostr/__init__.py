"""What other extensions import to speak Nostr: keys, events, and clients of the one
core."""
