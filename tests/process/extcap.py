#!/usr/bin/python3
"""The extcap script: what it tells Wireshark, and what comes through its pipe."""

import os
import re
import shutil
import signal
import socket
import subprocess

from harness import Pcap, Skipped, check, equal, eventually, main, run_program, test

QUIET = 'keepalive = "60s"\ndead_after = "120s"'
SCRIPT = os.path.join(os.path.dirname(os.path.realpath(__file__)), "../../scripts/extcap",
                      "sluice-extcap")


def extcap(lab, *arguments):
    """Exit code, output and errors of the script, which sees the processes of this test."""
    return run_program(["env", f"SLUICE_SOCKETS={lab.dir}", SCRIPT, *arguments])


def names(lab):
    code, out, err = extcap(lab, "--extcap-interfaces", "--extcap-version=4.0")
    equal(code, 0, f"--extcap-interfaces: {err}")
    check(out.startswith("extcap {version="), f"no version: {out!r}")
    return re.findall(r"^interface \{value=([^}]+)\}\{display=[^}]+\}$", out, re.MULTILINE)


def start(lab, interface, fifo, *more):
    return lab.process("extcap", ["env", f"SLUICE_SOCKETS={lab.dir}", SCRIPT, "--capture",
                                  "--extcap-interface", interface, "--fifo", fifo, *more])


class Reader:
    """Wireshark's end of the pipe."""

    def __init__(self, lab, name):
        self.fifo = lab.path(name)
        os.mkfifo(self.fifo)
        self.copy = lab.path(name + ".pcap")
        self.out = open(self.copy, "wb")
        self.child = subprocess.Popen(["cat", self.fifo], stdout=self.out)

    def finish(self):
        self.child.wait(10)
        self.out.close()
        return Pcap(self.copy)

    def end(self):
        self.child.kill()
        self.child.wait()
        self.out.close()


def running(role):
    return [row["port"] for row in role.cmd("show capture") if row["state"] == "running"]


@test(seconds=40)
def it_lists_ports_and_leaves_vhost_sockets_alone(lab):
    vswitch, guest = lab.pair(QUIET, QUIET)
    # A socket of somebody else with the name of one of ours: nobody may knock there.
    other = socket.socket(socket.AF_UNIX)
    other.bind(lab.path("vm9.sock"))
    other.listen(1)
    other.setblocking(False)
    equal(names(lab), ["sluice-guest-host", "sluice-vswitch-vm1"], "interfaces")
    try:
        other.accept()
        check(False, "somebody connected to a socket that is not for control")
    except BlockingIOError:
        pass
    other.close()

    code, out, err = extcap(lab, "--extcap-interface", "sluice-vswitch-vm1", "--extcap-dlts")
    equal((code, out), (0, "dlt {number=147}{name=USER0}{display=VMPI channels}\n"), err)
    code, out, err = extcap(lab, "--extcap-interface", "sluice-vswitch-vm1", "--extcap-config")
    equal(code, 0, err)
    check("call=--direction" in out and "call=--snaplen" in out, out)

    code, out, err = extcap(lab, "--extcap-interface", "sluice-none-x", "--extcap-dlts")
    equal((code, out), (1, ""), "a name that is none")
    check("sluice-none-x" in err and "Traceback" not in err, err)
    # The processes have not noticed.
    check(vswitch.running() and guest.running(), "somebody ended")


@test(seconds=20)
def nothing_runs(lab):
    equal(names(lab), [], "interfaces")
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(lab.path("dead.sock"))
    os.chmod(lab.path("dead.sock"), 0o600)
    dead.close()
    code, out, err = extcap(lab, "--extcap-interfaces")
    equal((code, "interface" in out), (0, False), "with a dead socket")
    check("dead.sock" in err and "Traceback" not in err, err)


@test(seconds=50)
def a_capture_comes_through_the_pipe(lab):
    vswitch, guest = lab.pair(QUIET, QUIET)
    reader = Reader(lab, "wire shark")  # a blank in its name
    script = start(lab, "sluice-vswitch-vm1", reader.fifo, "--direction", "rx", "--snaplen", "40")
    eventually(lambda: running(vswitch) == ["vm1"], "the capture to begin")
    before = vswitch.port("vm1")["rx_packets"]
    guest.transfer("host client tgen/host size 100 count 2000 rate 20kpps")
    received = vswitch.port("vm1")["rx_packets"] - before
    # What Wireshark does when it is told to stop.
    script.signal(signal.SIGTERM)
    equal(script.wait(), 0, f"exit code; it said: {script.log()}")
    equal(running(vswitch), [], "captures afterwards")
    pcap = reader.finish()
    equal(len(pcap.packets), received, "packets in the pipe")
    check(received >= 2000, f"only {received} packets were received")
    equal(max(captured for _, captured, _ in pcap.packets), 40, "cut at the snaplen")


