"""Who captures: ours, the tools of DPDK, and those of the kernel."""

import json
import mmap
import os
import re
import shutil
import signal
import struct
import subprocess
import time

from . import capture_meter as meter
from .capture_meter import Sample
from .capture_work import GB
from .process import BenchError, Child
from .sluice import Control

SOURCE_CORE = 0     # of the application looked into, the generator, or our I/O lcore
CAPTURE_CORE = 1
WARM_S = 0.7        # from the first packets in the file to the window
RING_FILES = 4
RING_FILE_GB = 2
FILE_GB_MAX = 20    # of a file that does not rotate
MEMORY_MB = 1500
KERNEL_BUFFER_MB = 256
BUFFERED_BYTES = 3 << 30       # about a second and a half and a window, at 1 GB/s
GENERATOR_PPS_MAX = 1e6        # what testpmd gets into a veth at the very most
FILE_MODES = ('fresh', 'grown', 'preallocated', 'recycled')


class Bench:
    """What all contestants share."""

    def __init__(self, workspace, disk, build, hz, window_s):
        self.workspace = workspace
        self.disk = disk
        self.build = build
        self.hz = hz
        self.window_s = window_s
        self.serial = 0

    def tag(self, name):
        self.serial += 1
        return f'{name}-{self.serial}'

    def log(self, tag):
        return os.path.join(self.workspace.directory, f'{tag}.log')

    def program(self, *path):
        found = os.path.join(self.build, *path)
        if not os.access(found, os.X_OK):
            raise BenchError(f'{found} is not there; build first (scripts/build) or give --build')
        return found

    def eal(self, tag, lcores):
        memory = (['--huge-dir', self.workspace.huge_dir] if self.workspace.huge_dir
                  else ['--no-huge'])
        return ['--lcores', lcores, '--no-pci', '--no-telemetry', '--file-prefix',
                f'{tag}-{os.getpid()}', *memory, '-m', str(MEMORY_MB)]

    def finish(self, *children):
        for child in children:
            if child is not None:
                child.end()
        self.workspace.drop_files()

    def sample(self, rates, cpu, busy, pps, **more):
        return Sample(pps, rates['bytes'], cpu_cycles=cpu * self.hz / pps, busy_cores=busy, **more)


def pinned(core, *command):
    return ['taskset', '-c', str(core), *command]


def installed(name, package):
    path = shutil.which(name) or shutil.which(name, path='/usr/sbin:/sbin')
    if path is None:
        raise BenchError(f'{name} is not installed (Debian: apt-get install {package})')
    return path


class Tool:
    """A contestant that is started for each window, so that each window has a new file."""

    name = ''
    cores = 0
    file_mode = 'fresh'

    def page_cache_bytes(self, work):
        """What it writes through the page cache before its window is over; 0: nothing."""
        return 0

    def check(self, bench):
        """Raises BenchError if it cannot run here."""

    def measure(self, bench, work):
        raise NotImplementedError

    def grow(self, bench, path, work, child, pids):
        """The rates of a file that grows by whole records."""
        meter.wait_until(lambda: meter.size_of(path) > (1 << 20), 'its file does not grow', 15,
                         child)
        time.sleep(WARM_S)
        rates, cpu, busy = meter.watch(lambda: {'bytes': meter.size_of(path)}, pids,
                                       bench.window_s)
        if rates['bytes'] <= 0:
            child.fail('its file does not grow')
        return rates, cpu, busy, rates['bytes'] / work.record


def rows_sum(rows, name):
    return sum(row.get(name) or 0 for row in rows)


def account(row):
    """What is missing in received = written + left out + dropped."""
    gone = sum(row.get(name) or 0 for name in ('written', 'filtered', 'sampled_out', 'cut_off'))
    return row['received'] - gone - sum((row.get('drops') or {}).values())


def stages_of(row):
    """Cycles a packet by stage, or None for a run that had no lanes."""
    stages = {'receive_and_pack': row.get('cycles_per_packet'),
              'write': row.get('writer_cycles_per_packet')}
    return stages if stages['write'] is not None else None


def final_report(log):
    """The object that --json prints at the end."""
    for line in reversed(log.splitlines()):
        if line.startswith('{'):
            try:
                return json.loads(line)
            except json.JSONDecodeError:
                break
    raise BenchError(f'sluice-capture: no report at its end: {log[-400:]!r}')


