"""What the launcher remembers in a data folder, so that the next start is the same."""

import json
import os
import secrets
from dataclasses import asdict, dataclass, field
from pathlib import Path

FILE_NAME = "launcher.json"


@dataclass
class State:
    """One JSON file that only its owner can read: it holds the keys to the server."""

    path: Path
    auth_secret_key: str = field(default_factory=lambda: secrets.token_hex(32))
    username: str = "admin"
    password: str = field(default_factory=lambda: secrets.token_urlsafe(12))
    private_path: str | None = None  # of the private endpoint
    local_relay_ports: list[int] = field(default_factory=list)
    seeded: bool = False  # the first relays and settings are in

    @classmethod
    def load(cls, data_folder: Path) -> "State":
        """The state of this data folder, a new one if it has none."""
        path = data_folder / FILE_NAME
        if not path.exists():
            return cls(path)
        return cls(path, **json.loads(path.read_text()))

    def save(self) -> None:
        """Write it, whole or not at all."""
        content = asdict(self)
        del content["path"]
        self.path.parent.mkdir(parents=True, exist_ok=True)
        draft = self.path.with_suffix(".new")
        draft.touch(mode=0o600)
        draft.write_text(json.dumps(content, indent=2))
        os.replace(draft, self.path)
