"""A process of `child.py`: started, watched and ended by its pid."""

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

CHILD = Path(__file__).with_name("child.py")
STOP_SECONDS = 15  # from SIGTERM to SIGKILL
TAIL_LINES = 25


class LaunchError(Exception):
    """Something did not come up. The text is for the person who started it."""


class Process:
    """One child, with everything it prints in a log file."""

    def __init__(
        self,
        arguments: list[str],
        log_file: Path,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        python: Path | None = None,
    ) -> None:
        """`python`: of another environment than ours."""
        self.log_file = log_file
        log_file.parent.mkdir(parents=True, exist_ok=True)
        with log_file.open("ab") as log:
            self._start = log.tell()  # earlier runs are in the file before this
            self._popen = subprocess.Popen(
                [str(python or sys.executable), str(CHILD), *arguments],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                cwd=cwd,
                env=env,
                # Out of reach of the terminal's Ctrl-C: the launcher decides.
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """Of the one process there is."""
        return self._popen.pid

    @property
    def ended(self) -> bool:
        """Whether it has ended by itself or was ended."""
        return self._popen.poll() is not None

    def wait(self) -> None:
        """Until it has ended."""
        self._popen.wait()

    def stop(self) -> None:
        """SIGTERM, and SIGKILL if that is not enough. Idempotent."""
        if not self.ended:
            self._popen.terminate()
            try:
                self._popen.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._popen.kill()
        self._reap()

    def kill(self) -> None:
        """SIGKILL. Idempotent."""
        self._popen.kill()
        self._reap()

    def _reap(self) -> None:
        self._popen.wait()
        if self._popen.stdin is not None:
            self._popen.stdin.close()

    def log(self) -> str:
        """What this run has printed so far."""
        with self.log_file.open("rb") as log:
            log.seek(self._start)
            return log.read().decode(errors="replace")

    def tail(self) -> str:
        """The last lines of it."""
        return "\n".join(self.log().splitlines()[-TAIL_LINES:])
