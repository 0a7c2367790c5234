"""Run one work of one side in this OS process: `python -m bench.sides.run SIDE WORK NUMBER…`."""

import importlib
import json
import sys
from dataclasses import asdict

from bench.sides.measure import Cost


def run(module: str, work: str, numbers: list[int]) -> Cost:
    """Run a work, and return what it has cost."""
    function = getattr(importlib.import_module(f"bench.sides.{module}"), work)
    cost = function(*numbers)
    assert isinstance(cost, Cost)
    return cost


if __name__ == "__main__":
    print(json.dumps(asdict(run(sys.argv[1], sys.argv[2], list(map(int, sys.argv[3:]))))))
