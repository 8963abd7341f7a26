#!/usr/bin/python3
"""What others have captured goes through a port into our files: the same packets, byte for byte."""

import os
import random
import struct
import tarfile

from capture_tool import Capture, File, lost, pcap_vdev, udp_packet, write_pcap
from harness import check, equal, eventually, main, test

ARCHIVE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "data",
                       "tcpdump-captures.tar.xz")
ETHERNET = 1
PORTS = 30  # of a process; Debian's DPDK has room for 32
CAPTURES_MIN = 200


def packets_of(data):
    """Of a classic capture of Ethernet whose packets are all there; else nothing."""
    if len(data) < 24:
        return None
    order = {b"\xd4\xc3\xb2\xa1": "<", b"\xa1\xb2\xc3\xd4": ">", b"\x4d\x3c\xb2\xa1": "<",
             b"\xa1\xb2\x3c\x4d": ">"}.get(data[:4])
    if order is None or struct.unpack_from(order + "I", data, 20)[0] != ETHERNET:
        return None
    # libpcap, and so the port, cuts what is longer than the header says.
    longest = struct.unpack_from(order + "I", data, 16)[0] or 1 << 18
    packets = []
    at = 24
    while at < len(data):
        if at + 16 > len(data):
            return None
        kept, wire = struct.unpack_from(order + "II", data, at + 8)
        at += 16
        if kept != wire or not 0 < kept <= longest or at + kept > len(data):
            return None
        packets.append(data[at:at + kept])
        at += kept
    return packets or None


def sources(lab):
    """(path, packets) of every capture of the archive that can be replayed whole."""
    folder = lab.out_dir("sources")
    out = []
    with tarfile.open(ARCHIVE) as archive:
        for member in sorted(archive.getmembers(), key=lambda m: m.name):
            if not member.isfile():
                continue
            data = archive.extractfile(member).read()
            packets = packets_of(data)
            if packets is None:
                continue
            # A path with what devargs give a meaning to would be cut there.
            path = f"{folder}/{len(out)}.pcap"
            with open(path, "wb") as file:
                file.write(data)
            out.append((path, packets, member.name))
    return out


def replay(lab, batch, words, buffer=("-B", "4"), memory="512", seconds=20.0):
    """Every source through a port of its own: a file each, by port."""
    folder = lab.out_dir(f"out{lab.serial()}")
    names = [f"net_pcap{i}" for i in range(len(batch))]
    capture = Capture(lab, ["-i", ",".join(names), "-w", f"{folder}/%{{port}}", *words],
                      [pcap_vdev(source[0], i) for i, source in enumerate(batch)], buffer=buffer,
                      memory=memory).ready()
    wanted = {name: len(source[1]) for name, source in zip(names, batch)}

    def all_there():
        check(capture.running(), f"the capture ended with {capture.child.returncode}")
        got = {row["port"]: row["received"] for row in capture.cmd("show capture")}
        return got == wanted

    eventually(all_there, "all packets of all sources are received", seconds)
    rows = {row["port"]: row for row in capture.finish()}
    for name, source in zip(names, batch):
        what = f"{os.path.basename(source[0])} {source[2]} by {words}"
        equal(lost(rows[name]), 0, f"packets lost of {what}")
        file = File(f"{folder}/{name}")
        file.check_order()
        equal(file.linktype, ETHERNET, f"link type of {what}")
        same(file, source[1], what)


def same(file, packets, what):
    equal(len(file), len(packets), f"packets of {what}")
    for i, ((_, wire, kept), packet) in enumerate(zip(file.packets, packets)):
        check(wire == len(packet) and kept == packet,
              f"packet {i} of {what}: {kept[:80].hex()} of {wire} bytes, expected "
              f"{packet[:80].hex()} of {len(packet)}")


@test(seconds=55)
def captures_of_tcpdump(lab):
    every = sources(lab)
    check(len(every) >= CAPTURES_MIN, f"{len(every)} captures of Ethernet with whole packets")
    batches = [every[i:i + PORTS] for i in range(0, len(every), PORTS)]
    for number, batch in enumerate(batches):
        for words in (["-P"], ["-n"]) if number % 2 == 0 else (["-n"], ["--us"]):
            replay(lab, batch, words)


@test(seconds=40)
def long_and_empty_packets(lab):
    rng = random.Random(11)
    sizes = [9000, 9018, 60, 2048, 2049, 4096, 1, 16000, 65535, 0, 14, 9000, 0, 0, 30000, 2176]
    packets = [bytes(rng.getrandbits(8) for _ in range(size)) for size in sizes]
    path = write_pcap(lab.path("long.pcap"), packets)
    for words in (["-P"], ["-n"], ["-n", "--io", "posix"]):
        replay(lab, [(path, packets, "long and empty packets")], words)
    # More of them than a block holds, so that packets of several segments cross its end.
    many = [packets[0][:9000 - i] for i in range(300)]
    path = write_pcap(lab.path("many.pcap"), many)
    for words in (["-P"], ["-n"]):
        replay(lab, [(path, many, "packets of 9 KB")], words, buffer=("-B", "16"))


@test(seconds=50)
def a_long_burst(lab):
    packets = [udp_packet(i, 60 + i % 300) for i in range(50_000)]
    path = write_pcap(lab.path("burst.pcap"), packets)
    for words in (["-P"], ["-n"], ["--io", "posix"]):
        replay(lab, [(path, packets, "burst")], words, buffer=("-B", "64"))


@test(seconds=30)
def a_ports_own_stamps_are_kept(lab):
    # net_pcap gives each packet the stamp it has in the file, in microseconds.
    begin = 1_600_000_000
    packets = [udp_packet(i, 100) for i in range(200)]
    path = write_pcap(lab.path("stamped.pcap"), packets)
    with open(path, "r+b") as file:
        data = bytearray(file.read())
        at, stamps = 24, []
        for i, packet in enumerate(packets):
            # One of them runs backwards; ours do not.
            ticks = i * 70_001 if i != 50 else 10
            second, us = divmod(ticks, 1_000_000)
            struct.pack_into("<II", data, at, begin + second, us)
            stamps.append((begin + second) * 1_000_000_000 + us * 1000)
            at += 16 + len(packet)
        file.seek(0)
        file.write(data)
    stamps[50] = stamps[49]
    for words in (["-P"], ["-n"]):
        out = lab.path(f"kept{words[0]}")
        capture = Capture(lab, ["-i", "net_pcap0", "--port-stamps", "-c", "200", "-w", out, *words],
                          [pcap_vdev(path)], buffer=("-B", "4"), memory="512").ready()
        rows = capture.finish()
        equal(lost(rows[0]), 0, "packets lost")
        file = File(out)
        equal([stamp for stamp, _, _ in file.packets], stamps, f"stamps by {words}")
        same(file, packets, f"stamped packets by {words}")


if __name__ == "__main__":
    main()
