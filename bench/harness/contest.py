"""What an experiment needs to know of a contestant: a host and a guest joined by one ring pair."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field

RINGS = ('split', 'packed')
DIRECTIONS = ('host-to-guest', 'guest-to-host')
QUEUE_SIZE = 1024
HEADER_BYTES = 4  # the VMPI channel word in front of each SDU
HOST_CORE = 1
GUEST_CORE = 0
CHAINED_MBUF = 2048   # data bytes of an ordinary mbuf, without headroom


@dataclass(frozen=True)
class Point:
    """One place on the curve. Both contestants get the same."""
    size: int
    ring: str
    mbuf_data: int

    @property
    def frame(self):
        return self.size + HEADER_BYTES

    def name(self):
        return f'{self.ring} {self.size} B'


@dataclass(frozen=True)
class Sample:
    """One window, seen by the receiver."""
    pps: float
    host_cycles: float      # TSC cycles of the host's core per message received
    busy_cycles: float = None   # the part of them that found work, if the host tells
    extra: dict = field(default_factory=dict)


class Pair(ABC):
    """A running host and guest. Between two measurements neither may use a core."""

    name = ''

    @abstractmethod
    def measure(self, direction, warm_s, window_s):
        """Sends, looks at the receiver over a window, stops again; returns a Sample."""

    @abstractmethod
    def pids(self):
        """The processes, for a look at what they use while they should rest."""

    @abstractmethod
    def close(self):
        """Ends the processes."""


def lcores(core):
    """lcore 0 is the control thread, free to go where there is room; lcore 1 forwards."""
    floating = f'{min(HOST_CORE, GUEST_CORE)}-{max(HOST_CORE, GUEST_CORE)}'
    return ['--lcores', f'0@({floating}),1@{core}']


def virtio_user(ring, path):
    packed = 1 if ring == 'packed' else 0
    return (f'net_virtio_user0,path={path},server=1,queues=1,queue_size={QUEUE_SIZE},'
            f'packed_vq={packed},in_order=1,mrg_rxbuf=1')


def vhost(path):
    return f'net_vhost0,iface={path},client=1'
