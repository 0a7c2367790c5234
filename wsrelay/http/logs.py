"""The logger of the HTTP side; what a client sent enters it through `wsrelay.log.escape` only."""

import logging

__all__ = ["logger"]

logger = logging.getLogger("wsrelay.http")
