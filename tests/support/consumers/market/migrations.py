"""None: the market keeps nothing."""
