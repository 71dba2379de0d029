"""Loads the core in a process of its own, from copies of the extension's folder.

    library_child.py one FOLDER
    library_child.py together FOLDER FOLDER FOLDER

Prints one JSON object. `together` takes two copies of one version and one of another.
"""

import json
import sys
import threading
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

from scripts.smoke import use


def extension(folder: Path, name: str) -> ModuleType:
    """The LNbits half in this folder as a package of this name; its `library`."""
    package = folder / "python/nostrclient_ext"
    spec = spec_from_file_location(
        name, package / "__init__.py", submodule_search_locations=[str(package)]
    )
    assert spec is not None
    sys.modules[name] = module_from_spec(spec)
    return import_module(f"{name}.core.library")


def cores() -> list[str]:
    """Modules of any core there are."""
    return sorted(name for name in sys.modules if "nostrclient_core" in name)


def one(folder: Path) -> dict[str, Any]:
    path = list(sys.path)
    library = extension(folder, "copy")
    seen: dict[str, Any] = {"at import": cores()}
    try:
        module = library.load()
    except library.CoreUnavailable as exc:
        seen["refused"] = str(exc)
        try:
            library.load()
        except library.CoreUnavailable as again:
            seen["again"] = str(again)
    else:
        assert library.load() is module
        use(module)
        seen["loaded"] = [module.__name__, module.__version__, module.__file__]
    assert sys.path == path
    return {**seen, "modules": cores()}


def together(first: Path, second: Path, other: Path) -> dict[str, Any]:
    copies = [
        extension(folder, f"copy_{number}")
        for number, folder in enumerate([first, second, other])
    ]
    loaded: list[list[ModuleType]] = [[], [], []]
    threads = [
        threading.Thread(target=lambda at=at: loaded[at].append(copies[at].load()))
        for at in [0, 1, 2] * 5
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    modules = [{id(module) for module in each} for each in loaded]
    assert [len(each) for each in modules] == [1, 1, 1]
    old, same, new = (each[0] for each in loaded)
    # Both run at the same time, and know nothing of each other.
    core = old.Core()
    client = core.connect()
    use(new)
    use(old)
    assert client.closed is None
    core.stop()
    errors = []
    for stopped in (core, new.Core()):
        stopped.stop()
        try:
            stopped.connect()
        except Exception as exc:
            errors.append([isinstance(exc, each.CoreStopped) for each in (old, new)])
    return {
        "shared": same is old,
        "versions": [old.__version__, new.__version__],
        "errors": errors,
        "modules": cores(),
    }


if __name__ == "__main__":
    folders = [Path(argument) for argument in sys.argv[2:]]
    print(json.dumps(one(*folders) if sys.argv[1] == "one" else together(*folders)))
