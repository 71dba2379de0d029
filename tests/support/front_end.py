"""What people put before LNbits: nginx and Caddy, as Debian has them.

with FrontEnd("nginx", folder, to=lnbits.port) as front:
    front.port
"""

import os
import shutil
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType

from scripts.lnbits_server import free_port

from .socks_proxy import WITH_US

HOST = "127.0.0.1"
START_SECONDS = 20
PROGRAMS = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin"])

NGINX = """
daemon off;
pid {folder}/pid;
error_log stderr;
worker_processes 1;
events {{ worker_connections 256; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    map $http_upgrade $connection_upgrade {{ default upgrade; '' close; }}
    server {{
        listen {host}:{port};
        location / {{
            proxy_pass http://{host}:{to};
            proxy_http_version 1.1;
            proxy_set_header Host $http_host;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection $connection_upgrade;
        }}
    }}
}}
"""

CADDY = """
{{
    admin off
    auto_https off
}}
http://{host}:{port} {{
    bind {host}
    reverse_proxy {host}:{to}
}}
"""


class FrontEnd:
    """A server of its own, with its files in `folder`."""

    def __init__(self, kind: str, folder: Path, to: int) -> None:
        self.port = free_port(HOST)
        self.log = folder / "log"
        program = shutil.which(kind, path=PROGRAMS)
        assert program, "make fronts"
        text = (NGINX if kind == "nginx" else CADDY).format(
            folder=folder, host=HOST, port=self.port, to=to
        )
        config = folder / f"{kind}.conf"
        config.write_text(text)
        arguments = {
            "nginx": ["-e", "stderr", "-p", str(folder), "-c", str(config)],
            "caddy": ["run", "--adapter", "caddyfile", "--config", str(config)],
        }
        self._command = [program, *arguments[kind]]
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "FrontEnd":
        places = ("HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME")
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                ["sh", "-c", WITH_US, "sh", *self._command],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env={"PATH": PROGRAMS, **dict.fromkeys(places, str(self._folder))},
            )
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                socket.create_connection((HOST, self.port)).close()
                return self
            except ConnectionRefusedError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    self.__exit__(None, None, None)
                    raise AssertionError(self.log.read_text()) from None
                time.sleep(0.02)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.communicate()
