"""Starts the roles in a folder of their own and waits for what they say, never for time to pass.

A test file defines functions with @test and ends with main(). A test may take `seconds` (its
deadline); what it started is ended when it is over, by pid, whatever came of it. If we die
ourselves, the kernel ends our children.
"""

import ctypes
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import traceback

SKIPPED = 77
POLL = 0.02  # between two looks at a log or a counter
PR_SET_PDEATHSIG = 1

_libc = ctypes.CDLL(None, use_errno=True)
_tests = []
roles = {}  # role -> executable


class Failed(Exception):
    pass


class Skipped(Exception):
    pass


class CommandFailed(Exception):
    """A command was answered with an error."""

    def __init__(self, error):
        super().__init__(error.get("message", ""))
        self.message = error.get("message", "")
        self.rpc_code = error.get("code")
        data = error.get("data")
        self.errno = data.get("errno") if isinstance(data, dict) else None


def check(condition, what):
    if not condition:
        raise Failed(what)


def equal(got, wanted, what):
    if got != wanted:
        raise Failed(f"{what}: {got!r}, expected {wanted!r}")


def eventually(look, what, seconds=10.0):
    """The first true value that look() gives."""
    end = time.monotonic() + seconds
    while True:
        value = look()
        if value:
            return value
        if time.monotonic() > end:
            raise Failed(f"not within {seconds} s: {what}")
        time.sleep(POLL)


def settled(look, what, quiet=0.3, seconds=10.0):
    """The value of look() once it has not changed for `quiet` seconds."""
    end = time.monotonic() + seconds
    value, since = look(), time.monotonic()
    while time.monotonic() - since < quiet:
        if time.monotonic() > end:
            raise Failed(f"still changing after {seconds} s: {what}")
        time.sleep(POLL)
        now = look()
        if now != value:
            value, since = now, time.monotonic()
    return value


def test(seconds=30):
    def register(function):
        _tests.append((function, seconds))
        return function

    return register


# ---- processes -------------------------------------------------------------------------------


def cpus():
    return sorted(os.sched_getaffinity(0))


def eal_args(worker_cpu):
    """Ordinary memory, no PCI, one worker on a CPU; the control thread goes where there is room."""
    all_of_them = ",".join(str(c) for c in cpus())
    return ["--lcores", f"0@({all_of_them}),1@{worker_cpu}", "--no-huge", "-m", "512", "--no-pci"]


def runtime_dir(role, pid):
    """Where EAL of that process keeps its files."""
    if os.geteuid() == 0:
        base = "/var/run"
    else:
        base = os.environ.get("XDG_RUNTIME_DIR", "/tmp")
    return f"{base}/dpdk/sluice-{role}-{pid}"


def _end_with_parent():
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class Process:
    """A role, or any other program, with its output in a file."""

    def __init__(self, lab, name, argv, stdin=subprocess.DEVNULL):
        self.name = name
        self.log_path = f"{lab.dir}/{name}.{lab.serial()}.log"
        with open(self.log_path, "wb") as log:
            self.child = subprocess.Popen(argv, stdin=stdin, stdout=log, stderr=log,
                                          preexec_fn=_end_with_parent, cwd=lab.dir)
        self.pid = self.child.pid

    def log(self):
        with open(self.log_path, "r", errors="replace") as log:
            return log.read()

    def running(self):
        return self.child.poll() is None

    def wait_log(self, text, seconds=15.0):
        def look():
            log = self.log()
            if text in log:
                return True
            if not self.running():
                raise Failed(f"{self.name} ended with {self.child.returncode} before '{text}'")
            return False

        eventually(look, f"'{text}' in the log of {self.name}", seconds)

    def signal(self, number):
        self.child.send_signal(number)

    def wait(self, seconds=10.0):
        try:
            return self.child.wait(seconds)
        except subprocess.TimeoutExpired:
            raise Failed(f"{self.name} still runs after {seconds} s") from None

    def kill(self):
        if self.running():
            self.child.kill()
        self.child.wait()

    def cpu_seconds(self):
        with open(f"/proc/{self.pid}/stat") as stat:
            fields = stat.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Rpc:
    """A connection to a control socket: JSON-RPC, a line each."""

    def __init__(self, path, seconds=10.0):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(seconds)
        self.socket.connect(path)
        self.reader = self.socket.makefile("rb")
        self.next_id = 0

    def close(self):
        self.reader.close()
        self.socket.close()

    def send_line(self, line):
        self.socket.sendall(line.encode() + b"\n")

    def read_answer(self):
        line = self.reader.readline()
        if not line:
            raise Failed("the role closed the control connection")
        return json.loads(line)

    def call(self, method, **params):
        self.next_id += 1
        request = {"jsonrpc": "2.0", "id": self.next_id, "method": method, "params": params}
        self.send_line(json.dumps(request))
        answer = self.read_answer()
        equal(answer.get("id"), self.next_id, "id of the answer")
        if "error" in answer:
            raise CommandFailed(answer["error"])
        return answer["result"]


