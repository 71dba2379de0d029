"""None: the witness keeps nothing."""
