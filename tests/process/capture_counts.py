#!/usr/bin/python3
"""What a capture writes, counts and shows is what passed the port, packet for packet."""

import os
import shutil
import time

from capture_tool import check_sum, lost
from harness import Pcap, check, equal, main, run_program, settled, test

QUIET = 'keepalive = "60s"\ndead_after = "120s"'  # nothing passes that the test did not ask for
KEYS = ("rx_packets", "tx_packets", "rx_bytes", "tx_bytes")
LINKTYPE_USER0 = 147


def port_counts(role):
    return settled(lambda: [role.port("vm1")[k] for k in KEYS], "port statistics")


def capture_row(role):
    rows = role.cmd("show capture")
    equal(len(rows), 1, "captures shown")
    return rows[0]


def traffic(vswitch, guest):
    guest.transfer("host client tgen/host sweep 0:3000:7 count 8000 rate 40kpps")
    vswitch.transfer("vm1 client tgen/vm1 sweep 0:9000:31 count 8000 rate 40kpps")


def captured(vswitch, guest, path, words=""):
    """Runs traffic in a capture: the counters' deltas, the capture's row and its file."""
    before = port_counts(vswitch)
    begin = time.time_ns()
    vswitch.cmd(f"start capture vm1 {path} {words}")
    traffic(vswitch, guest)
    after = port_counts(vswitch)
    vswitch.cmd("stop capture vm1")
    end = time.time_ns()
    equal(port_counts(vswitch), after, "port statistics after the end of the capture")
    row = capture_row(vswitch)
    equal((row["state"], row["file"], row["error"]), ("stopped", path, ""), "show capture")
    equal((lost(row), row["pending"]), (0, 0), "lost or left by the capture")
    check_sum(row)
    equal(row["file_bytes"], os.path.getsize(path), "file_bytes and the file's size")
    pcap = Pcap(path)
    equal(pcap.linktype, LINKTYPE_USER0, "link type")
    pcap.check_times(begin, end)
    return [b - a for a, b in zip(before, after)], row, pcap


@test(seconds=50)
def both_directions(lab):
    vswitch, guest = lab.pair(QUIET, QUIET)
    path = lab.path("both.pcap")
    (rx, tx, rx_bytes, tx_bytes), row, pcap = captured(vswitch, guest, path)
    check(rx >= 8000 and tx >= 8000, f"too little traffic: {rx} and {tx}")
    equal(row["received"], rx + tx, "received by the capture and counted by the port")
    equal(row["written"], rx + tx, "written")
    equal(len(pcap.packets), rx + tx, "packets in the file")
    equal(pcap.wire_bytes(), rx_bytes + tx_bytes, "bytes in the file and counted by the port")
    ask_capinfos(path, pcap)
    ask_tshark(path, pcap)


def ask_capinfos(path, pcap):
    if shutil.which("capinfos") is None:
        return
    code, out, err = run_program(["capinfos", "-T", "-M", "-c", "-d", "-o", path])
    equal(code, 0, f"capinfos: {err}")
    names, values = (line.split("\t") for line in out.splitlines()[:2])
    row = dict(zip(names, values))
    equal(int(row["Number of packets"]), len(pcap.packets), "capinfos' number of packets")
    equal(int(row["Data size (bytes)"]), pcap.wire_bytes(), "capinfos' data size")
    equal(row["Strict time order"], "True", "capinfos' time order")


def ask_tshark(path, pcap):
    if shutil.which("tshark") is None:
        return
    code, out, err = run_program(["tshark", "-n", "-r", path, "-T", "fields", "-e", "frame.len",
                                  "-e", "frame.time_epoch"], seconds=40)
    equal(code, 0, f"tshark: {err}")
    got = []
    for line in out.splitlines():
        length, stamp = line.split("\t")
        seconds, _, fraction = stamp.partition(".")
        got.append((int(seconds) * 1_000_000_000 + int(fraction.ljust(9, "0")), int(length)))
    equal(got, [(ns, wire) for ns, _, wire in pcap.packets], "what tshark reads")


@test(seconds=50)
def one_direction_and_a_short_snaplen(lab):
    vswitch, guest = lab.pair(QUIET, QUIET)
    deltas, row, pcap = captured(vswitch, guest, lab.path("rx.pcap"), "direction rx")
    equal((row["received"], len(pcap.packets)), (deltas[0], deltas[0]), "received packets")
    equal(pcap.wire_bytes(), deltas[2], "received bytes")

    deltas, row, pcap = captured(vswitch, guest, lab.path("tx.pcap"), "direction tx snaplen 64")
    equal((row["received"], len(pcap.packets)), (deltas[1], deltas[1]), "sent packets")
    equal(pcap.wire_bytes(), deltas[3], "sent bytes")
    equal(pcap.snaplen, 64, "snaplen of the file")
    check(all(kept == min(wire, 64) for _, kept, wire in pcap.packets), "kept bytes of a packet")
    check(any(wire > 64 for _, _, wire in pcap.packets), "no packet was long")


@test(seconds=40)
def it_is_on_when_the_command_returns(lab):
    vswitch, guest = lab.pair(QUIET, QUIET)
    for number in range(12):
        before = port_counts(vswitch)
        vswitch.cmd(f"start capture vm1 {lab.path(str(number))}.pcap")
        guest.transfer("host client tgen/host size 100 count 10")
        after = port_counts(vswitch)
        vswitch.cmd("stop capture vm1")
        equal(capture_row(vswitch)["received"], sum(after[:2]) - sum(before[:2]),
              f"received by capture {number}")


@test(seconds=40)
def from_the_configuration_until_the_end(lab):
    path = lab.path("all.pcap")
    vswitch, guest = lab.pair(QUIET, QUIET, f'[[capture]]\nport = "vm1"\nfile = "{path}"\n')
    traffic(vswitch, guest)
    rx, tx, rx_bytes, tx_bytes = port_counts(vswitch)
    equal(vswitch.terminate(), 0, "exit code of the vswitch")
    pcap = Pcap(path)
    check(len(pcap.packets) >= rx + tx, f"{len(pcap.packets)} packets of {rx} + {tx}")
    check(pcap.wire_bytes() >= rx_bytes + tx_bytes, "bytes are missing")
    # Apart from what it says as it goes.
    check(len(pcap.packets) <= rx + tx + 4, f"{len(pcap.packets)} packets of {rx} + {tx}")


@test(seconds=30)
def bad_captures_are_refused(lab):
    vswitch, _ = lab.pair()
    path = lab.path("x.pcap")
    for words in (f"nowhere {path}", "vm1 /nonexistent/folder/x.pcap", f"vm1 {path} snaplen 0",
                  f"vm1 {path} snaplen 262145", f"vm1 {lab.dir}"):
        error = vswitch.refused(f"start capture {words}")
        check("\n" not in error.message.strip() or "^" in error.message, error.message)
    equal(vswitch.cmd("show capture"), [], "captures after refusals")
    vswitch.refused("stop capture vm1")
    vswitch.cmd(f"start capture vm1 {path}")
    check(path in vswitch.refused(f"start capture vm1 {path}2").message, "it is running already")
    check(not os.path.exists(path + "2"), "a refused capture made its file")
    vswitch.cmd("stop capture vm1")
    equal(os.stat(path).st_mode & 0o077, 0, "a capture is nobody else's to read")


if __name__ == "__main__":
    main()