class Ours(Tool):
    name = 'sluice-capture'

    def __init__(self, cores, file_mode, options=(), variant=None):
        self.cores = cores
        self.file_mode = file_mode
        self.options = options       # further arguments
        self.variant = variant       # how such a row is called

    def check(self, bench):
        bench.program('app', 'sluice-capture')

    def file_arguments(self, bench, tag):
        if self.file_mode == 'null':
            return ['--null'], None
        if self.file_mode == 'none':
            return ['--io', 'none'], None
        if self.file_mode == 'recycled':
            # The same ring for all rows and repetitions: it is there from the first round on.
            return ['-w', bench.disk.file('ring.pcap'), '-b', f'filesize:{RING_FILE_GB * 10**6}',
                    '-b', f'files:{RING_FILES}'], None
        path = bench.disk.file(f'{tag}.pcap')
        ahead = {'fresh': [], 'grown': ['--prealloc', '0'],
                 'preallocated': ['--prealloc', f'{FILE_GB_MAX}G']}[self.file_mode]
        return ['-w', path, *ahead, '-a', f'filesize:{FILE_GB_MAX * 10**6}'], path

    def command(self, bench, tag, work, socket):
        # One core is one in all: also the control thread and io_uring's helpers go there.
        lcores, placement = f'0@{CAPTURE_CORE},1@{CAPTURE_CORE}', []
        if self.cores == 2:
            lcores = f'0@{SOURCE_CORE},1@{CAPTURE_CORE},2@{SOURCE_CORE}'
            placement = ['--io-lcore', '2']
        where, _ = self.file_arguments(bench, tag)
        return [bench.program('app', 'sluice-capture'), *bench.eal(tag, lcores), '--vdev',
                work.device, '--', '-i', work.port, *where, '-q', '--json', '--socket', socket,
                *placement, *self.options]

    def counters(self, control):
        if self.file_mode == 'null':  # there is no capture to show
            rows = control.run('show port stats all')
            return {'received': rows_sum(rows, 'rx_packets'), 'bytes': 0, 'dropped': 0}
        rows = control.run('show capture')
        return {**{name: rows_sum(rows, name) for name in ('received', 'written')},
                'bytes': rows_sum(rows, 'file_bytes'),
                'dropped': sum(sum(row['drops'].values()) for row in rows)}

    def measure(self, bench, work):
        tag = bench.tag('ours')
        socket = os.path.join(bench.workspace.directory, f'{tag}.sock')
        control = None
        child = Child(self.name, self.command(bench, tag, work, socket), bench.log(tag))
        try:
            meter.wait_until(lambda: os.path.exists(socket), 'no control socket', 30, child)
            control = Control(socket)

            def counters():
                return self.counters(control)
            # With a filter it is the rate of packets that are judged.
            key = 'received' if self.file_mode == 'null' or '-f' in self.options else 'written'
            meter.wait_until(lambda: counters()[key] > 0, 'nothing is captured', 15, child)
            if self.file_mode == 'recycled':
                # One lap, so that also the file that the last run cut short is whole again.
                lap = RING_FILES * RING_FILE_GB * GB
                meter.wait_until(lambda: counters()['bytes'] > lap, 'the ring is not round', 60,
                                 child)
            else:
                time.sleep(WARM_S)
            rates, cpu, busy = meter.watch(counters, [child.pid], bench.window_s)
            code = child.end()
            report = final_report(child.log())
            if code != 0:
                child.fail(f'ended with status {code}')
        finally:
            if control is not None:
                control.close()
            bench.finish(child)
            bench.disk.drop(tag)
        return self.sample_of(bench, rates, cpu, busy, report, key)

    def sample_of(self, bench, rates, cpu, busy, report, key):
        for row in report['captures']:
            if 'written' in row and account(row) != 0:  # --null has nothing to account for
                raise BenchError(f'{self.name}: {account(row)} packets are not accounted for: '
                                 f'{json.dumps(row)}')
        pps = rates[key]
        if pps <= 0:
            raise BenchError(f'{self.name}: nothing was captured in the window')
        offered = rates['received']
        last = report['captures'][0]
        return bench.sample(rates, cpu, busy, pps, drop_pct=100 * rates['dropped'] / offered,
                            cycles=last.get('cycles_per_packet'),
                            extra={'io': last.get('io'), 'offered_pps': offered,
                                   'stamp_error_ns': last.get('stamp_error_ns'),
                                   'stages': stages_of(last)})


