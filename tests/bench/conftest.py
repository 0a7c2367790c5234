"""Makes `bench`, which is not installed, importable (last, so that it hides nothing)."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2]))
