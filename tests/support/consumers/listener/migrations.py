"""None: the listener keeps nothing."""
