"""What other extensions import to speak Nostr: keys, events and clients."""
