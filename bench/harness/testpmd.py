"""testpmd as the yardstick: txonly on one side of the ring, rxonly on the other."""

import os
import re
import shutil
import time

from . import machine
from .contest import (CHAINED_MBUF, GUEST_CORE, HOST_CORE, QUEUE_SIZE, Pair, Sample, lcores, vhost,
                      virtio_user)
from .process import BenchError, Terminal

PROMPT = 'testpmd>'
HEADROOM = 128
SEGMENTS_MAX = 255


def segments(frame, mbuf_data):
    """The lengths for "set txpkts": full mbufs and a rest."""
    full, rest = divmod(frame, mbuf_data)
    lengths = [mbuf_data] * full + ([rest] if rest else [])
    if len(lengths) > SEGMENTS_MAX:
        raise BenchError(f'{frame} bytes need {len(lengths)} mbufs; testpmd can chain '
                         f'{SEGMENTS_MAX}')
    return lengths


def parse_stats(text):
    """Packets received and the rate since the last look, from "show port stats"."""
    packets = re.search(r'RX-packets:\s*(\d+)', text)
    rate = re.search(r'Rx-pps:\s*(\d+)', text)
    octets = re.search(r'RX-bytes:\s*(\d+)', text)
    if packets is None or rate is None or octets is None:
        raise BenchError(f'testpmd: no port statistics in its answer: {text!r}')
    return {'rx_packets': int(packets.group(1)), 'rx_bytes': int(octets.group(1)),
            'rx_pps': float(rate.group(1))}


def mbuf_count(point):
    """Enough for the ring, what is in flight and the cache; large mbufs are not to eat memory."""
    if point.mbuf_data <= CHAINED_MBUF:
        chain = len(segments(point.frame, point.mbuf_data))
        return 8191 if chain == 1 else 65535
    return 4 * QUEUE_SIZE - 1


def memory_mb(point):
    """MiB of mbufs and as much again as EAL and the rings want."""
    return mbuf_count(point) * (point.mbuf_data + 512) // (1 << 20) + 128


class TestpmdPair(Pair):
    name = 'testpmd'

    def __init__(self, workspace, point, tag, burst=32, retry=False):
        self.program = shutil.which('dpdk-testpmd')
        if self.program is None:
            raise BenchError('dpdk-testpmd is not installed (Debian: apt-get install dpdk-dev)')
        self.hz = machine.tsc_hz()
        self.point = point
        self.retry = retry
        socket = os.path.join(workspace.directory, f'{tag}.sock')
        self.host = self.guest = None
        try:
            self.host = self._start(workspace, f'{tag}-host', HOST_CORE, vhost(socket), burst)
            self.guest = self._start(workspace, f'{tag}-guest', GUEST_CORE,
                                     virtio_user(point.ring, socket), burst)
            self._wait_link()
        except BaseException:
            self.close()
            raise
        self.mode = {}

    def _start(self, workspace, tag, core, device, burst):
        point = self.point
        # Not with "set txpkts": the prompt cuts long lists off.
        lengths = ','.join(map(str, segments(point.frame, point.mbuf_data)))
        command = [self.program, *lcores(core), '--no-pci', '--no-telemetry',
                   '--file-prefix', f'{tag}-{os.getpid()}',
                   *workspace.memory_args(memory_mb(point)), '--vdev', device, '--',
                   '-i', '--disable-link-check', '--nb-cores=1', f'--burst={burst}',
                   f'--rxd={QUEUE_SIZE}', f'--txd={QUEUE_SIZE}',
                   f'--mbuf-size={point.mbuf_data + HEADROOM}',
                   f'--total-num-mbufs={mbuf_count(point)}',
                   # Behind --mbuf-size, which it is checked against.
                   f'--txpkts={lengths}']
        if workspace.huge_dir is None:
            command.append('--mp-alloc=native')
        terminal = Terminal(f'testpmd ({tag})', command,
                            os.path.join(workspace.directory, f'{tag}.log'), PROMPT)
        return terminal

    def _wait_link(self):
        for side in (self.host, self.guest):
            side.read_prompt(30)
        deadline = time.monotonic() + 20
        for side in (self.host, self.guest):
            while 'Link status: up' not in side.ask('show port info 0'):
                if time.monotonic() > deadline:
                    side.fail('the link does not come up')
                time.sleep(0.05)

    def pids(self):
        return [self.host.pid, self.guest.pid]

    def _set_mode(self, side, mode):
        if self.mode.get(side) != mode:
            retry = ' retry' if self.retry and mode == 'txonly' else ''
            side.ask(f'set fwd {mode}{retry}')
            self.mode[side] = mode

    def measure(self, direction, warm_s, window_s):
        host_sends = direction == 'host-to-guest'
        sender, receiver = (self.host, self.guest) if host_sends else (self.guest, self.host)
        self._set_mode(sender, 'txonly')
        self._set_mode(receiver, 'rxonly')
        receiver.ask('start')
        sender.ask('start')
        time.sleep(warm_s)
        begin = parse_stats(receiver.ask('show port stats 0'))
        time.sleep(window_s)
        # The rate is taken by testpmd's own clock between its own two readings.
        end = parse_stats(receiver.ask('show port stats 0'))
        sender.ask('stop')
        receiver.ask('stop')
        pps = end['rx_pps']
        packets = end['rx_packets'] - begin['rx_packets']
        if pps <= 0 or packets <= 0:
            receiver.fail('received nothing')
        # The counters are not read at one instant, so a burst may be in one and not in the other.
        size = (end['rx_bytes'] - begin['rx_bytes']) / packets
        if packets > 10000 and abs(size - self.point.frame) > 0.02 * self.point.frame:
            receiver.fail(f'frames of {size:.0f} bytes came, {self.point.frame} were asked for')
        return Sample(pps, self.hz / pps)

    def close(self):
        for side in (self.guest, self.host):
            if side is not None:
                side.end()
        self.host = self.guest = None
