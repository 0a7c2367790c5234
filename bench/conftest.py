"""`pytest bench/` measures; any other run of pytest runs each benchmark once, untimed."""

from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.hookimpl(tryfirst=True)  # before pytest-benchmark looks at its options
def pytest_configure(config: pytest.Config) -> None:
    """Switch measuring off where anything but benchmarks was asked for."""
    asked = config.args_source is pytest.Config.ArgsSource.ARGS
    paths = [config.invocation_params.dir / arg.partition("::")[0] for arg in config.args]
    measures = asked and all(path.resolve().is_relative_to(HERE) for path in paths)
    if not measures and not config.getoption("benchmark_enable"):
        config.option.benchmark_disable = True
