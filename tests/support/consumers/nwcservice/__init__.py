"""A NIP-47 wallet service, as other people's extensions of LNbits are made.

It is what the tests of `test_nwc.py` pay with: linked into LNbits' extensions folder
beside nostrclient, loaded, started and stopped by LNbits. It knows of nostrclient only
its private endpoint.
"""

from .crud import db
from .service import nwcservice_start, nwcservice_stop
from .views_api import nwcservice_ext

__all__ = ["db", "nwcservice_ext", "nwcservice_start", "nwcservice_stop"]
