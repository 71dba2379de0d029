"""LNbits' code in the tests' own process, for what imports the extension. It is imported
before that."""

import os
import tempfile
import warnings
from unittest.mock import patch

# LNbits reads once where its data is to be. What it is warned of meanwhile is its own
# affair.
DATA = tempfile.mkdtemp(prefix="inside-")
with patch.dict(os.environ, LNBITS_DATA_FOLDER=DATA), warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import lnbits.db
    import lnbits.helpers  # noqa: F401
