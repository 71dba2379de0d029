"""How long an extension's subscription that no relay serves is let alone (rule 3.5)."""

import time
from typing import Any, cast

import pytest
from nostrclient_ext.inside.subscriptions import (
    FINAL,
    REFUSED_MOST_SECONDS,
    REFUSED_SECONDS,
    Subscriptions,
)


class Scene:
    """One subscription, a core that notes what it is told, and a clock moved by hand."""

    writable = True

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1_000.0
        monkeypatch.setattr(time, "monotonic", lambda: self.now)
        self.fed: list[str] = []
        self.all = Subscriptions()
        self.all.open("s", ',{"kinds":[1]}')

    def feed(self, text: str) -> None:
        self.fed.append(text)

    def asked(self) -> bool:
        """Whether the core was told to ask for it, since the last look."""
        self.fed.clear()
        self.all.tell(cast(Any, self))
        return self.fed == ['["REQ","1",{"kinds":[1]}]']

    def refused(self) -> float | None:
        return self.all.refused("s", "not_served")

    def passes(self, seconds: float) -> bool:
        """Whether it is asked for when a timer of that length rings now."""
        self.now += seconds
        self.all.pause_is_over("1")
        return self.asked()


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Scene:
    scene = Scene(monkeypatch)
    assert scene.asked()
    return scene


def test_the_pauses_grow(scene: Scene) -> None:
    pauses = []
    for _ in range(9):
        pause = scene.refused()
        assert pause is not None
        pauses.append(pause)
        assert not scene.asked(), "it is let alone"
        assert scene.passes(pause)
        scene.now += 4  # as long as relays may take to refuse it
    assert pauses == [30, 60, 120, 240, 480, 960, *[REFUSED_MOST_SECONDS] * 3]


def test_one_that_was_served_begins_anew(scene: Scene) -> None:
    assert scene.refused() == REFUSED_SECONDS
    assert scene.passes(REFUSED_SECONDS)
    assert scene.refused() == 2 * REFUSED_SECONDS
    assert scene.passes(2 * REFUSED_SECONDS)
    scene.now += 2 * REFUSED_SECONDS + 1
    assert scene.refused() == REFUSED_SECONDS


def test_a_relay_that_comes_is_asked_at_once(scene: Scene) -> None:
    assert scene.refused() == REFUSED_SECONDS
    scene.all.ask_refused_again()
    assert scene.asked()
    scene.now += 1
    assert scene.refused() == 2 * REFUSED_SECONDS
    assert not scene.passes(REFUSED_SECONDS - 1), "that timer was set before"
    assert scene.passes(REFUSED_SECONDS + 1)
    assert not scene.passes(0), "it is asked for already"


@pytest.mark.parametrize("code", sorted(FINAL))
def test_what_the_core_does_not_take_ends(scene: Scene, code: str) -> None:
    assert scene.all.refused("s", code) is None
    assert not scene.all.names
    assert not scene.passes(REFUSED_SECONDS)
