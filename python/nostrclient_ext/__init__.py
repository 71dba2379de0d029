"""The LNbits half of nostrclient: routes, tables and the running core's lifetime.

LNbits never imports a package of this name. The extension's root `__init__.py` adds this
folder to its own `__path__`, so that the modules here are `<extension>.crud` and so on,
whatever name LNbits loads the extension by. They import each other relatively only.
"""