class Primary:
    """The application whose port dpdk-dumpcap and dpdk-pdump look into."""

    def __init__(self, bench, tag, work):
        self.counter = os.path.join(bench.workspace.directory, f'{tag}.count')
        self.prefix = f'{tag}-{os.getpid()}'
        self.child = Child('primary', [bench.program('bench', 'primary'),
                                       *bench.eal(tag, f'0@{SOURCE_CORE}'), '--vdev', work.device,
                                       '--', '--count', self.counter], bench.log(tag))
        self.child.wait_log('receiving', 30)
        with open(self.counter, 'rb') as file:
            self.map = mmap.mmap(file.fileno(), 8, prot=mmap.PROT_READ)

    def received(self):
        return struct.unpack('<Q', self.map[:8])[0]


class LooksIn(Tool):
    """A secondary process beside a primary."""

    cores = 2            # the callback in the primary copies, the tool writes

    def page_cache_bytes(self, work):
        return BUFFERED_BYTES

    def check(self, bench):
        installed(self.name, 'dpdk-dev' if self.name != 'dpdk-pdump' else 'dpdk')
        bench.program('bench', 'primary')
        if bench.workspace.huge_dir is None:
            raise BenchError(f'{self.name}: needs hugepages ({bench.workspace.why_no_hugepages})')

    def command(self, primary, path):
        raise NotImplementedError

    def measure(self, bench, work):
        tag = bench.tag(self.name)
        path = bench.disk.file(f'{tag}.pcap')
        primary = child = None
        try:
            primary = Primary(bench, f'{tag}-primary', work)
            child = Child(self.name, self.command(primary, path), bench.log(tag))
            offered = []

            def counters():
                offered.append(primary.received())
                return {'bytes': meter.size_of(path), 'received': offered[-1]}
            meter.wait_until(lambda: meter.size_of(path) > (1 << 20), 'its file does not grow',
                             15, child)
            time.sleep(WARM_S)
            rates, cpu, busy = meter.watch(counters, [child.pid], bench.window_s)
            if rates['bytes'] <= 0:
                child.fail('its file does not grow')
            pps = rates['bytes'] / work.record
            if child.process.poll() is None:
                child.process.send_signal(signal.SIGINT)
                try:
                    child.process.wait(10)
                except subprocess.TimeoutExpired:
                    pass  # end() is less polite
        finally:
            bench.finish(child, primary and primary.child)
            bench.disk.drop(tag)
        drop = max(0.0, 100 * (1 - pps / rates['received']))
        return bench.sample(rates, cpu, busy, pps, drop_pct=drop,
                            extra={'offered_pps': rates['received']})


class Dumpcap(LooksIn):
    name = 'dpdk-dumpcap'

    def command(self, primary, path):
        return pinned(CAPTURE_CORE, installed(self.name, 'dpdk-dev'),
                      f'--file-prefix={primary.prefix}', '-i', '0', '-q', '-P', '-N', '65536',
                      '-w', path)


class Pdump(LooksIn):
    name = 'dpdk-pdump'

    def command(self, primary, path):
        return [installed(self.name, 'dpdk'), '--lcores', f'2@{CAPTURE_CORE}',
                f'--file-prefix={primary.prefix}', '--', '--pdump',
                f'port=0,queue=*,rx-dev={path},ring-size=16384,mbuf-size=2176,'
                'total-num-mbufs=65535']


class TestpmdPcap(Tool):
    """testpmd in io mode between the source and a net_pcap port that writes."""

    name = 'testpmd net_pcap'
    cores = 1

    def page_cache_bytes(self, work):
        return BUFFERED_BYTES

    def check(self, bench):
        installed('dpdk-testpmd', 'dpdk-dev')

    def measure(self, bench, work):
        tag = bench.tag('testpmd')
        path = bench.disk.file(f'{tag}.pcap')
        child = Child(self.name, [
            installed('dpdk-testpmd', 'dpdk-dev'),
            *bench.eal(tag, f'0@{SOURCE_CORE},1@{CAPTURE_CORE}'), '--vdev', work.device,
            '--vdev', f'net_pcap1,tx_pcap={path}', '--', '--forward-mode=io',
            '--port-topology=paired', '--auto-start', '--nb-cores=1', '--burst=64',
            '--total-num-mbufs=65536', '--stats-period', '3600'], bench.log(tag))
        try:
            rates, cpu, busy, pps = self.grow(bench, path, work, child, [child.pid])
        finally:
            bench.finish(child)
            bench.disk.drop(tag)
        return bench.sample(rates, cpu, busy, pps)  # it holds its source back


