"""Rates between two instants, and what they cost."""

import os
import time
from dataclasses import dataclass, field

from . import process
from .process import BenchError


@dataclass(frozen=True)
class Sample:
    """One window of one contestant."""
    pps: float
    file_bps: float              # bytes a second into the file
    drop_pct: float = None       # None: the tool does not say, or holds its source back
    cycles: float = None         # per packet, by the tool's own account
    cpu_cycles: float = None     # per packet: CPU time of the tool's processes
    busy_cores: float = None     # of the whole machine, kernel threads and the source included
    extra: dict = field(default_factory=dict)


def machine_busy_s():
    """CPU seconds that all cores together were not idle."""
    with open('/proc/stat') as stat:
        fields = [int(x) for x in stat.readline().split()[1:]]
    return (sum(fields[:8]) - fields[3] - fields[4]) / os.sysconf('SC_CLK_TCK')


def processes_cpu_s(pids):
    return sum(seconds for pid in pids for _, seconds in process.cpu_seconds(pid).values())


def watch(counters, pids, window_s):
    """What counters() (a dict of numbers) and the machine went through in a window, a second."""
    def look():
        asked = time.monotonic()
        got = counters()
        # The middle of asking and being answered is when it was so.
        return (asked + time.monotonic()) / 2, got, processes_cpu_s(pids), machine_busy_s()
    begin, first, cpu_begin, busy_begin = look()
    time.sleep(window_s)
    end, last, cpu_end, busy_end = look()
    elapsed = end - begin
    rates = {name: (last[name] - first[name]) / elapsed for name in last}
    return rates, (cpu_end - cpu_begin) / elapsed, (busy_end - busy_begin) / elapsed


def wait_until(good, what, timeout_s, child=None):
    deadline = time.monotonic() + timeout_s
    while not good():
        if child is not None:
            child.check_alive()
        if time.monotonic() > deadline:
            if child is not None:
                child.fail(f'{what} within {timeout_s} s')
            raise BenchError(f'{what} within {timeout_s} s')
        time.sleep(0.01)


def size_of(path):
    try:
        return os.stat(path).st_size
    except FileNotFoundError:
        return 0


def warm_page_cache(wanted, path='/dev/shm'):
    """Touches memory and gives it back to the kernel.

    In a guest whose host takes free memory away, page cache is slow the first time that it is
    used; who writes through the page cache would be measured by that.
    """
    name = os.path.join(path, f'sluice-bench-{os.getpid()}')
    piece = bytes(8 << 20)
    try:
        with open(name, 'wb', buffering=0) as file:
            for _ in range(-(-wanted // len(piece))):
                file.write(piece)
    except OSError:
        pass  # a small /dev/shm warms what it can
    finally:
        if os.path.exists(name):
            os.unlink(name)
