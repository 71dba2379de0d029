"""None: the shop keeps nothing."""
