"""The names in lanes.py are those of files, each said once."""

from pathlib import Path

from lanes import LONG, TOGETHER


def test_the_names() -> None:
    names = [name for names in (*TOGETHER, LONG) for name in names]
    files = {path.stem for path in Path(__file__).parent.glob("test_*.py")}
    assert set(names) <= files
    assert len(names) == len(set(names))
