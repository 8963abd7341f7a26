"""The demo behind scripts/demo: a vswitch and a guest, traffic both ways, a capture, a table."""

import argparse
import hashlib
import json
import os
import pathlib
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time

READY_SECONDS = 30
PAGES = 512   # of 2 MiB, for both processes
SMALL_SIZES = list(range(0, 4001, 250))
LARGE_SIZES = [8192, 16384, 32768, 65000]
PCAP_NS_MAGIC = 0xA1B23C4D


class DemoError(Exception):
    """Something that the demo promises did not happen."""


def say(text):
    print(text, flush=True)


class Control:
    """JSON-RPC 2.0 on a role's control socket, one message a line."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(20)
        self.socket.connect(str(path))
        self.file = self.socket.makefile("rw")
        self.number = 0

    def __call__(self, line):
        self.number += 1
        request = {"jsonrpc": "2.0", "id": self.number, "method": "console.execute",
                   "params": {"line": line}}
        self.file.write(json.dumps(request) + "\n")
        self.file.flush()
        answer = json.loads(self.file.readline())
        if "error" in answer:
            raise DemoError(f"{line}: {answer['error']['message']}")
        result = answer["result"]
        return result.get("value") if isinstance(result, dict) else result


class Role:
    """One running sluice process."""

    def __init__(self, build, name, cpu, work, config, huge):
        self.name = name
        path = work / f"{name}.toml"
        path.write_text(config)
        self.log = work / f"{name}.log"
        self.socket = work / f"{name}.sock"
        cpus = os.cpu_count() or 1
        arguments = [str(build / "app" / f"sluice-{name}"),
                     f"--lcores=0@(0-{cpus - 1}),1@{cpu}", "--no-pci"]
        if not huge:
            arguments += ["--no-huge", "-m", "512"]
        arguments += ["--", "--config", str(path)]
        self.process = subprocess.Popen(arguments, stdin=subprocess.DEVNULL,
                                        stdout=self.log.open("w"), stderr=subprocess.STDOUT)
        self.control = None

    def connect(self, deadline):
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise DemoError(f"sluice-{self.name} ended at once:\n{self.log.read_text()}")
            try:
                self.control = Control(self.socket)
                return
            except OSError:
                time.sleep(0.05)
        raise DemoError(f"sluice-{self.name} is not ready:\n{self.log.read_text()}")

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        return self.process.returncode


def port_config(work, name, device, socket_name, app, received):
    return (f'[runtime]\nsocket = "{work}/{socket_name}.sock"\n'
            f'[[port]]\nname = "{name}"\nkind = "vmpi"\ndevice = "{device}"\n'
            f'[[app]]\nname = "{app}"\ndif = "{name}"\nout_dir = "{received}"\n')


def hugepages_free():
    total = 0
    for size in pathlib.Path("/sys/kernel/mm/hugepages").glob("hugepages-2048kB"):
        total += int((size / "free_hugepages").read_text())
    return total


class Hugepages:
    """Has hugepages reserved while it lives, if that may be done; what was there stays."""

    SCRIPT = pathlib.Path(__file__).resolve().parent / "setup-hugepages"
    STATE = pathlib.Path("/run/sluice/hugepages")   # of somebody who reserved them before

    def __init__(self, wanted):
        self.reserved = False
        if not wanted or hugepages_free() >= PAGES or os.geteuid() != 0 or self.STATE.exists():
            return
        self.reserved = True
        subprocess.run([str(self.SCRIPT), str(PAGES)], stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL, check=False)

    def close(self):
        if self.reserved and self.STATE.exists():
            subprocess.run([str(self.SCRIPT), "--undo"], stdout=subprocess.DEVNULL,
                           stderr=subprocess.DEVNULL, check=False)


def wait_up(role, port, deadline):
    while time.monotonic() < deadline:
        if role.control(f"show vmpi {port}")[0]["state"] == "up":
            return
        time.sleep(0.05)
    raise DemoError(f"{role.name}: no peer on {port}:\n{role.log.read_text()}")


def run(role, line):
    """Starts a run of traffic and waits for its report."""
    number = role.control(f"start tgen {line}")["run"]
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        row = role.control(f"show tgen {number}")[0]
        if row["state"] == "done":
            return row
        if row["state"] == "failed":
            raise DemoError(f"{role.name}: start tgen {line}: {row['failure']}")
        time.sleep(0.02)
    raise DemoError(f"{role.name}: start tgen {line} does not end")


def bits(value):
    for unit, factor in (("Gb/s", 1e9), ("Mb/s", 1e6), ("kb/s", 1e3)):
        if value >= factor:
            return f"{value / factor:7.2f} {unit}"
    return f"{value:7.2f} b/s "


def sweep(directions, seconds):
    rows = []
    say(f"\n{'SDU bytes':>9}  {'direction':<13} {'goodput':>12} {'kSDU/s':>9} {'lost':>5} "
        f"{'latency p50/p99 us':>20}")
    for size in SMALL_SIZES + LARGE_SIZES:
        for direction, role, flow in directions:
            row = run(role, f"{flow} size {size} duration {int(seconds * 1000)}ms")
            report = row["report"]
            if report["lost"] or report["sdus"] != row["sdus_sent"]:
                raise DemoError(f"{direction}, {size} B: {row['sdus_sent']} SDUs sent, "
                                f"{report['sdus']} received, {report['lost']} lost")
            rate = report["sdus"] * 1e9 / max(report["elapsed_ns"], 1)
            latency = report["latency_ns"]
            shown = (f"{latency['p50'] / 1000:.1f}/{latency['p99'] / 1000:.1f}" if latency
                     else "-")
            say(f"{size:>9}  {direction:<13} {bits(report['goodput_bps']):>12} "
                f"{rate / 1000:>9.1f} {report['lost']:>5} {shown:>20}")
            rows.append({"size": size, "direction": direction, "sdus": report["sdus"],
                         "lost": report["lost"], "goodput_bps": report["goodput_bps"],
                         "sdus_per_second": rate, "latency_ns": latency})
    return rows


def file_transfer(directions, work, received, size):
    rows = []
    source = work / "file"
    with source.open("wb") as out:
        for _ in range(size // (1 << 20)):
            out.write(os.urandom(1 << 20))
    wanted = hashlib.sha256(source.read_bytes()).hexdigest()
    for direction, role, flow in directions:
        for old in received.iterdir():
            old.unlink()
        row = run(role, f"{flow} sweep 1:4000:250 file {source}")
        deadline = time.monotonic() + 5
        got = None
        while time.monotonic() < deadline and got != wanted:
            arrived = list(received.iterdir())
            if arrived:
                got = hashlib.sha256(arrived[0].read_bytes()).hexdigest()
            if got != wanted:
                time.sleep(0.05)
        same = got == wanted
        say(f"  {direction:<13} {size >> 20} MiB in {row['sdus_sent']} SDUs, "
            f"{bits(row['report']['goodput_bps']).strip()}, sha256 {wanted[:16]}... "
            f"{'agrees' if same else 'DIFFERS'}")
        if not same:
            raise DemoError(f"{direction}: the file that arrived is another one")
        rows.append({"direction": direction, "bytes": size, "sdus": row["sdus_sent"],
                     "sha256": wanted, "goodput_bps": row["report"]["goodput_bps"]})
    return rows


def pcap_records(path):
    """Counts the records of a classic pcap file with nanoseconds, strictly."""
    count = 0
    last = (0, 0)
    with open(path, "rb") as file:
        header = file.read(24)
        if len(header) != 24 or struct.unpack("<I", header[:4])[0] != PCAP_NS_MAGIC:
            raise DemoError(f"{path} is no pcap file with nanoseconds")
        while True:
            head = file.read(16)
            if not head:
                return count
            seconds, nanos, kept, _ = struct.unpack("<IIII", head)
            if len(file.read(kept)) != kept or (seconds, nanos) < last:
                raise DemoError(f"{path}: record {count + 1} is cut off or goes back in time")
            last = (seconds, nanos)
            count += 1


def captured(vswitch, directions, pcap):
    before = vswitch.control("show port stats vm1")[0]
    vswitch.control(f"start capture vm1 {pcap}")
    for _, role, flow in directions:
        for size, count in ((0, 500), (64, 500), (1500, 500), (65000, 50)):
            run(role, f"{flow} size {size} count {count}")
    vswitch.control("stop capture vm1")
    after = vswitch.control("show port stats vm1")[0]
    row = vswitch.control("show capture")[0]
    records = pcap_records(pcap)
    dropped = row["drops"]["no_chunk"] + row["drops"]["disk_error"]
    if records != row["written"] or row["received"] != row["written"] + dropped:
        raise DemoError(f"the file has {records} packets, the counters say {row}")
    passed = sum(after[k] - before[k] for k in ("rx_packets", "tx_packets"))
    say(f"  {records} packets in {pcap} ({dropped} dropped); the port counted {passed} meanwhile")
    if not records <= passed:
        raise DemoError(f"{records} packets captured, but only {passed} passed")
    tool = shutil.which("capinfos")
    if tool:
        out = subprocess.run([tool, "-c", "-M", str(pcap)], capture_output=True, text=True,
                             check=True).stdout
        say("  capinfos: " + " ".join(out.split("\n")[-2].split()))
    return {"file": str(pcap), "packets": records, "dropped": dropped, "port_packets": passed}


def demo(options, work):
    build = pathlib.Path(options.build).resolve()
    received = work / "received"
    received.mkdir()
    started = time.monotonic()
    huge = not options.no_huge and hugepages_free() >= PAGES
    say(f"memory: {'2 MiB hugepages' if huge else 'ordinary pages (slower: more TLB misses)'}")
    cpus = os.cpu_count() or 1
    guest_device = (f"net_virtio_user0,path={work}/vm1.vhost,server=1,queues=1,queue_size=1024,"
                    f"packed_vq={int(options.packed)},in_order=1,mrg_rxbuf=1")
    roles = []
    try:
        vswitch = Role(build, "vswitch", cpus - 1, work,
                       port_config(work, "vm1", f"net_vhost0,iface={work}/vm1.vhost,client=1",
                                   "vswitch", "tgen/host", received), huge)
        roles.append(vswitch)
        guest = Role(build, "guest", 0, work,
                     port_config(work, "host", guest_device, "guest", "tgen/vm1", received), huge)
        roles.append(guest)
        deadline = time.monotonic() + READY_SECONDS
        for role in roles:
            role.connect(deadline)
        wait_up(vswitch, "vm1", deadline)
        wait_up(guest, "host", deadline)
        limits = vswitch.control("show vmpi vm1")[0]
        say(f"vswitch and guest are up: profile {limits['profile']}, SDUs of up to "
            f"{limits['max_sdu_tx']} bytes out and {limits['max_sdu_rx']} in")
        directions = [("host to VM", vswitch, "vm1 demo/host tgen/vm1"),
                      ("VM to host", guest, "host demo/vm1 tgen/host")]
        say("\na file through, checksums compared:")
        files = file_transfer(directions, work, received, options.file_mib << 20)
        say("\ncapture of what passes the port:")
        capture = captured(vswitch, directions, pathlib.Path(options.pcap).resolve())
        sizes = sweep(directions, options.seconds)
        drops = {role.name: role.control("show drops") for role in roles}
        control = vswitch.control("show version")
    finally:
        codes = {role.name: role.stop() for role in reversed(roles)}
    if any(codes.values()):
        raise DemoError("the roles did not end cleanly: " + "; ".join(
            f"{role.name}: {role.log.read_text()[-500:]}" for role in roles))
    took = time.monotonic() - started
    say(f"\nall SDUs arrived, nothing was lost; {took:.0f} s; PCAP: {capture['file']}")
    return {"version": control, "hugepages": huge, "limits": limits, "files": files,
            "capture": capture, "sizes": sizes, "drops": drops, "seconds": took}


def main():
    parser = argparse.ArgumentParser(prog="scripts/demo", description=__doc__)
    parser.add_argument("--json", metavar="FILE", help="write the figures here")
    parser.add_argument("--pcap", metavar="FILE", default="sluice-demo.pcap",
                        help="where the capture goes (default: %(default)s)")
    parser.add_argument("--packed", action="store_true", help="packed virtqueues")
    parser.add_argument("--no-huge", action="store_true",
                        help="ordinary pages, even if hugepages could be reserved")
    parser.add_argument("--seconds", type=float, default=0.8,
                        help="for each size and direction (default: %(default)s)")
    parser.add_argument("--file-mib", type=int, default=64, help="size of the file to send")
    parser.add_argument("--build", default="build", help=argparse.SUPPRESS)
    options = parser.parse_args()
    work = pathlib.Path(tempfile.mkdtemp(prefix="sluice-demo."))
    pages = Hugepages(not options.no_huge)
    try:
        result = demo(options, work)
    except DemoError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    finally:
        pages.close()
        shutil.rmtree(work, ignore_errors=True)
    if options.json:
        pathlib.Path(options.json).write_text(json.dumps(result, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
