"""Lanes: `make test` runs the tests in four processes at the same time, since nearly
all of them wait most of the time. Each lane has an LNbits, a browser and folders of its
own, and takes a file when it is done with another.

pytest-xdist starts the lanes. What runs where, and in which order, is said here. Without
`-n`, or with one file, everything is as if this were not there.
"""

from collections import defaultdict
from pathlib import PurePath

import pytest
from xdist.remote import Producer
from xdist.scheduler.loadfile import LoadFileScheduling

from .installation import PLACES

# What fills both processors, and then what measures seconds that a full machine would
# add to. In one lane, none of them meets another.
ALONE = (
    "outbox/test_crash",
    "outbox/test_storm",
    "publish/test_many",
    "endpoint/test_limits",
    "endpoint/test_clients_vanish",
    "relays/test_hostile_relay",
    "subscribe/test_eose",
    "publish/test_publish",
    "outbox/test_doubt",
    "relays/test_actions",
    "page/test_live",
    "relays/test_reconnect",
)
# They share servers, and what is installed on them: a lane for each of `SERVERS`.
OWNERS = (
    "install/test_broken_zips",
    "install/test_install",
    "install/test_takeover",
    "install/test_upgrade",
)
# They share a browser, and an LNbits of each version.
PAGES = ("page/test_browser", "page/test_relays", "page/test_shell", "page/test_tabs")

TOGETHER = (ALONE, OWNERS, PAGES)
SERVERS = sorted(map(str, PLACES), key=len, reverse=True)
# Long ones, so that no lane begins with one when the others are nearly done.
LONG = (
    "zoo/test_everybody",
    "relays/test_late_notice",
    "wallet/test_nwc",
    "outbox/test_nodes",
    "zoo/test_losses",
    "zoo/test_own_fault",
    "outbox/test_postgres",
    "zoo/test_refusals",
    "server/test_lifecycle",
    "inside/test_sentences",
    "endpoint/test_bad_input",
    "outbox/test_rules",
    "outbox/test_outbox",
    "endpoint/test_junk_ids",
    "outbox/test_bad_input",
    "endpoint/test_strangers",
    "inside/test_characters",
    "server/test_run",
    "endpoint/test_websocket_endpoints",
    "endpoint/test_full_house",
)
# Those that share servers keep pytest's order: all tests of a server, then the next.
ORDER = [{name} for name in ALONE] + [set(OWNERS), set(PAGES)] + [{name} for name in LONG]


def file(nodeid: str) -> str:
    """The name of a test's file below `tests/`, without its suffix."""
    path = PurePath(nodeid.split("::", 1)[0]).with_suffix("")
    return path.relative_to("tests").as_posix()


def server(nodeid: str) -> str:
    """Which server a test of `OWNERS` is for: the first of its parameters."""
    case = nodeid.partition("[")[2]
    return next(name for name in SERVERS if case.startswith(name))


class Lanes(LoadFileScheduling):
    """Files that stand together run in one lane. They are begun in the order in which
    the tests were collected."""

    def _split_scope(self, nodeid: str) -> str:
        name = file(nodeid)
        scope = next((names[0] for names in TOGETHER if name in names), name)
        if name in OWNERS:
            scope += server(nodeid)
        return scope


class Durations:
    """What each lane has worked on, and for how long. Printed at the end."""

    def __init__(self) -> None:
        self._lanes: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        lane = getattr(report, "worker_id", None)
        if lane is not None:
            self._lanes[lane][file(report.nodeid)] += report.duration

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        for lane, files in sorted(self._lanes.items()):
            terminalreporter.section(f"{lane}: {sum(files.values()):.0f} s of tests")
            parts = [f"{name} {seconds:.0f}" for name, seconds in files.items()]
            terminalreporter.write_line(", ".join(parts))


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("numprocesses", None):
        config.option.loadscopereorder = False  # the order is ours
        config.pluginmanager.register(Durations())


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Lanes:
    return Lanes(config, log)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> None:
    """In a lane: what is named here first, in this order."""

    def place(item: pytest.Item) -> int:
        name = file(item.nodeid)
        found = (number for number, names in enumerate(ORDER) if name in names)
        return next(found, len(ORDER))

    if hasattr(config, "workerinput"):
        items.sort(key=place)
