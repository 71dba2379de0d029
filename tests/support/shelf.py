"""Where an LNbits finds extensions: a manifest and the zips it names, served on loopback.

    with Shelf() as shelf:
        shelf.put(zipped)
        LNbits(folder, env=shelf.settings)

Several versions of one extension may be on it. It serves until the end of the `with`.
"""

import hashlib
import io
import json
import threading
import zipfile
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any

MANIFEST = "/extensions.json"
NOTHING = "/nothing.json"


@dataclass(frozen=True)
class Release:
    """What the REST API wants to know to install it."""

    extension: str
    version: str
    archive: str
    manifest: str


def zipped(folder: Path) -> bytes:
    """An extension's folder as a release's zip."""
    return packed(
        {
            str(path.relative_to(folder.parent)): path.read_bytes()
            for path in sorted(folder.rglob("*"))
            if path.is_file() and "__pycache__" not in path.parts
        }
    )


def packed(files: dict[str, bytes]) -> bytes:
    """These files as a zip."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return data.getvalue()


def unpacked(data: bytes) -> dict[str, bytes]:
    """The files in a zip."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {
            name: archive.read(name)
            for name in archive.namelist()
            if not name.endswith("/")
        }


def config(data: bytes) -> dict[str, Any]:
    """What the extension in this zip says of itself."""
    for name, content in unpacked(data).items():
        if name.count("/") == 1 and name.endswith("/config.json"):
            found: dict[str, Any] = json.loads(content)
            return found
    raise AssertionError("a zip without a config.json in its one folder")


class Shelf:
    def __init__(self) -> None:
        self._files: dict[str, bytes] = {NOTHING: b"{}"}
        self._entries: list[dict[str, str]] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def _url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    @property
    def manifest(self) -> str:
        """The manifest's address."""
        return self._url + MANIFEST

    @property
    def settings(self) -> dict[str, str]:
        """The environment of an LNbits that looks here and nowhere else."""
        return {
            "LNBITS_EXTENSIONS_MANIFESTS": json.dumps([self.manifest]),
            "LNBITS_WASM_EXTENSIONS_MANIFESTS": "[]",
            "LNBITS_EXTENSIONS_BUILDER_MANIFEST_URL": self._url + NOTHING,
        }

    def put(self, data: bytes) -> Release:
        """Offer this zip, by the id and version in its config."""
        told = config(data)
        digest = hashlib.sha256(data).hexdigest()
        path = f"/{told['id']}-{told['version']}-{digest[:8]}.zip"
        self._files[path] = data
        release = Release(told["id"], told["version"], self._url + path, self.manifest)
        self._entries.append(
            {
                "id": release.extension,
                "name": told["name"],
                "version": release.version,
                "archive": release.archive,
                "hash": digest,
            }
        )
        manifest = {"featured": [], "extensions": self._entries}
        self._files[MANIFEST] = json.dumps(manifest).encode()
        return release

    def __enter__(self) -> "Shelf":
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        files = self._files

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                data = files.get(self.path)
                self.send_response(404 if data is None else 200)
                self.send_header("Content-Length", str(len(data or b"")))
                self.end_headers()
                self.wfile.write(data or b"")

            def log_message(self, format: str, *_: object) -> None:  # noqa: A002
                """LNbits' log tells enough."""

        return Handler