@test(seconds=40)
def a_capture_filter_reaches_the_process(lab):
    vswitch, guest = lab.pair(QUIET, QUIET)
    reader = Reader(lab, "fifo")
    script = start(lab, "sluice-vswitch-vm1", reader.fifo, "--extcap-capture-filter",
                   "greater 500")
    eventually(lambda: running(vswitch) == ["vm1"], "the capture to begin")
    guest.transfer("host client tgen/host size 100 count 500 rate 20kpps")
    guest.transfer("host client tgen/host size 600 count 300 rate 20kpps")
    script.signal(signal.SIGTERM)
    equal(script.wait(), 0, f"exit code; it said: {script.log()}")
    packets = reader.finish().packets
    check(len(packets) >= 300 and all(wire >= 500 for _, _, wire in packets),
          f"{len(packets)} packets, the shortest of {min(p[2] for p in packets)} bytes")
    reader = Reader(lab, "fifo2")
    script = start(lab, "sluice-vswitch-vm1", reader.fifo, "--extcap-capture-filter", "no (such")
    equal(script.wait(), 1, "exit code with a wrong filter")
    check("no (such" in script.log() and "Traceback" not in script.log(), script.log())
    reader.end()


@test(seconds=40)
def a_reader_that_goes_ends_the_capture(lab):
    vswitch, guest = lab.pair(QUIET, QUIET)
    reader = Reader(lab, "fifo")
    script = start(lab, "sluice-vswitch-vm1", reader.fifo)
    eventually(lambda: running(vswitch) == ["vm1"], "the capture to begin")
    reader.end()
    equal(script.wait(), 0, f"exit code; it said: {script.log()}")
    eventually(lambda: running(vswitch) == [], "the capture to end")
    guest.transfer("host client tgen/host size 100 count 100 rate 20kpps")  # nobody was harmed


@test(seconds=40)
def what_cannot_be_is_explained(lab):
    vswitch, _ = lab.pair(QUIET, QUIET)
    vswitch.cmd(f"start capture vm1 {lab.path('busy.pcap')}")
    reader = Reader(lab, "fifo")
    script = start(lab, "sluice-vswitch-vm1", reader.fifo)
    equal(script.wait(), 1, "exit code while the port is being captured")
    check("busy.pcap" in script.log() and "Traceback" not in script.log(), script.log())
    reader.end()
    equal(running(vswitch), ["vm1"], "the other capture goes on")
    for arguments in (["--capture"], ["--capture", "--fifo", lab.path("none")],
                      ["--capture", "--fifo", lab.path("none"), "--snaplen", "0"], []):
        code, out, err = extcap(lab, "--extcap-interface", "sluice-vswitch-vm1", *arguments)
        equal((code, out), (1, ""), f"{arguments}")
        check(err.startswith("sluice-extcap: ") and err.count("\n") == 1, err)


def tshark_with(folder, sockets):
    """The start of a command: a tshark that has nothing but this folder of extcap programs."""
    tshark = ["env", f"WIRESHARK_EXTCAP_DIR={folder}", f"SLUICE_SOCKETS={sockets}"]
    if os.geteuid() != 0:
        return [*tshark, "tshark"]
    # For root it does not look at the environment, so its own folder gets another face, in a
    # mount namespace.
    code, out, _ = run_program(["tshark", "-G", "folders"])
    path = re.search(r"^(?:Global )?Extcap path:\s*(\S+)", out, re.MULTILINE)
    check(code == 0 and path, f"tshark names no folder for extcap: {out}")
    swap = ["unshare", "--mount", "sh", "-c", 'mount --bind "$0" "$1" && shift && exec "$@"',
            folder, path.group(1)]
    if run_program([*swap, "true"])[0] != 0:
        raise Skipped("no mount namespace, and root's tshark takes no other folder")
    return [*tshark, *swap, "tshark"]


@test(seconds=50)
def tshark_captures(lab):
    if shutil.which("tshark") is None:
        return
    vswitch, guest = lab.pair(QUIET, QUIET)
    folder = lab.out_dir("extcap")
    os.symlink(SCRIPT, os.path.join(folder, "sluice-extcap"))
    tshark = tshark_with(folder, lab.dir)
    code, out, err = run_program([*tshark, "-D"], seconds=30)
    equal(code, 0, err)
    check("sluice-vswitch-vm1" in out, f"not in tshark's list: {out}")
    script = lab.process("tshark", [*tshark, "-i", "sluice-vswitch-vm1", "-c", "50", "-n", "-T",
                                    "fields", "-e", "frame.len"])
    eventually(lambda: running(vswitch) == ["vm1"], "the capture to begin", seconds=20)
    guest.transfer("host client tgen/host size 100 count 2000 rate 20kpps")
    equal(script.wait(20), 0, script.log())
    lengths = [line for line in script.log().splitlines() if line.isdigit()]
    equal(len(lengths), 50, f"packets that tshark shows; it said: {script.log()}")
    eventually(lambda: running(vswitch) == [], "the capture to end")


if __name__ == "__main__":
    main()
