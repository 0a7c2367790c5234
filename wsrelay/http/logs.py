"""The logger of the HTTP side; what a client sent enters it through `wsrelay.log.escape` only."""

from wsrelay.log import logger_of

__all__ = ["logger"]

logger = logger_of("wsrelay.http")