class Role(Process):
    """One of our roles with a control socket."""

    def __init__(self, lab, role, config, worker_cpu, name=None, socket_path=None, extra=()):
        self.role = role
        self.socket_path = socket_path or f"{lab.dir}/{name or role}.sock"
        argv = [roles[role], *eal_args(worker_cpu), "--", "--config", config, *extra]
        self.rpc = None
        super().__init__(lab, name or role, argv)
        self.runtime_dir = runtime_dir(role, self.pid)

    def ready(self, seconds=20.0):
        self.wait_log("ready, control socket", seconds)
        return self

    def cmd(self, line):
        """The value of a command of the console."""
        if self.rpc is None:
            self.rpc = Rpc(self.socket_path)
        return self.rpc.call("console.execute", line=line)["value"]

    def refused(self, line):
        """The error of a command that must fail."""
        try:
            value = self.cmd(line)
        except CommandFailed as error:
            return error
        raise Failed(f"{self.name} took '{line}' and answered {value!r}")

    def port(self, name):
        return self.cmd(f"show port stats {name}")[0]

    def vmpi(self, name):
        return self.cmd(f"show vmpi {name}")[0]

    def run(self, number):
        return self.cmd(f"show tgen {number}")[0]

    def start_run(self, words):
        return self.cmd(f"start tgen {words}")["run"]

    def wait_run(self, number, seconds=20.0):
        """The row of a run that has ended, well or not."""
        return eventually(lambda: _ended(self.run(number)), f"end of run {number} of {self.name}",
                          seconds)

    def transfer(self, words, seconds=20.0):
        """A run that must end well and lose nothing: its report."""
        row = self.wait_run(self.start_run(words), seconds)
        return good_report(row, words)

    def flow(self, number):
        return next((f for f in self.cmd("show flows") if f["flow"] == number), None)

    def in_use(self):
        return {row["pool"]: row["in_use"] for row in self.cmd("show mempool")}

    def terminate(self, seconds=5.0):
        """SIGTERM; the exit code."""
        self.close()
        self.signal(signal.SIGTERM)
        return self.wait(seconds)

    def close(self):
        if self.rpc is not None:
            self.rpc.close()
            self.rpc = None

    def kill(self):
        self.close()
        super().kill()
        # EAL could not do it.
        shutil.rmtree(self.runtime_dir, ignore_errors=True)


def _ended(row):
    return row if row["state"] in ("done", "failed") else None


def good_report(row, words):
    equal((row["state"], row["failure"]), ("done", ""), f"run '{words}'")
    report = row["report"]
    check(report is not None, f"run '{words}' is done without a report")
    equal((report["lost"], report["reordered"], report["duplicates"]), (0, 0, 0),
          f"lost, reordered, duplicates of run '{words}'")
    equal((report["sdus"], report["bytes"]), (row["sdus_sent"], row["bytes_sent"]),
          f"SDUs and bytes received of run '{words}'")
    return report


# ---- what a test gets ------------------------------------------------------------------------


