"""CPU and memory that processes use, from /proc (Linux), and the limit of open files."""

import os
import resource
from pathlib import Path
from typing import Final

_TICKS: Final = os.sysconf("SC_CLK_TCK")


def allow_many_files() -> int:
    """Raise this process's limit of open files to its hard limit, and return it."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return most


def cpu_seconds(pid: int) -> float:
    """Return user and system time of a process and its descendants, ended ones included."""
    return sum(sum(_times(each)) for each in _tree(pid))


def own_cpu_seconds(pid: int) -> float:
    """Return user and system time of a process without its descendants."""
    return sum(_times(pid)[:2])


def resident_kib(pid: int) -> int:
    """Return the proportional set size (Pss) of a process and its living descendants."""
    return sum(_resident_kib(each) for each in _tree(pid))


def _tree(pid: int) -> list[int]:
    found = [pid]
    for each in found:
        for children in Path(f"/proc/{each}/task").glob("*/children"):
            found += map(int, _read(children).split())
    return found


def _times(pid: int) -> list[float]:
    # proc_pid_stat(5): the name in brackets may contain spaces; utime, stime, cutime and cstime
    # (of children that were waited for) are the 14th to 17th
    words = _read(Path(f"/proc/{pid}/stat")).rpartition(")")[2].split()
    return [int(word) / _TICKS for word in words[11:15]]


def _resident_kib(pid: int) -> int:
    for line in _read(Path(f"/proc/{pid}/smaps_rollup")).splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1])
    return 0


def _read(path: Path) -> str:
    """Return the file's text, empty if the process has ended meanwhile."""
    try:
        return path.read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""
