"""Whether nothing is decided by the wording of a text: a sentence of the core or of ours
is for people, and has a code beside it.

    python -m scripts.check_sentences    fails, and says where, if something is

A text is known here by its name, or as an exception's. What somebody outside has written
has no code; where that is read, it stands in `FOREIGN`, with whose it is.
"""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
PYTHON, PAGE = "python/nostrclient_ext", ("static/js", "templates")

# What a text is called.
NAMES = {
    "complaint",
    "detail",
    "error_list",
    "errors",
    "last",
    "last_error",
    "notice_list",
    "notices",
    "problem",
    "reason",
    "reasons",
    "refusals",
    "sentence",
    "text",
    "told",
    "warning",
    "why",
    "words",
}
# What looks into one.
LOOKS = {
    *("count", "endswith", "find", "index", "partition"),
    *("removeprefix", "removesuffix", "rfind", "rindex", "rpartition", "rsplit"),
    *("split", "splitlines", "startswith"),
}
PATTERNS = {"findall", "finditer", "fullmatch", "match", "search"}

# By file and function: whose text is read there.
FOREIGN = {
    ("api/endpoints.py", "_is_private_id"): "a client's request",
    ("core/settings.py", "_server_address"): "the owner's setting",
    ("inside/client.py", "_code_in"): "a core of version 2.0.0, which gives no codes",
    ("outbox/keeper.py", "_trouble"): "the database's error, said once",
    ("relays/document.py", "_link"): "the relay's document (NIP-11)",
}

_WORDS = r"\b(?:{})\b".format("|".join(sorted(NAMES - {"told", "text"})))
_TEXT = rf"(?:error\.message|{_WORDS})"
LOOKS_OF_PAGE = re.compile(
    rf"{_TEXT}\??\.(?:startsWith|endsWith|includes|indexOf|match|search|split)\b"
    rf"|\.(?:test|exec|includes)\({_TEXT}\)"
    rf"|(?<!typeof ){_TEXT}\s*[!=]==?\s*['\"`]|['\"`]\s*[!=]==?\s*{_TEXT}"
    rf"|switch\s*\({_TEXT}\)"
)


def problems(repository: Path = REPOSITORY) -> Iterator[str]:
    """Where something is decided by a wording, each as `file:line: code`."""
    for path in sorted((repository / PYTHON).rglob("*.py")):
        place = path.relative_to(repository / PYTHON).as_posix()
        source = path.read_text()
        for function, node in _looks(ast.parse(source)):
            if (place, function) not in FOREIGN:
                code = ast.get_source_segment(source, node) or ""
                where = f"{PYTHON}/{place}:{node.lineno}"
                yield f"{where}: {function}: {code.splitlines()[0]}"
    for folder in PAGE:
        for path in sorted((repository / folder).rglob("*.*")):
            for number, line in enumerate(path.read_text().splitlines(), start=1):
                if LOOKS_OF_PAGE.search(line):
                    yield f"{path.relative_to(repository)}:{number}: {line.strip()}"


def _looks(tree: ast.Module) -> Iterator[tuple[str, ast.expr]]:
    """What looks into a text, with the function around it."""
    for function, body in _functions(tree):
        # An exception's names, and what is made of texts.
        caught = {
            node.name
            for node in body
            if isinstance(node, ast.ExceptHandler) and node.name
        }
        names = set(NAMES)
        for _ in range(3):  # so long a way a text may have gone
            for node in body:
                if isinstance(node, ast.Assign) and _is_text(node.value, names, caught):
                    names |= {
                        target.id
                        for target in node.targets
                        if isinstance(target, ast.Name)
                    }
        for node in body:
            if isinstance(node, ast.expr) and _decides(node, names, caught):
                yield function, node


def _functions(tree: ast.Module) -> Iterator[tuple[str, list[ast.AST]]]:
    """Each function's name and all that is its own; "" is the module's."""
    waiting: list[tuple[str, ast.AST]] = [("", tree)]
    while waiting:
        name, scope = waiting.pop()
        body: list[ast.AST] = []
        inner = list(ast.iter_child_nodes(scope))
        while inner:
            node = inner.pop()
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                waiting.append((node.name, node))
            else:
                body.append(node)
                inner += ast.iter_child_nodes(node)
        yield name, body


def _is_text(node: ast.expr, names: set[str], caught: set[str]) -> bool:
    match node:
        case ast.Name(id=name):
            return name in names
        case ast.Attribute(value=ast.Name(id=name), attr="args"):
            return name in caught
        case ast.Attribute(attr=name) | ast.Subscript(slice=ast.Constant(value=name)):
            return name in NAMES or (
                isinstance(node, ast.Subscript) and _is_text(node.value, names, caught)
            )
        case ast.Subscript(value=value):
            return _is_text(value, names, caught)
        case ast.Call(func=ast.Name(id="str" | "repr"), args=[ast.Name(id=name)]):
            return name in caught or name in names
        case ast.Call(
            func=ast.Attribute(value=value, attr="lower" | "strip" | "casefold")
        ):
            return _is_text(value, names, caught)
        case ast.BoolOp(values=values):
            return any(_is_text(value, names, caught) for value in values)
    return False


def _decides(node: ast.expr, names: set[str], caught: set[str]) -> bool:
    match node:
        case ast.Call(func=ast.Attribute(value=value, attr=attr), args=args):
            if attr in PATTERNS:
                return any(_is_text(given, names, caught) for given in args)
            return attr in LOOKS and _is_text(value, names, caught)
        case ast.Compare(left=left, ops=ops, comparators=others):
            # Whether there is one at all is no wording.
            sides = [left, *others]
            if any(isinstance(op, ast.Is | ast.IsNot) for op in ops):
                return False
            if any(isinstance(side, ast.Constant) and not side.value for side in sides):
                return False
            return any(_is_text(side, names, caught) for side in sides)
    return False


def main() -> int:
    found = list(problems())
    for problem in found:
        print(problem, file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