class Lab:
    """A folder with sockets, configurations and the processes of one test."""

    def __init__(self):
        self.dir = tempfile.mkdtemp(prefix="sluice-test-")
        self.processes = []
        self.count = 0

    def serial(self):
        self.count += 1
        return self.count

    def path(self, name):
        return f"{self.dir}/{name}"

    def write(self, name, text):
        with open(self.path(name), "w") as file:
            file.write(text)
        return self.path(name)

    def random_file(self, name, size):
        data = os.urandom(size)
        with open(self.path(name), "wb") as file:
            file.write(data)
        return self.path(name), data

    def out_dir(self, name):
        os.makedirs(self.path(name), exist_ok=True)
        return self.path(name)

    def process(self, name, argv, **more):
        self.processes.append(Process(self, name, argv, **more))
        return self.processes[-1]

    def role(self, role, config, worker_cpu=None, **more):
        cpu = cpus()[-1] if worker_cpu is None else worker_cpu
        self.processes.append(Role(self, role, config, cpu, **more))
        return self.processes[-1]

    def vswitch_config(self, ports=("vm1",), vmpi="", more=""):
        text = f'[runtime]\nsocket = "{self.path("vswitch.sock")}"\n'
        for port in ports:
            text += (f'[[port]]\nname = "{port}"\nkind = "vmpi"\n'
                     f'device = "net_vhost_{port},iface={self.path(port + ".vhost")},client=1"\n'
                     f"[port.vmpi]\n{vmpi}\n")
        for port in ports:
            text += (f'[[app]]\nname = "tgen/host"\ndif = "{port}"\n'
                     f'out_dir = "{self.out_dir("vswitch.out")}"\n')
        return self.write("vswitch.toml", text + more)

    def guest_config(self, name="guest", port="vm1", vmpi="", more=""):
        device = (f"net_virtio_user0,path={self.path(port + '.vhost')},server=1,queues=1,"
                  "queue_size=1024,in_order=1,mrg_rxbuf=1")
        text = (f'[runtime]\nsocket = "{self.path(name + ".sock")}"\n'
                f'[[port]]\nname = "host"\nkind = "vmpi"\ndevice = "{device}"\n'
                f"[port.vmpi]\n{vmpi}\n"
                f'[[app]]\nname = "tgen/{port}"\ndif = "host"\n'
                f'out_dir = "{self.out_dir(name + ".out")}"\n')
        return self.write(f"{name}.toml", text + more)

    def start_vswitch(self):
        return self.role("vswitch", self.path("vswitch.toml"), cpus()[-1])

    def start_guest(self, name="guest"):
        return self.role("guest", self.path(f"{name}.toml"), cpus()[0], name=name)

    def pair(self, vswitch_vmpi="", guest_vmpi="", vswitch_more=""):
        """A vswitch and a guest whose VMPI devices know each other."""
        self.vswitch_config(vmpi=vswitch_vmpi, more=vswitch_more)
        self.guest_config(vmpi=guest_vmpi)
        guest = self.start_guest()
        vswitch = self.start_vswitch()
        vswitch.ready()
        guest.ready()
        wait_up(vswitch, "vm1")
        wait_up(guest, "host")
        return vswitch, guest

    def end(self):
        for process in self.processes:
            process.kill()

    def logs(self):
        """The ends of all logs, for a failure."""
        out = ""
        for process in self.processes:
            lines = process.log().splitlines()[-15:]
            out += f"--- {process.name} (pid {process.pid})\n"
            out += "".join(f"    {s}\n" for s in lines)
        return out


def wait_up(role, port, seconds=10.0):
    return eventually(lambda: role.vmpi(port)["state"] == "up" and role.vmpi(port),
                      f"{port} of {role.name} is up", seconds)


def run_program(argv, seconds=20.0, stdin="", cwd=None):
    """A program that ends by itself: its exit code, stdout and stderr."""
    try:
        done = subprocess.run(argv, input=stdin, capture_output=True, text=True, timeout=seconds,
                              preexec_fn=_end_with_parent, cwd=cwd)
    except subprocess.TimeoutExpired:
        raise Failed(f"still runs after {seconds} s: {' '.join(argv)}") from None
    return done.returncode, done.stdout, done.stderr


