"""Numbers in words, for people."""

_UNITS = (("day", 86400), ("hour", 3600), ("minute", 60))


def duration(seconds: float) -> str:
    """A duration in its largest unit, rounded down: "2 hours"."""
    whole = max(0, round(seconds))
    for unit, length in _UNITS:
        if whole >= length:
            return counted(whole // length, unit)
    return counted(whole, "second")


def counted(count: int, noun: str) -> str:
    """A number of things: "1 event", "2 events"."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
