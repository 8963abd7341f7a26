"""What is captured: devices that give packets of one size or of a mix as fast as they are asked,
and the folder on the disk that takes them."""

import os
import random
import shutil
import struct
import tempfile
from dataclasses import dataclass

from .process import BenchError

RECORD_BYTES = 16        # in front of each packet of a pcap file
MIX_PACKETS = 2048       # net_pcap keeps them all in mbufs of the port's pool
MIX_MEAN = 965           # bytes: the mean of CAIDA's traces of backbone links
# Shares of the mix: small ones, those between, and full ones, which settle the mean.
MIX_SHARES = ((0.32, 64, 64), (0.05, 65, 575), (0.05, 576, 1400), (0.58, 1514, 1514))
MIX_SEED = 965
GB = 1_000_000_000
ROOM_GB = 24             # what may lie on the disk at one time
PCAP_MAGIC_US = 0xa1b2c3d4


@dataclass(frozen=True)
class Work:
    """One kind of traffic."""
    name: str
    size: float          # mean bytes of a packet
    device: str          # for EAL's --vdev

    @property
    def port(self):
        return self.device.split(',')[0]

    @property
    def record(self):
        return RECORD_BYTES + self.size


def fixed(size):
    return Work(str(size), size, f'net_null0,size={size},copy=1')


def mix_sizes(count=MIX_PACKETS, mean=MIX_MEAN, seed=MIX_SEED):
    """Sizes in the shares above; those between the extremes are moved until the mean is right."""
    chance = random.Random(seed)
    sizes = []
    for share, low, high in MIX_SHARES:
        sizes += [chance.randint(low, high) for _ in range(round(share * count))]
    sizes = (sizes + [MIX_SHARES[-1][2]] * count)[:count]
    low, high = MIX_SHARES[1][1], MIX_SHARES[2][2]
    movable = [i for i, size in enumerate(sizes) if low <= size <= high]
    missing = mean * count - sum(sizes)
    for i in movable:
        share = max(low, min(high, sizes[i] + missing)) - sizes[i]
        sizes[i] += share
        missing -= share
    if missing != 0:
        raise BenchError(f'no mix of {count} packets has a mean of {mean} bytes')
    chance.shuffle(sizes)
    return sizes


def mix_frame(chance, size):
    """Ethernet, IPv4 and UDP or TCP; some of it DNS, some of it from 10.0.0.0/8."""
    protocol = 17 if chance.random() < 0.3 else 6
    source = bytes([chance.choice((10, 172, 192)), chance.randrange(256), chance.randrange(256), 1])
    ports = struct.pack('>HH', chance.randrange(1024, 65536),
                        53 if protocol == 17 and chance.random() < 0.2 else 443)
    ip = struct.pack('>BBHHHBBH4s4s', 0x45, 0, size - 14, 0, 0x4000, 64, protocol, 0, source,
                     b'\x08\x08\x08\x08')
    head = b'\x02\0\0\0\0\1\x02\0\0\0\0\2\x08\0' + ip + ports
    return head + chance.randbytes(size - len(head))


def write_mix(path):
    """The file for net_pcap; returns the mean size of its packets."""
    sizes = mix_sizes()
    chance = random.Random(MIX_SEED)
    with open(path, 'wb') as file:
        file.write(struct.pack('<IHHiIII', PCAP_MAGIC_US, 2, 4, 0, 0, 65535, 1))
        for i, size in enumerate(sizes):
            file.write(struct.pack('<IIII', 1, i, size, size) + mix_frame(chance, size))
    return sum(sizes) / len(sizes)


class Disk:
    """A folder of our own on the disk that is measured, emptied whatever happens."""

    def __init__(self, parent):
        try:
            self.path = tempfile.mkdtemp(prefix='sluice-capture-', dir=parent)
        except OSError as error:
            raise BenchError(f'--dir {parent}: {error.strerror}') from error
        free = shutil.disk_usage(self.path).free
        if free < (ROOM_GB + 2) * GB:
            self.close()
            raise BenchError(f'--dir {parent}: {free / GB:.0f} GB are free, '
                             f'{ROOM_GB + 2} are needed')

    def file(self, name):
        return os.path.join(self.path, name)

    def drop(self, *prefixes):
        """Removes the files whose names begin so."""
        for name in os.listdir(self.path):
            if name.startswith(prefixes):
                os.unlink(os.path.join(self.path, name))

    def facts(self):
        system = device = 'unknown'
        best = ''
        with open('/proc/mounts') as mounts:
            for line in mounts:
                what, where, kind = line.split()[:3]
                holds = (self.path + '/').startswith(where.rstrip('/') + '/')
                if holds and len(where) >= len(best):
                    best, device, system = where, what, kind
        return {'file_system': system, 'device': device}

    def close(self):
        shutil.rmtree(self.path, ignore_errors=True)