# ---- pcap ------------------------------------------------------------------------------------


class Pcap:
    """The classic format with nanoseconds. Anything out of order in it is a failure."""

    MAGIC_NS = 0xA1B23C4D

    def __init__(self, path):
        with open(path, "rb") as file:
            data = file.read()
        check(len(data) >= 24, f"{path} is too short for a pcap header")
        magic, major, minor, _, _, self.snaplen, self.linktype = struct.unpack_from("<IHHIIII",
                                                                                  data)
        equal((magic, major, minor), (self.MAGIC_NS, 2, 4), f"magic and version of {path}")
        self.packets = []  # (nanoseconds, bytes kept, bytes on the wire)
        at = 24
        while at < len(data):
            check(at + 16 <= len(data), f"{path} ends within a packet's header at byte {at}")
            seconds, nanos, kept, wire = struct.unpack_from("<IIII", data, at)
            check(nanos < 1_000_000_000, f"packet {len(self.packets)}: {nanos} ns")
            check(kept <= wire and kept <= self.snaplen,
                  f"packet {len(self.packets)}: {kept} bytes kept of {wire}")
            at += 16 + kept
            check(at <= len(data), f"{path} ends within packet {len(self.packets)}")
            self.packets.append((seconds * 1_000_000_000 + nanos, kept, wire))

    def check_times(self, begin_ns, end_ns):
        times = [p[0] for p in self.packets]
        check(all(a <= b for a, b in zip(times, times[1:])), "time stamps go backwards")
        slack = 1_000_000_000
        check(begin_ns - slack <= times[0] and times[-1] <= end_ns + slack,
              f"time stamps {times[0]}..{times[-1]} are not within {begin_ns}..{end_ns}")

    def wire_bytes(self):
        return sum(p[2] for p in self.packets)


# ---- running ---------------------------------------------------------------------------------


class _Deadline(BaseException):
    pass


def _on_alarm(_number, _frame):
    raise _Deadline()


def _run_one(function, seconds):
    lab = Lab()
    started = time.monotonic()
    outcome = "ok"
    try:
        signal.alarm(seconds)
        function(lab)
    except Skipped as why:
        outcome = f"skipped: {why}"
    except _Deadline:
        outcome = f"FAILED: took longer than {seconds} s\n{traceback.format_exc()}{lab.logs()}"
    except Exception as error:  # whatever it is, the other tests shall run
        outcome = f"FAILED: {error}\n{traceback.format_exc()}{lab.logs()}"
    finally:
        signal.alarm(0)
        lab.end()
    print(f"{function.__name__} ({time.monotonic() - started:.1f} s): {outcome}", flush=True)
    if outcome.startswith("FAILED") and os.environ.get("SLUICE_KEEP"):
        print(f"kept: {lab.dir}", flush=True)
    else:
        shutil.rmtree(lab.dir, ignore_errors=True)
    return outcome


def main(needed=("vswitch", "guest", "capture", "console")):
    """Arguments: vswitch=PATH guest=PATH capture=PATH console=PATH [TEST...], or what is needed."""
    wanted = []
    for argument in sys.argv[1:]:
        name, sign, path = argument.partition("=")
        if sign:
            roles[name] = os.path.abspath(path)
        else:
            wanted.append(argument)
    for name in needed:
        if not os.access(roles.get(name, ""), os.X_OK):
            print(f"no executable of {name}: expected {name}=PATH")
            sys.exit(SKIPPED)
    signal.signal(signal.SIGALRM, _on_alarm)
    outcomes = [_run_one(f, s) for f, s in _tests if not wanted or f.__name__ in wanted]
    if not outcomes or any(o.startswith("FAILED") for o in outcomes):
        sys.exit(1)
    sys.exit(SKIPPED if all(o.startswith("skipped") for o in outcomes) else 0)
