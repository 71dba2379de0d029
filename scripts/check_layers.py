"""Whether the core's floors know only those below them: see the head of src/lib.rs.

    python -m scripts.check_layers    fails, and says where, if one does not

The compiler keeps what is private to a module. That all of the router has no clock and no
socket, or that the protocol knows nothing of the router, is kept here. Tests may use what
they like.
"""

import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

SOURCES = Path(__file__).resolve().parent.parent / "src"

# What decides has everything handed in: no socket, no clock, nothing drawn.
WORLD = (
    r"\b(?:tokio|tokio_tungstenite|tungstenite|futures_util|getrandom|rand)::|"
    r"std::net::|std::thread|std::time::(?:\{[^}]*)?\b(?:Instant|SystemTime)|"
    r"crate::base::(?:\{[^}]*)?\bclock"
)
SOCKETS = "tokio::|tokio_tungstenite::|tungstenite::|futures_util::|std::net::"
NOTHING = "(?!)"
BELOW_ROUTER = {"constants", "ids", "base", "nostr", "stats"}
BELOW_PYTHON = BELOW_ROUTER | {"router", "relay", "runtime"}

# By floor: which others it may use, and what of the world it may not.
FLOORS: dict[str, tuple[set[str], str]] = {
    "constants": (set(), WORLD),
    "ids": (set(), WORLD),
    "base": ({"constants"}, SOCKETS),
    "nostr": ({"constants", "ids", "base"}, SOCKETS),
    "stats": ({"constants", "ids", "base"}, SOCKETS),
    "router": (BELOW_ROUTER, WORLD),
    "relay": (BELOW_PYTHON, NOTHING),
    "runtime": (BELOW_PYTHON, NOTHING),
    "python": (BELOW_PYTHON, NOTHING),
    "lib": (BELOW_PYTHON | {"python"}, WORLD),
}

# The router's own floors, from the bottom up. Who shares one knows nothing of the other.
ROUTER = (
    {"terms"},
    {"input"},
    {"turn"},
    {"relays", "answers", "intake"},
    {"subscriptions", "clients"},
    {"outbox", "requests", "counting"},
    {"publishing"},
)

COMMENT = re.compile(r"//.*")
TESTS = re.compile(r"(?s)^#\[cfg\(test\)\]\nmod \w+ \{\n.*?^}\n", re.MULTILINE)
OURS = re.compile(r"\bcrate::(?:\{([^}]*)\}|(\w+))")


def problems(sources: Path = SOURCES) -> Iterator[str]:
    """What is imported and must not be, each as `file: name`."""
    for path in sorted(sources.rglob("*.rs")):
        place = path.relative_to(sources)
        module = place.with_suffix("").parts
        if "tests" in module:
            continue
        floor = module[0]
        if floor not in FLOORS:
            yield f"{place}: no floor of this name"
            continue
        code = TESTS.sub("", COMMENT.sub("", path.read_text()))
        for found in used(code, floor):
            yield f"{place}: {found}"
        if floor == "router":
            for found in beside(code, module):
                yield f"{place}: {found}"


def used(code: str, floor: str) -> Iterator[str]:
    """What this code of that floor uses and must not."""
    others, world = FLOORS[floor]
    for group, single in OURS.findall(code):
        for name in re.findall(r"\w+(?=\s*(?:::|,|$))", group) if group else [single]:
            if name in FLOORS and name not in others | {floor}:
                yield f"crate::{name}"
    for match in re.finditer(world, code):
        yield match[0]
    if floor != "python" and re.search(r"\bpyo3", code):
        yield "pyo3"


def beside(code: str, module: Sequence[str]) -> Iterator[str]:
    """What this module of the router uses of the others there and must not."""
    below: set[str] = set()
    for floor in ROUTER:
        if module[1] in floor:
            break
        below |= floor
    else:
        return  # the router itself knows all of them
    # In the folder of an owner `super` is that owner, but for its `mod.rs`.
    within = len(module) > 2 and module[-1] != "mod"
    known = set().union(*ROUTER) - below - {module[1]}
    for name in re.findall(rf"\b{'crate::router' if within else 'super'}::(\w+)", code):
        if name in known:
            yield f"router::{name}"


def main() -> int:
    found = list(problems())
    for problem in found:
        print(f"src/{problem}", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
