"""Our side: sluice-vswitch and sluice-guest, each driven through its control socket."""

import json
import os
import socket
import time

from . import machine
from .contest import GUEST_CORE, HOST_CORE, QUEUE_SIZE, Pair, Sample, lcores, vhost, virtio_user
from .process import BenchError, Child

DIF = 'hv'
SERVER = 'bench-server'
CLIENT = 'bench-client'
READY = 'ready, control socket'
WINDOW_UNITS = 4096  # credits a flow, the role's default
BACKLOG = 128        # mbufs before the ring
TGEN_POOL = 2047     # mbufs that tgen may have under way
HELD_BESIDES = 2048   # mbufs in caches and bursts


class Control:
    """A connection to a role's control socket: JSON-RPC 2.0, one message a line."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(20)
        self.socket.connect(path)
        self.buffer = b''
        self.next_id = 1

    def run(self, line):
        request = {'jsonrpc': '2.0', 'id': self.next_id, 'method': 'console.execute',
                   'params': {'line': line}}
        self.next_id += 1
        self.socket.sendall(json.dumps(request).encode() + b'\n')
        while b'\n' not in self.buffer:
            piece = self.socket.recv(1 << 20)
            if not piece:
                raise BenchError(f'"{line}": the role closed its control socket')
            self.buffer += piece
        answer, self.buffer = self.buffer.split(b'\n', 1)
        answer = json.loads(answer)
        if 'error' in answer:
            raise BenchError(f'"{line}": {answer["error"].get("message", answer["error"])}')
        return answer['result']['value']

    def close(self):
        self.socket.close()


class Role:
    """One running process of ours."""

    def __init__(self, program, workspace, tag, lcore_args, config, memory_mb):
        path = os.path.join(workspace.directory, tag)
        with open(path + '.toml', 'w') as file:
            file.write(config)
        command = [program, *lcore_args, '--no-pci', '--file-prefix', f'{tag}-{os.getpid()}',
                   *workspace.memory_args(memory_mb), '--', '--config', path + '.toml']
        self.control = None
        self.child = Child(tag, command, path + '.log')
        try:
            self.child.wait_log(READY, 30)
            self.control = Control(path + '.control')
        except BaseException:
            self.close()
            raise

    def run(self, line):
        try:
            return self.control.run(line)
        except OSError as error:
            self.child.check_alive()
            self.child.fail(f'"{line}": {error}')

    def rows(self, line):
        value = self.run(line)
        return value if isinstance(value, list) else [value]

    def wait(self, line, good, timeout_s, what):
        deadline = time.monotonic() + timeout_s
        while True:
            rows = self.rows(line)
            found = [row for row in rows if good(row)]
            if found:
                return found[-1]
            if time.monotonic() > deadline:
                self.child.fail(f'{what} ("{line}" says {json.dumps(rows)[:400]})')
            time.sleep(0.005)

    def close(self):
        if self.control is not None:
            self.control.close()
            self.control = None
        self.child.end()


def credit_unit(point):
    return 1 << (point.mbuf_data - 1).bit_length()


def config_text(tag, directory, device, idle, point, port_lcore=None, tgen_lcore=None):
    lines = ['[runtime]', f'socket = "{directory}/{tag}.control"', f'idle = "{idle}"',
             '[mempool]', f'data_size = {point.mbuf_data}',
             '[[port]]', f'name = "{DIF}"', 'kind = "vmpi"', f'device = "{device}"',
             f'rx_descriptors = {QUEUE_SIZE}', f'tx_descriptors = {QUEUE_SIZE}']
    if port_lcore is not None:
        lines.append(f'lcore = {port_lcore}')
    # What waits before the ring goes cold: with the default backlog of 4096 mbufs the sender works
    # through tens of megabytes. A ring full of mbufs and some to work with are enough for tgen; a
    # pool no larger than the ring would leave it without any, as virtio frees only when it sends.
    # A credit is worth one mbuf. With units of 2 KiB the default window would be 128 SDUs of 65000
    # bytes, and both sides would wait for credits a quarter of the time.
    lines += ['[port.vmpi]', f'backlog = {BACKLOG}', f'credit_unit = {credit_unit(point)}',
              f'window = {WINDOW_UNITS}', '[tgen]', f'pool = {TGEN_POOL}']
    if tgen_lcore is not None:
        lines.append(f'lcore = {tgen_lcore}')
    lines += ['[[app]]', f'name = "{SERVER}"', f'dif = "{DIF}"', 'kind = "tgen"']
    return '\n'.join(lines) + '\n'


def memory_mb(point):
    mbufs = 2 * QUEUE_SIZE + WINDOW_UNITS + BACKLOG + HELD_BESIDES
    rounded = 1 << mbufs.bit_length()  # as the role's plan does
    return (rounded + TGEN_POOL) * (point.mbuf_data + 512) // (1 << 20) + 128


def programs(build):
    found = [os.path.join(build, 'app', name) for name in ('sluice-vswitch', 'sluice-guest')]
    for path in found:
        if not os.access(path, os.X_OK):
            raise BenchError(f'{path} is not there; build first (scripts/build) or give --build')
    return found


def lcore_cycles(role):
    """Busy cycles of all worker lcores, and cycles a stage, both since the start."""
    busy, stages = 0, {}
    for row in role.rows('show lcores'):
        busy += row['cycles']['busy']
        for stage in row['stages']:
            cycles = stage['cycles_per_packet'] * stage['packets']
            stages[stage['stage']] = stages.get(stage['stage'], 0.0) + cycles
    return busy, stages


class SluicePair(Pair):
    name = 'sluice'

    def __init__(self, workspace, point, tag, build, idle='adaptive', placement=None):
        """placement: what comes after `point` in config_text() and the EAL's lcores, a side."""
        vswitch, guest = programs(build)
        path = os.path.join(workspace.directory, f'{tag}.sock')
        self.point = point
        self.hz = machine.tsc_hz()
        self.host = self.guest = None
        placement = placement or {}
        try:
            self.host = self._start(workspace, vswitch, f'{tag}-host', HOST_CORE, vhost(path), idle,
                                    placement.get('host', {}))
            self.guest = self._start(workspace, guest, f'{tag}-guest', GUEST_CORE,
                                     virtio_user(point.ring, path), idle,
                                     placement.get('guest', {}))
            for side in (self.host, self.guest):
                side.wait('show vmpi all', lambda row: row['state'] == 'up', 20,
                          'its VMPI device does not come up')
            self.version = self.host.rows('show version')[0]
        except BaseException:
            self.close()
            raise

    def _start(self, workspace, program, tag, core, device, idle, place):
        place = dict(place)
        lcore_args = place.pop('lcores', lcores(core))
        config = config_text(tag, workspace.directory, device, idle, self.point, **place)
        return Role(program, workspace, tag, lcore_args, config, memory_mb(self.point))

    def pids(self):
        return [self.host.child.pid, self.guest.child.pid]

    def sides(self, direction):
        host_sends = direction == 'host-to-guest'
        return (self.host, self.guest) if host_sends else (self.guest, self.host)

    def start_run(self, direction, words):
        """(sender, its run, receiver, its run), once SDUs flow."""
        sender, receiver = self.sides(direction)
        before = {row['run'] for row in receiver.rows('show tgen all') if row}
        run = sender.run(f'start tgen {DIF} {CLIENT} {SERVER} {words}')['run']
        deadline = time.monotonic() + 20
        while True:
            for row in receiver.rows('show tgen all'):
                if (row and row['role'] == 'server' and row['run'] not in before
                        and row['sdus_received'] > 0):
                    return sender, run, receiver, row['run']
            own = sender.rows(f'show tgen {run}')[0]
            if own['state'] == 'failed':
                sender.child.fail(f'run {run} failed: {own["failure"]}')
            if time.monotonic() > deadline:
                receiver.child.fail(f'nothing arrives; the sender says {json.dumps(own)}')
            time.sleep(0.005)

    @staticmethod
    def received(receiver, run):
        """(time, SDUs): the middle of asking and being answered is when it was so."""
        asked = time.monotonic()
        row = receiver.rows(f'show tgen {run}')[0]
        return (asked + time.monotonic()) / 2, row['sdus_received']

    @staticmethod
    def finished(role, run):
        row = role.wait(f'show tgen {run}', lambda r: r['state'] in ('done', 'failed'), 20,
                        f'run {run} does not end')
        # A run whose report got lost was measured all the same; the row counts how often.
        if row['state'] == 'failed' and not row['failure'].startswith('no_report'):
            role.child.fail(f'run {run} failed: {row["failure"]}')
        return row

    def measure(self, direction, warm_s, window_s):
        sender, run, receiver, server_run = self.start_run(
            direction, f'size {self.point.size} mode plain')
        time.sleep(warm_s)
        busy_begin, stages_begin = lcore_cycles(self.host)
        begin, first = self.received(receiver, server_run)
        time.sleep(window_s)
        end, last = self.received(receiver, server_run)
        busy_end, stages_end = lcore_cycles(self.host)
        sender.run(f'stop tgen {run}')
        row = self.finished(sender, run)
        sdus = last - first
        if sdus <= 0:
            receiver.child.fail('received nothing in the window')
        pps = sdus / (end - begin)
        report = row['report'] or {}
        stages = {name: (cycles - stages_begin.get(name, 0.0)) / sdus
                  for name, cycles in stages_end.items()}
        extra = {'stages': stages, 'lost': report.get('lost'), 'reported': bool(report)}
        if report.get('elapsed_ns'):
            extra['report_pps'] = report['sdus'] / report['elapsed_ns'] * 1e9
        return Sample(pps, self.hz / pps, (busy_end - busy_begin) / sdus, extra)

    def close(self):
        for side in (self.guest, self.host):
            if side is not None:
                side.close()
        self.host = self.guest = None