class Namespace:
    """A network namespace with a veth pair; testpmd sends into one end of it."""

    def __init__(self, bench, tag, work):
        self.name = f'sluice-{os.getpid()}-{bench.serial}'
        self.bench = bench
        self.child = None
        self.run('ip', 'netns', 'add', self.name)
        try:
            self.run(*self.inside('ip', 'link', 'add', 'vc0', 'type', 'veth', 'peer', 'name',
                                  'vc1'))
            for end in ('vc0', 'vc1'):
                self.run(*self.inside('sysctl', '-qw', f'net.ipv6.conf.{end}.disable_ipv6=1'))
                self.run(*self.inside('ip', 'link', 'set', end, 'mtu', '2000', 'up'))
            self.child = Child('generator', self.inside(
                installed('dpdk-testpmd', 'dpdk-dev'),
                *bench.eal(tag, f'0@{SOURCE_CORE},1@{SOURCE_CORE}'), '--vdev', work.device,
                '--vdev', 'net_af_packet1,iface=vc0,qdisc_bypass=1,blocksz=1048576,framesz=2048,'
                'framecnt=2048', '--', '--forward-mode=io', '--port-topology=paired',
                '--auto-start', '--burst=64', '--stats-period', '3600'), bench.log(tag))
        except BaseException:
            self.close()
            raise

    def inside(self, *command):
        return ['ip', 'netns', 'exec', self.name, *command]

    def run(self, *command):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise BenchError(f'{" ".join(command)}: {done.stderr.strip()}')

    def close(self):
        if self.child is not None:
            self.child.end()
        subprocess.run(['ip', 'netns', 'del', self.name], capture_output=True, check=False)


def tcpdump_drop(log):
    """Per cent, from what tcpdump says at its end."""
    received = re.search(r'(\d+) packets? received by filter', log)
    dropped = re.search(r'(\d+) packets? dropped by kernel', log)
    if received is None or dropped is None:
        return None
    total = int(received.group(1))
    # Packets that had no room count as received by the filter, too.
    return 100 * int(dropped.group(1)) / total if total else None


def netsniff_drop(log):
    """Per cent, from what netsniff-ng says at its end."""
    counts = re.search(r'(\d+)\s+packets passed filter.*?(\d+)\s+packets failed filter', log,
                       re.DOTALL)
    if counts is None:
        return None
    passed, failed = map(int, counts.groups())
    return 100 * failed / (passed + failed) if passed + failed else None


class KernelTool(Tool):
    cores = 1
    package = ''
    drop_of = None

    def page_cache_bytes(self, work):
        return int(GENERATOR_PPS_MAX * work.record * (WARM_S + 3))

    def command(self, path):
        raise NotImplementedError

    def check(self, bench):
        installed(self.name, self.package)
        installed('dpdk-testpmd', 'dpdk-dev')
        installed('ip', 'iproute2')
        if os.geteuid() != 0:
            raise BenchError(f'{self.name}: a network namespace needs root')

    def measure(self, bench, work):
        tag = bench.tag(self.name)
        path = bench.disk.file(f'{tag}.pcap')
        namespace = child = None
        try:
            namespace = Namespace(bench, f'{tag}-generator', work)
            child = Child(self.name, namespace.inside(*self.command(path)), bench.log(tag))
            rates, cpu, busy, pps = self.grow(bench, path, work, child, [child.pid])
            namespace.child.end()
            child.process.send_signal(signal.SIGINT)
            try:
                child.process.wait(10)
            except subprocess.TimeoutExpired:
                pass  # end() is less polite
            drop = type(self).drop_of(child.log())
        finally:
            if child is not None:
                child.end()
            if namespace is not None:
                namespace.close()
            bench.workspace.drop_files()
            bench.disk.drop(tag)
        return bench.sample(rates, cpu, busy, pps, drop_pct=drop, extra={'bound_by': 'generator'})


class Tcpdump(KernelTool):
    name = 'tcpdump'
    package = 'tcpdump'
    drop_of = staticmethod(tcpdump_drop)

    def command(self, path):
        return pinned(CAPTURE_CORE, installed('tcpdump', 'tcpdump'), '-i', 'vc1', '-n', '-s', '0',
                      '-Z', 'root', '-B', str(KERNEL_BUFFER_MB * 1024), '-w', path)


class Netsniff(KernelTool):
    name = 'netsniff-ng'
    package = 'netsniff-ng'
    drop_of = staticmethod(netsniff_drop)

    def command(self, path):
        return pinned(CAPTURE_CORE, installed('netsniff-ng', 'netsniff-ng'), '--in', 'vc1',
                      '--out', path, '--silent', '--ring-size', f'{KERNEL_BUFFER_MB}MiB',
                      '--bind-cpu', str(CAPTURE_CORE), '--no-sock-mem')
