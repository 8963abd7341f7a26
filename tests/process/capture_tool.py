"""What the tests of sluice-capture share: starting it, its report, and readers of its files."""

import ctypes
import glob
import json
import os
import signal
import struct
import subprocess

from harness import (Failed, Process, Rpc, Skipped, _end_with_parent, check, cpus, eal_args, equal,
                     eventually, roles)

SMALL_BUFFER = ("-B", "16")


def null_vdev(size, number=0):
    return f"net_null{number},size={size},copy=1"


def pcap_vdev(path, number=0, more=""):
    return f"net_pcap{number},rx_pcap={path}{more}"


class Capture(Process):
    """sluice-capture with a control socket. Its stdout is a file of its own, or `stdout`."""

    def __init__(self, lab, words, vdevs=(), name="capture", stdout=None, inline=False,
                 buffer=SMALL_BUFFER, json_report=True, eal=(), memory="512"):
        self.name = name
        serial = lab.serial()
        self.log_path = f"{lab.dir}/{name}.{serial}.log"
        self.out_path = f"{lab.dir}/{name}.{serial}.out"
        self.socket_path = f"{lab.dir}/{name}.{serial}.sock"
        self.rpc = None
        # With all on one CPU the writer is a stage of the lcore that receives.
        place = ["-l", str(cpus()[-1]), "--no-huge", "-m", "512", "--no-pci"] if inline \
            else eal_args(cpus()[-1])
        place[place.index("-m") + 1] = memory
        argv = [roles["capture"], *place, *eal]
        for vdev in vdevs:
            argv += ["--vdev", vdev]
        argv += ["--", *words, *buffer, "--socket", self.socket_path]
        if json_report:
            argv.append("--json")
        self.argv = argv

        with open(self.log_path, "wb") as log, open(self.out_path, "wb") as out:
            self.child = subprocess.Popen(argv, stdin=subprocess.DEVNULL,
                                          stdout=out if stdout is None else stdout, stderr=log,
                                          preexec_fn=_end_with_parent, cwd=lab.dir)
        self.pid = self.child.pid
        lab.processes.append(self)

    def ready(self, seconds=15.0):
        self.wait_log("ready, control socket", seconds)
        return self

    def cmd(self, line):
        if self.rpc is None:
            self.rpc = Rpc(self.socket_path)
        return self.rpc.call("console.execute", line=line)["value"]

    def row(self, queue=0):
        return self.cmd("show capture")[queue]

    def wait_row(self, look, what, seconds=15.0):
        """The first row of `show capture` that look() likes."""
        def once():
            check(self.running(), f"{self.name} ended with {self.child.returncode}: {what}")
            row = self.row()
            return row if look(row) else None
        return eventually(once, what, seconds)

    def out(self):
        with open(self.out_path, "r", errors="replace") as file:
            return file.read()

    def finish(self, code=0, number=signal.SIGTERM, seconds=10.0):
        """Ends it, unless number is None; its rows, whose sums have been checked."""
        self.close_rpc()
        if number is not None:
            self.signal(number)
        equal(self.wait(seconds), code, f"exit code of {self.name}")
        return self.report()

    def report(self):
        rows = json.loads(self.out())["captures"]
        for row in rows:
            check_sum(row)
        return rows

    def complaints(self):
        """Lines of stderr that the program itself ends with."""
        return [s for s in self.log().splitlines() if s.startswith("sluice-capture: ")]

    def close_rpc(self):
        if self.rpc is not None:
            self.rpc.close()
            self.rpc = None

    def kill(self):
        self.close_rpc()
        super().kill()


def lost(row):
    return row["drops"]["no_chunk"] + row["drops"]["disk_error"]


def check_sum(row):
    """Every packet that was received is in a file or in exactly one counter."""
    equal(row["pending"], 0, f"pending after the end: {row}")
    equal(row["written"] + lost(row) + row["filtered"] + row["sampled_out"] + row["cut_off"],
          row["received"], f"sum of written, dropped and left out, against received: {row}")


