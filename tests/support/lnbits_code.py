"""LNbits' code in the tests' own process, for what imports the extension. It is imported
before that."""

import os
import sys
import tempfile
import warnings
from unittest.mock import patch

# LNbits reads once where its data is to be: too late, and processes that run at the same
# time share one database. What it is warned of meanwhile is its own affair.
assert "lnbits.settings" not in sys.modules, "LNbits was imported before"
DATA = tempfile.mkdtemp(prefix="inside-")
with patch.dict(os.environ, LNBITS_DATA_FOLDER=DATA), warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import lnbits.db
    import lnbits.helpers  # noqa: F401
