"""What the machine says: CPU time of processes and cores, pinning, facts for the report. Linux."""

import contextlib
import os
import platform
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
IDLE_COLUMNS = (4, 5)  # of a cpu line in /proc/stat: idle, iowait
GUEST_COLUMNS = 9  # guest times are counted in user time already


@dataclass(frozen=True, slots=True)
class Where:
    """A server's processes, and the core that they are pinned to where they are."""

    pids: tuple[int, ...]
    core: int | None


@dataclass(frozen=True, slots=True)
class Spent:
    """What passed between two samples: seconds, and shares of a core."""

    seconds: float
    own_cpu: float
    server_cpu: float | None
    own_core_others: float | None
    server_core_others: float | None


@dataclass(frozen=True, slots=True)
class Sample:
    """The clocks at one moment: wall, this process, the server, and both of their cores."""

    wall: float
    own: float
    own_core: float | None
    server: float | None
    server_core: float | None

    @classmethod
    def now(cls, server: Where | None) -> "Sample":
        """Read all clocks."""
        return cls(
            time.perf_counter(),
            time.process_time(),
            core_busy(pinned_core()),
            None if server is None else sum(map(process_cpu, server.pids)),
            None if server is None else core_busy(server.core),
        )

    def __sub__(self, before: "Sample") -> Spent:
        seconds = self.wall - before.wall
        own = self.own - before.own
        server = difference(self.server, before.server)
        return Spent(
            seconds,
            own,
            server,
            others(difference(self.own_core, before.own_core), own, seconds),
            others(difference(self.server_core, before.server_core), server, seconds),
        )


def difference(after: float | None, before: float | None) -> float | None:
    """Subtract, where both are known."""
    return None if after is None or before is None else after - before


def others(busy: float | None, own: float | None, seconds: float) -> float | None:
    """Tell the share of a core that went to anybody but the process pinned to it."""
    return None if busy is None or own is None else max(0.0, busy - own) / seconds


def process_cpu(pid: int) -> float:
    """Tell the CPU seconds of a whole process, all its threads.

    The same sum as utime + stime of /proc/PID/stat, in nanoseconds instead of ticks of 10 ms: the
    process's CPU clock, whose number the kernel derives from the PID (clock_getcpuclockid(3)).
    """
    return time.clock_gettime((~pid << 3) | 2)


def family(pid: int) -> tuple[int, ...]:
    """Find a process and all that descend from it, as they are now."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it ended just now
            parent = int(stat.read_bytes().rpartition(b")")[2].split()[1])
            children.setdefault(parent, []).append(int(stat.parent.name))
    found = [pid]
    for member in found:
        found += children.get(member, [])
    return tuple(found)


def resident(pids: Iterable[int]) -> int:
    """Tell the bytes of memory (RSS) that processes have."""
    pages = (int(Path(f"/proc/{pid}/statm").read_text("ascii").split()[1]) for pid in pids)
    return sum(pages) * os.sysconf("SC_PAGE_SIZE")


def core_busy(core: int | None) -> float | None:
    """Tell the seconds that a core was not idle since boot, in ticks of 10 ms."""
    if core is None:
        return None
    with open("/proc/stat", encoding="ascii") as lines:
        for line in lines:
            fields = line.split()
            if fields[0] == f"cpu{core}":
                ticks = map(int, fields[1:GUEST_COLUMNS])
                spent = [t for column, t in enumerate(ticks, 1) if column not in IDLE_COLUMNS]
                return sum(spent) / TICKS
    return None


def pinned_core() -> int | None:
    """Tell the one core that this process may run on, None if there are several."""
    cores = os.sched_getaffinity(0)
    return next(iter(cores)) if len(cores) == 1 else None


@contextlib.contextmanager
def pinned(core: int) -> Iterator[None]:
    """Pin this thread to a core for a while: a process started inside inherits it."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def facts(packages: Iterable[str] = ("wsrelay", "picows", "uvloop")) -> dict[str, object]:
    """Collect what a reader needs to know about the machine, and the versions of packages."""
    return {
        "cpu": cpu_model(),
        "cores": len(os.sched_getaffinity(0)),
        "kernel": f"{platform.system()} {platform.release()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "libc": " ".join(platform.libc_ver()),
        "memory_gib": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1),
        "governor": governor(),
        "hypervisor": has_cpu_flag("hypervisor"),
        "packages": {name: installed(name) for name in packages},
        "load_average": os.getloadavg(),
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def cpu_model() -> str:
    """Read the processor's name."""
    return cpu_info("model name") or platform.machine()


def has_cpu_flag(flag: str) -> bool:
    """Tell whether the processor says this of itself; `hypervisor`: it is a virtual machine's."""
    return flag in (cpu_info("flags") or "").split()


def cpu_info(wanted: str) -> str | None:
    """Read a line of the first processor's description."""
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        key, _, value = line.partition(":")
        if key.strip() == wanted:
            return value.strip()
    return None


def governor() -> str | None:
    """Read how the first core's frequency is chosen, None where the kernel does not tell."""
    with contextlib.suppress(OSError):
        path = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
        return path.read_text("ascii").strip()
    return None


def installed(package: str) -> str | None:
    """Tell a package's version, None if it is not there."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None