def run_capture(lab, words, vdevs, code=0, seconds=20.0, **more):
    """One that ends by itself: its rows."""
    return Capture(lab, words, vdevs, **more).finish(code, None, seconds)


# ---- what it wrote ---------------------------------------------------------------------------


class File:
    """Packets of a pcap or pcapng file of ours. Anything torn or left behind is a failure."""

    def __init__(self, path, data=None, empty_is_good=False):
        self.path = path
        if data is None:
            with open(path, "rb") as file:
                data = file.read()
        self.ng = data[:4] == b"\x0a\x0d\x0d\x0a"
        self.packets = []  # (nanoseconds, bytes on the wire, bytes kept)
        self.statistics = []  # pcapng: options of the ISBs, {code: bytes}
        self.interfaces = []  # pcapng: options of the IDBs
        self.directions = []  # pcapng: of each packet, 1 in, 2 out
        if not data and empty_is_good:
            return
        if self.ng:
            self._read_ng(data)
        else:
            self._read(data)

    def _read(self, data):
        check(len(data) >= 24, f"{self.path} is too short for a header: {len(data)} bytes")
        magic, major, minor, _, _, self.snaplen, self.linktype = struct.unpack_from("<IHHIIII",
                                                                                  data)
        check(magic in (0xA1B23C4D, 0xA1B2C3D4), f"magic {magic:#x} of {self.path}")
        self.unit = 1 if magic == 0xA1B23C4D else 1000
        equal((major, minor), (2, 4), f"version of {self.path}")
        at = 24
        head = struct.Struct("<IIII")
        while at < len(data):
            check(at + 16 <= len(data), f"{self.path} ends within a packet's header at {at}")
            seconds, fraction, kept, wire = head.unpack_from(data, at)
            check(fraction * self.unit < 10**9 and kept <= wire and kept <= self.snaplen,
                  f"{self.path}: packet {len(self.packets)} at {at}: fraction {fraction}, {kept} "
                  f"of {wire} bytes")
            at += 16
            check(at + kept <= len(data), f"{self.path} ends within packet {len(self.packets)}")
            self.packets.append((seconds * 10**9 + fraction * self.unit, wire,
                                 data[at:at + kept]))
            at += kept

    def _read_ng(self, data):
        at = 0
        self.snaplen = self.linktype = None
        self.unit = 1
        while at < len(data):
            check(at + 12 <= len(data), f"{self.path} ends within a block's header at {at}")
            kind, size = struct.unpack_from("<II", data, at)
            check(size >= 12 and size % 4 == 0 and at + size <= len(data),
                  f"{self.path}: block {kind:#x} of {size} bytes at {at} of {len(data)}")
            equal(struct.unpack_from("<I", data, at + size - 4)[0], size,
                  f"{self.path}: length at the end of the block at {at}")
            body = data[at + 8:at + size - 4]
            if kind == 1:
                self.linktype, _, self.snaplen = struct.unpack_from("<HHI", body)
                self.interfaces.append(options(body[8:]))
                equal(self.interfaces[-1].get(9), b"\x09", "if_tsresol")
            elif kind == 5:
                self.statistics.append(options(body[12:]))
            elif kind == 6:
                _, high, low, kept, wire = struct.unpack_from("<IIIII", body)
                check(kept <= wire and 20 + kept <= len(body),
                      f"{self.path}: packet {len(self.packets)} of {kept} of {wire} bytes")
                self.packets.append((high << 32 | low, wire, body[20:20 + kept]))
                flags = options(body[20 + (kept + 3) // 4 * 4:]).get(2, bytes(4))
                self.directions.append(struct.unpack("<I", flags)[0] & 3)
            else:
                equal((kind, at), (0x0A0D0D0A, 0), f"{self.path}: type of the block at {at}")
            at += size

    def __len__(self):
        return len(self.packets)

    def contents(self):
        return [(wire, kept) for _, wire, kept in self.packets]

    def check_order(self, not_before=0):
        """Stamps do not run backwards; the last one."""
        last = not_before
        for i, (ns, _, _) in enumerate(self.packets):
            check(ns >= last, f"{self.path}: packet {i} is stamped {ns}, after {last}")
            last = ns
        return last


def options(data):
    out = {}
    at = 0
    while at + 4 <= len(data):
        code, size = struct.unpack_from("<HH", data, at)
        if code == 0:
            break
        out[code] = data[at + 4:at + 4 + size]
        at += 4 + (size + 3) // 4 * 4
    return out


def files_of(folder, suffix=""):
    """Capture files without their sidecars, by name."""
    return sorted(p for p in glob.glob(f"{folder}/*{suffix}") if not p.endswith(".sluice-part")
                  and os.path.isfile(p))


def sidecars_of(folder):
    return sorted(glob.glob(f"{folder}/*.sluice-part"))


def write_pcap(path, packets, snaplen=262144, linktype=1):
    """A source for net_pcap: (data) or (data, bytes on the wire)."""
    with open(path, "wb") as file:
        file.write(struct.pack("<IHHIIII", 0xA1B2C3D4, 2, 4, 0, 0, snaplen, linktype))
        for i, packet in enumerate(packets):
            data, wire = packet if isinstance(packet, tuple) else (packet, len(packet))
            file.write(struct.pack("<IIII", 1_000_000 + i // 1000, i % 1000, len(data), wire))
            file.write(data)
    return path


def udp_packet(number, size, port=4000, source=0x0A000001):
    """Ethernet, IPv4, UDP; `size` without the FCS. The payload begins with the number."""
    payload = struct.pack("<I", number) + bytes((number + i) & 255 for i in range(4, size - 42))
    udp = struct.pack(">HHHH", 1234, port, 8 + len(payload), 0)
    ip = struct.pack(">BBHHHBBHII", 0x45, 0, 28 + len(payload), 0, 0, 64, 17, 0, source,
                     0x0A000002)
    return b"\x02\0\0\0\0\1\x02\0\0\0\0\2\x08\0" + ip + udp + payload


# ---- file systems of our own -----------------------------------------------------------------

CLONE_NEWNS = 0x00020000
MS_REC, MS_PRIVATE = 0x4000, 1 << 18
_libc = ctypes.CDLL(None, use_errno=True)
_alone = False


def private_mounts():
    """What is mounted from here on is seen, and lives, only with this process and its children."""
    global _alone
    if _alone:
        return
    if _libc.unshare(CLONE_NEWNS) != 0:
        raise Skipped(f"no mount namespace: {os.strerror(ctypes.get_errno())}")
    if _libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None) != 0:
        raise Skipped(f"no private mounts: {os.strerror(ctypes.get_errno())}")
    _alone = True


def mount(argv, path):
    private_mounts()
    os.makedirs(path, exist_ok=True)
    done = subprocess.run(["mount", *argv, path], capture_output=True, text=True, timeout=20)
    if done.returncode != 0:
        raise Skipped(f"cannot mount: {done.stderr.strip()}")
    return path


def unmount(path):
    subprocess.run(["umount", "--lazy", path], capture_output=True, timeout=20)


def small_tmpfs(lab, mib):
    return mount(["-t", "tmpfs", "-o", f"size={mib}m", "none"], lab.path("tmpfs"))


def small_ext4(lab, mib):
    private_mounts()
    image = lab.path("ext4.img")
    with open(image, "wb") as file:
        file.truncate(mib << 20)
    try:
        made = subprocess.run(["mkfs.ext4", "-q", "-F", "-m", "0", image], capture_output=True,
                              text=True, timeout=20)
    except FileNotFoundError:
        raise Skipped("no mkfs.ext4") from None
    if made.returncode != 0:
        raise Failed(f"mkfs.ext4: {made.stderr}")
    return mount(["-t", "ext4", "-o", "loop", image], lab.path("ext4"))
