"""`make checkrules`: a rule is named as rule 3.2, several as rules 1.4, 2.3 and 6.1, the
whole of a section as rules 2, and each of them stands in docs/rules.md."""

from pathlib import Path

import pytest

from scripts.check_rules import FOLDERS, problems

RULES = """# The rules

## 1. First

### 1.1 One

### 1.2 Two

## 2. Second
"""
# Made here, or the check would find them.
RULE, MANY = "rule ", "rules "


def written(folder: Path, name: str, text: str, rules: str = RULES) -> list[str]:
    """What is wrong where a file says this."""
    for path, content in (("docs/rules.md", rules), (name, text)):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(content)
    return problems(folder)


def test_every_rule_that_is_named_here_stands_there() -> None:
    assert problems() == []


@pytest.mark.parametrize(
    "text",
    [
        f"//! What is kept ({RULE}1.1).",
        f'"""{RULE.capitalize()}1.2: what is kept."""',
        f"# As in {MANY}1.1, 1.2 and 2.",
        f"/// What is kept ({RULE}\n/// 1.1).",
    ],
)
def test_one_that_is_there(tmp_path: Path, text: str) -> None:
    assert written(tmp_path, "src/kept.rs", text) == []


@pytest.mark.parametrize(
    ("text", "line", "number"),
    [
        (f"//! What is kept ({RULE}1.3).", 1, "1.3"),
        (f'\n\n"""{RULE.capitalize()}3.1: what is kept."""', 3, "3.1"),
        (f"# As in {MANY}3", 1, "3"),
        (f"# As in {MANY}1.1, 1.2, 1.11", 1, "1.11"),
        (f"# As in {MANY}1.1 and 1.9", 1, "1.9"),
        (f"# As in {MANY}1.1, 1.2, and 1.9", 1, "1.9"),
        (f"/// What is kept ({RULE}\n    /// 1.4).", 2, "1.4"),
        (f"/// What is kept ({MANY}1.1,\n/// 2.2).", 2, "2.2"),
        (f"// The outbox is\n// {RULE}2.1.", 2, "2.1"),
    ],
)
def test_one_that_is_not(tmp_path: Path, text: str, line: int, number: str) -> None:
    (problem,) = written(tmp_path, "src/kept.rs", text)
    assert problem.startswith(f"src/kept.rs:{line}: ")
    assert f" {number} " in problem


@pytest.mark.parametrize("folder", [*FOLDERS, "."])
def test_everywhere(tmp_path: Path, folder: str) -> None:
    name = str(Path(folder) / "deep" / "page.md") if folder != "." else "README.md"
    (problem,) = written(tmp_path, name, f"{RULE}7.7")
    assert problem.startswith(f"{name}:1: ")


def test_what_others_have_written_counts_for_nothing(tmp_path: Path) -> None:
    written(tmp_path, "src/kept.rs", f"// {RULE}1.1")
    strange = "tests/node/node_modules/strange/index.js"
    assert written(tmp_path, strange, f"// {RULE}7.7") == []


@pytest.mark.parametrize(
    "text",
    ["The rules of 3.2", "the rule: 9.9", "a ruler 9.9", "unruly 9", "rules\n\n1. First"],
)
def test_prose_names_none(tmp_path: Path, text: str) -> None:
    """And where nothing is named, the check has looked in the wrong place."""
    (problem,) = written(tmp_path, "src/kept.rs", text)
    assert problem == "docs/rules.md: no file names any of its rules."


def test_a_number_twice(tmp_path: Path) -> None:
    twice = RULES + "\n### 1.2 Two again\n"
    (problem,) = written(tmp_path, "src/kept.rs", f"// {RULE}1.1", twice)
    assert problem == "docs/rules.md: two rules have the number 1.2."
