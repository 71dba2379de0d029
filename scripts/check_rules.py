"""Whether every rule that is named in the sources stands in docs/rules.md.

    python -m scripts.check_rules

A rule is named by the word and its number, several with commas or "and" between them, and
a whole section by its own number: see the first lines of tests/checks/test_rules.py. A
name may go over the end of a line.
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
RULES = "docs/rules.md"
FOLDERS = ["benches", "docs", "python", "scripts", "src", "static", "templates", "tests"]
SUFFIXES = {".html", ".js", ".md", ".py", ".pyi", ".rs", ".sh"}
FOREIGN = {"__pycache__", "node_modules"}

HEADING = re.compile(r"^(?:## (\d+)\.|### (\d+\.\d+)) ", re.MULTILINE)
NUMBER = re.compile(r"\d+(?:\.\d+)?")
# A space, or the end of a line and what begins a line of a comment.
_GAP = r"(?:[ \t]+|[ \t]*\n[ \t/!#*]*)"
_AND = rf"(?:,{_GAP}(?:and{_GAP})?|{_GAP}and{_GAP})"
NAMED = re.compile(
    rf"\brules?{_GAP}({NUMBER.pattern}(?:{_AND}{NUMBER.pattern})*)", re.IGNORECASE
)


def problems(folder: Path = REPOSITORY) -> list[str]:
    """What is wrong, each a line that begins with a file of this folder."""
    numbers = [
        match[1] or match[2] for match in HEADING.finditer((folder / RULES).read_text())
    ]
    found = [
        f"{RULES}: two rules have the number {number}."
        for number in sorted(set(numbers))
        if numbers.count(number) > 1
    ]
    anything = False
    for path in _files(folder):
        for line, number in _named(path.read_text()):
            anything = True
            if number not in numbers:
                where = f"{path.relative_to(folder)}:{line}"
                found.append(f"{where}: there is no rule {number} in {RULES}.")
    if not anything:
        found.append(f"{RULES}: no file names any of its rules.")
    return found


def _files(folder: Path) -> Iterator[Path]:
    below = (path for name in FOLDERS for path in sorted((folder / name).rglob("*")))
    for path in (*sorted(folder.glob("*")), *below):
        foreign = FOREIGN.intersection(path.relative_to(folder).parts)
        if path.suffix in SUFFIXES and path.is_file() and not foreign:
            yield path


def _named(text: str) -> Iterator[tuple[int, str]]:
    """The rules that a text names, each with its line."""
    for match in NAMED.finditer(text):
        for number in NUMBER.finditer(text, *match.span(1)):
            yield text.count("\n", 0, number.start()) + 1, number[0]


def main() -> int:
    found = problems()
    for problem in found:
        print(problem, file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
