"""Micro-benchmarks: `pytest bench/` measures them, the test suite runs each once."""
