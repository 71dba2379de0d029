"""The page's types say what REST says: `types/rest.d.ts` is written by hand."""

import re
from types import ModuleType

import pytest
from nostrclient_ext import models
from nostrclient_ext.page import models as page_models
from nostrclient_ext.relays import models as relays_models
from pydantic import BaseModel

from scripts.lnbits_server import REPOSITORY

MODULES: list[ModuleType] = [models, page_models, relays_models]
MODELS = {
    name: model
    for module in MODULES
    for name, model in vars(module).items()
    if isinstance(model, type) and issubclass(model, BaseModel)
}

# `interface Name [extends Base] {`, and in it `field: type`, on one line or more.
INTERFACE = re.compile(r"^interface (\w+)(?: extends (\w+))? \{\n(.*?)^\}", re.M | re.S)
FIELD = re.compile(r"^  (\w+): *\n? *(.*)", re.M)
TEXT = (REPOSITORY / "types/rest.d.ts").read_text()
DECLARED = {
    name: (base, dict(FIELD.findall(fields)))
    for name, base, fields in INTERFACE.findall(TEXT)
}
NO_MODELS = {"Routes"}


@pytest.mark.parametrize("name", sorted(DECLARED.keys() - NO_MODELS))
def test_an_interface_is_a_model(name: str) -> None:
    """Of the same name, with fields of it, and null is where it may be."""
    base, fields = DECLARED[name]
    if base:
        fields |= DECLARED[base][1]
    known = MODELS[name].__fields__
    assert fields and fields.keys() <= known.keys()
    for field, type_ in fields.items():
        assert type_.endswith("| null") == known[field].allow_none, field
