"""A real SOCKS5 server on loopback (microsocks), with names that only it knows.

    with SocksProxy(folder, ["relay.abc.onion"], login=("user", "password")) as proxy:
        proxy.url

The names are this machine's; nss_wrapper gives the server a hosts file of its own.
"""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from urllib.parse import quote

from scripts.lnbits_server import free_port

HOST = "127.0.0.1"
START_SECONDS = 10

# Ends the server once our end of its standard input closes, however we ended.
WITH_US = '"$@" & read -r _; kill $! && wait $!'


class SocksProxy:
    """`start` and `stop` it any number of times within a `with`."""

    def __init__(
        self, folder: Path, names: Iterable[str], login: tuple[str, str] | None = None
    ) -> None:
        assert shutil.which("microsocks"), "make socks"
        self.port = free_port(HOST)
        self._login = login
        self._hosts = folder / "hosts"
        self._hosts.write_text("".join(f"{HOST} {name}\n" for name in names))
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def shown(self) -> str:
        """Its url without the password."""
        user = f"{self._login[0]}@" if self._login else ""
        return f"socks5://{user}{HOST}:{self.port}"

    @property
    def url(self) -> str:
        if self._login is None:
            return self.shown
        return self.shown.replace("@", f":{quote(self._login[1], safe='')}@")

    def start(self) -> None:
        """Until it takes connections."""
        command = ["microsocks", "-i", HOST, "-p", str(self.port)]
        if self._login:
            command += ["-u", self._login[0], "-P", self._login[1]]
        self._process = subprocess.Popen(
            ["sh", "-c", WITH_US, "sh", *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={
                "PATH": os.defpath,
                "LD_PRELOAD": "libnss_wrapper.so",
                "NSS_WRAPPER_HOSTS": str(self._hosts),
            },
        )
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                socket.create_connection((HOST, self.port)).close()
                return
            except ConnectionRefusedError:
                assert self._process.poll() is None, "microsocks does not start"
                assert time.monotonic() < deadline, "microsocks takes no connections"
                time.sleep(0.01)

    def stop(self) -> None:
        """It ends, and with it every connection through it. Idempotent."""
        process, self._process = self._process, None
        if process is not None:
            process.communicate()

    def __enter__(self) -> "SocksProxy":
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
