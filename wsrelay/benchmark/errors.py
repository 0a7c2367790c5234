"""What ends a benchmark before its time; the text is one line for people."""

__all__ = ["BenchmarkError"]


class BenchmarkError(Exception):
    """There is no measurement: the URL, the server or a reply of it is not as it must be."""
