"""The machine: hugepages, cores, and the facts that belong beside every number."""

import os
import re
import shutil
import subprocess
import tempfile
import time

from .process import BenchError

PAGES_FILE = '/proc/sys/vm/nr_hugepages'
PAGES_WANTED = 1900  # two roles and two testpmds with mbufs of 64 KiB, and some to spare


def _read(path):
    with open(path) as file:
        return file.read()


def _output(*command, cwd=None):
    try:
        done = subprocess.run(command, capture_output=True, text=True, cwd=cwd, check=False)
    except OSError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def tsc_hz():
    """On x86 bogomips is twice the TSC's rate, which "cpu MHz" need not be."""
    info = _read('/proc/cpuinfo')
    match = re.search(r'^bogomips\s*:\s*([\d.]+)', info, re.MULTILINE)
    if match is None:
        raise BenchError('/proc/cpuinfo has no bogomips; the rate of the TSC is not known')
    return float(match.group(1)) / 2 * 1e6


def facts(root):
    model = re.search(r'^model name\s*:\s*(.*)', _read('/proc/cpuinfo'), re.MULTILINE)
    revision = _output('git', 'rev-parse', 'HEAD', cwd=root)
    dirty = _output('git', 'status', '--porcelain', '--untracked-files=no', cwd=root)
    return {'cpu': model.group(1) if model else 'unknown', 'cores': os.cpu_count(),
            'tsc_hz': tsc_hz(), 'kernel': os.uname().release,
            'dpdk': _output('pkg-config', '--modversion', 'libdpdk'),
            'testpmd': _output('dpkg-query', '-W', '-f', '${Version}', 'dpdk-dev'),
            'revision': revision, 'dirty': bool(dirty),
            'time': time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())}


class Workspace:
    """A temporary directory, and hugepages of our own where the machine lets us have them."""

    def __init__(self, pages=PAGES_WANTED, hugepages=True):
        self.directory = tempfile.mkdtemp(prefix='sluice-bench-')
        self.huge_dir = None
        self.why_no_hugepages = 'not asked for'
        self._pages_before = None
        if hugepages:
            self._reserve(pages)

    def _reserve(self, pages):
        free = int(re.search(r'HugePages_Free:\s*(\d+)', _read('/proc/meminfo')).group(1))
        size_kb = int(re.search(r'Hugepagesize:\s*(\d+)', _read('/proc/meminfo')).group(1))
        if size_kb != 2048:
            self.why_no_hugepages = f'hugepages have {size_kb} KiB here'
            return
        before = int(_read(PAGES_FILE))
        try:
            if free < pages:
                with open('/proc/sys/vm/compact_memory', 'w') as file:
                    file.write('1')
                with open(PAGES_FILE, 'w') as file:
                    file.write(str(before + pages - free))
                self._pages_before = before
        except OSError as error:
            self.why_no_hugepages = f'cannot reserve them ({error.strerror})'
            return
        free = int(re.search(r'HugePages_Free:\s*(\d+)', _read('/proc/meminfo')).group(1))
        huge_dir = os.path.join(self.directory, 'huge')
        os.mkdir(huge_dir)
        if free < pages:
            self.why_no_hugepages = f'only {free} of {pages} could be reserved'
        elif subprocess.run(['mount', '-t', 'hugetlbfs', '-o', 'pagesize=2M', 'none', huge_dir],
                            capture_output=True, check=False).returncode != 0:
            self.why_no_hugepages = 'cannot mount hugetlbfs'
        else:
            self.huge_dir = huge_dir
            self.why_no_hugepages = None
            return
        self._give_back()

    def _give_back(self):
        if self._pages_before is not None:
            with open(PAGES_FILE, 'w') as file:
                file.write(str(self._pages_before))
            self._pages_before = None

    def memory_args(self, megabytes):
        if self.huge_dir is None:
            return ['--no-huge', '-m', str(megabytes)]
        # virtio-user passes at most 8 memory regions on, hence a single file.
        return ['--huge-dir', self.huge_dir, '--single-file-segments', '-m', str(megabytes)]

    def drop_files(self):
        """EAL leaves its maps behind, which would keep the pages from the next process."""
        if self.huge_dir is not None:
            for name in os.listdir(self.huge_dir):
                os.unlink(os.path.join(self.huge_dir, name))

    def facts(self):
        return {'hugepages': self.huge_dir is not None, 'why_no_hugepages': self.why_no_hugepages}

    def close(self):
        if self.huge_dir is not None:
            self.drop_files()
            subprocess.run(['umount', self.huge_dir], check=False)
            self.huge_dir = None
        self._give_back()
        shutil.rmtree(self.directory, ignore_errors=True)
