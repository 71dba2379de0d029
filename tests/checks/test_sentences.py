"""`make checksentences`: nothing looks into a text that the core or we have written."""

from pathlib import Path

import pytest

from scripts.check_sentences import FOREIGN, PYTHON, problems


def test_the_sources_as_they_are() -> None:
    assert list(problems()) == []


def written(folder: Path, name: str, text: str) -> list[str]:
    path = folder / name
    path.parent.mkdir(parents=True)
    path.write_text(text)
    return list(problems(folder))


@pytest.mark.parametrize(
    "line",
    [
        'return text.startswith("forged")',
        'return "forged" in why',
        'return why == "too late"',
        'return why.partition(":")[0] in FINAL',
        'return re.match("forged", why)',
        'last = status.error_list[-1]\n    return last.endswith("event")',
        'found = text.lower()\n    return "no relay" in found',
        'return relay["errors"][-1] in SENTENCES',
        'try:\n        f()\n    except ValueError as e:\n        return "key" in str(e)',
        'try:\n        f()\n    except ValueError as e:\n        return e.args[0] == "a"',
    ],
)
def test_a_decision_on_a_wording(tmp_path: Path, line: str) -> None:
    text = f"def f(text, why, status, relay):\n    {line}\n"
    (problem,) = written(tmp_path, f"{PYTHON}/inside/a.py", text)
    assert problem.startswith(f"{PYTHON}/inside/a.py:") and ": f: " in problem


@pytest.mark.parametrize(
    "line",
    [
        "return code in FINAL",
        'return f"Refused: {text}"',
        "return why if why else None",
        'return why != ""',
        "return text is None",
        'return url.startswith("ws")',
        "try:\n        f()\n    except ValueError as e:\n        return e.code == 'a'",
    ],
)
def test_no_decision_on_one(tmp_path: Path, line: str) -> None:
    text = f"def f(text, why, code, url):\n    {line}\n"
    assert written(tmp_path, f"{PYTHON}/inside/a.py", text) == []


@pytest.mark.parametrize("name", ["static/js/a.js", "templates/nostrclient/a.html"])
@pytest.mark.parametrize(
    ("line", "is_one"),
    [
        ("this.problem.startsWith('Public key')", True),
        ("row.reason?.includes('forged')", True),
        ("relay.last_error === 'It is away.'", True),
        ("/key/.test(detail)", True),
        ("this.problemCode === 'public_allowed'", False),
        ("this.problem || ''", False),
        ("typeof detail === 'string'", False),
    ],
)
def test_the_page(tmp_path: Path, name: str, line: str, is_one: bool) -> None:
    assert bool(written(tmp_path, name, f"if ({line}) return\n")) == is_one


def test_what_others_have_written_may_be_read(tmp_path: Path) -> None:
    (file, function), *_ = FOREIGN
    text = f"def {function}(text):\n    return text.startswith('a')\n"
    assert written(tmp_path, f"{PYTHON}/{file}", text) == []
