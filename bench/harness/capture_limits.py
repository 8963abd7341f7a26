"""What the disk and the memory can take at most: fio, dd, and the pack loop without a disk."""

import json
import os
import re
import subprocess

from .capture_meter import Sample, machine_busy_s
from .capture_tools import CAPTURE_CORE, FILE_GB_MAX, Tool, installed, pinned
from .capture_work import GB
from .process import BenchError

OLD_GB = 8               # of a file that is there already
FIO_JOB = ('--rw=write', '--direct=1', '--numjobs=1', '--bs=4m', '--iodepth=8',
           '--ioengine=io_uring')
DD_BLOCK_MB = 4


def run(*command):
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise BenchError(f'{" ".join(command)}: status {done.returncode}: '
                         f'{(done.stderr or done.stdout).strip()[-400:]}')
    return done


def parse_fio(text):
    """Bytes a second and the share of a core, from fio's JSON (which may follow a warning)."""
    job = json.loads(text[text.index('{'):])['jobs'][0]
    if job.get('error'):
        raise BenchError(f'fio: error {job["error"]}')
    return float(job['write']['bw_bytes']), (job['usr_cpu'] + job['sys_cpu']) / 100


def parse_dd(text):
    """Bytes a second, from "2147483648 bytes (2.1 GB, 2.0 GiB) copied, 0.7 s, 3.1 GB/s"."""
    match = re.search(r'^(\d+) bytes.* copied, ([\d.e+-]+) s', text, re.MULTILINE)
    if match is None:
        raise BenchError(f'dd: no rate in what it says: {text!r}')
    return int(match.group(1)) / float(match.group(2))


def filter_cost(bench):
    """Cycles and ns a packet of some filters, and of copying the packet: bench/filter's figures."""
    done = run(*pinned(CAPTURE_CORE, bench.program('bench', 'filter'),
                       *bench.eal(bench.tag('filter'), f'0@{CAPTURE_CORE}'), '--'))
    bench.workspace.drop_files()
    return json.loads(done.stdout[done.stdout.rindex('{"copy"'):])


class Limit(Tool):
    """Writes to the disk without receiving anything."""

    cores = 1

    def old_file(self, bench):
        """A file that was written before, for overwriting."""
        path = bench.disk.file('old')
        if not os.path.exists(path):
            run('dd', 'if=/dev/zero', f'of={path}', f'bs={DD_BLOCK_MB}M', 'oflag=direct',
                f'count={OLD_GB * GB // (DD_BLOCK_MB << 20)}')
        return path


class Fio(Limit):
    name = 'fio'

    def __init__(self, file_mode):
        self.file_mode = file_mode

    def check(self, bench):
        installed('fio', 'fio')

    def measure(self, bench, work):
        tag = bench.tag('fio')
        old = self.file_mode == 'recycled'
        path = self.old_file(bench) if old else bench.disk.file(tag)
        size = OLD_GB * GB if old else FILE_GB_MAX * GB
        # A new file is written once and never wrapped around in; an old one time and again.
        mode = {'fresh': ['--fallocate=none'], 'preallocated': ['--fallocate=posix'],
                'recycled': ['--fallocate=none', '--overwrite=1', '--time_based']}[self.file_mode]
        before = machine_busy_s()
        try:
            done = run(*pinned(CAPTURE_CORE, installed('fio', 'fio'), '--name=limit',
                               f'--filename={path}', *FIO_JOB, *mode,
                               f'--size={size // (4 << 20) * (4 << 20)}',
                               f'--runtime={round(1000 * bench.window_s)}ms',
                               '--output-format=json'))
            bps, share = parse_fio(done.stdout)
        finally:
            bench.disk.drop(tag)
        busy = (machine_busy_s() - before) / bench.window_s
        return Sample(0.0, bps, busy_cores=busy, extra={'cpu_share': share})


class Dd(Limit):
    name = 'dd'

    def __init__(self, file_mode):
        self.file_mode = file_mode

    def measure(self, bench, work):
        tag = bench.tag('dd')
        old = self.file_mode == 'recycled'
        path = self.old_file(bench) if old else bench.disk.file(tag)
        # dd has no clock: what the disk takes in about a window, at 3 GB/s.
        count = round(min(bench.window_s * 3, OLD_GB) * GB) // (DD_BLOCK_MB << 20)
        try:
            done = run(*pinned(CAPTURE_CORE, 'dd', 'if=/dev/zero', f'of={path}',
                               f'bs={DD_BLOCK_MB}M', 'oflag=direct', f'count={count}',
                               *(['conv=notrunc'] if old else [])))
            bps = parse_dd(done.stderr)
        finally:
            bench.disk.drop(tag)
        return Sample(0.0, bps)
