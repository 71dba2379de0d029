"""The names in lanes.py are those of files, each said once."""

from pathlib import Path

from support.lanes import LONG, TOGETHER

TESTS = Path(__file__).parents[1]


def test_the_names() -> None:
    names = [name for names in (*TOGETHER, LONG) for name in names]
    assert [name for name in names if not (TESTS / f"{name}.py").is_file()] == []
    assert len(names) == len(set(names))
