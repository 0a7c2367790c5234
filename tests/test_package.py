"""What goes into a wheel beside the modules."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
# The Python half of a build, without the compiler: what `pip wheel .` takes from the package.
BUILD = """
import sys
from setuptools.dist import Distribution
package = Distribution({"script_name": "setup.py"})
package.parse_config_files()
package.get_command_obj("build_py").build_lib = sys.argv[1]
package.run_command("build_py")
"""


def test_the_demo_is_in_the_wheel(tmp_path):
    subprocess.run(
        [sys.executable, "-c", BUILD, str(tmp_path)],
        cwd=ROOT,
        check=True,
        capture_output=True,
        timeout=50,
    )
    for folder in ("wsrelay/demo", "wsrelay/demo/static"):
        shipped = {file.name for file in (tmp_path / folder).iterdir() if file.is_file()}
        written = {file.name for file in (ROOT / folder).iterdir() if file.is_file()}
        assert shipped == written
    assert (tmp_path / "wsrelay" / "py.typed").exists()
