"""The check of the core's floors finds what it is there for, and nothing else."""

from pathlib import Path

import pytest

from scripts.check_layers import problems


def test_the_sources_as_they_are() -> None:
    assert list(problems()) == []


@pytest.mark.parametrize(
    ("file", "line", "found"),
    [
        ("router/mod.rs", "use crate::relay::Line;", "crate::relay"),
        ("router/a/b.rs", "use crate::{nostr, runtime::Core};", "crate::runtime"),
        ("router/mod.rs", "use tokio::sync::Notify;", "tokio::"),
        ("router/mod.rs", "use std::time::{Duration, Instant};", "Instant"),
        ("router/mod.rs", "let at = crate::base::clock::unix_now();", "clock"),
        ("router/mod.rs", "getrandom::fill(&mut bytes)?;", "getrandom::"),
        ("nostr/event.rs", "use crate::router::Router;", "crate::router"),
        ("base/fair.rs", "use crate::nostr::event::Event;", "crate::nostr"),
        ("runtime/mod.rs", "use crate::python::memory;", "crate::python"),
        ("runtime/mod.rs", "use pyo3::prelude::*;", "pyo3"),
        ("router/outbox/mod.rs", "use super::publishing::Fate;", "publishing"),
        ("router/relays/line.rs", "use crate::router::outbox::Row;", "router::outbox"),
        ("router/turn.rs", "use super::relays::Relays;", "router::relays"),
        ("attic/mod.rs", "", "no floor"),
    ],
)
def test_what_a_floor_must_not_know(
    tmp_path: Path, file: str, line: str, found: str
) -> None:
    path = tmp_path / file
    path.parent.mkdir(parents=True)
    path.write_text(f"//! See `crate::python`.\n{line}\n")
    (problem,) = problems(tmp_path)
    assert problem.startswith(f"{file}: ") and found in problem


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("router/mod.rs", "use std::time::Duration;\nuse crate::nostr::hex;\n"),
        ("router/publishing/mod.rs", "use super::outbox::Outbox;\n"),
        ("router/outbox/flush.rs", "use super::entry::At;\nuse crate::router::turn;\n"),
        ("router/from_relays.rs", "use super::publishing::Means;\n"),
        ("router/tests/mod.rs", "use crate::runtime::Core;\n"),
        ("router/a.rs", "#[cfg(test)]\nmod tests {\n    use tokio::time::sleep;\n}\n"),
        ("relay/link.rs", "use tokio::time::Instant;\nuse crate::router::Input;\n"),
        ("python/mod.rs", "use pyo3::prelude::*;\nuse crate::runtime::Core;\n"),
    ],
)
def test_what_it_may(tmp_path: Path, file: str, text: str) -> None:
    path = tmp_path / file
    path.parent.mkdir(parents=True)
    path.write_text(text)
    assert list(problems(tmp_path)) == []
