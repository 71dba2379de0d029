"""The LNbits extension `nostrclient`: what LNbits looks up on an extension's package.

The modules live in `python/nostrclient_ext`. They are found under this package's own
name, whatever LNbits calls it, because that folder is put on the package's path.
"""

from pathlib import Path

__path__.append(str(Path(__file__).resolve().parent / "python" / "nostrclient_ext"))

from fastapi import APIRouter

from .crud import db
from .tasks import nostrclient_start, nostrclient_stop
from .views import page_router
from .views_api import api_router

nostrclient_ext = APIRouter(prefix="/nostrclient", tags=["nostrclient"])
nostrclient_ext.include_router(page_router)
nostrclient_ext.include_router(api_router)

nostrclient_static_files = [{"path": "/nostrclient/static", "name": "nostrclient_static"}]

__all__ = [
    "db",
    "nostrclient_ext",
    "nostrclient_start",
    "nostrclient_static_files",
    "nostrclient_stop",
]
