"""What other extensions import as `nostrclient.nostr`: events, keys and clients.

The names and their behaviour are those their authors know. Nothing happens at import, and
the core's library is looked up at each call.
"""
