#!/usr/bin/python3
"""The console: commands from arguments, scripts, pipes, a terminal and JSON-RPC."""

import json
import os
import pty
import re
import select
import signal
import socket
import time

from harness import (Failed, Rpc, check, cpus, eal_args, equal, eventually, main, roles,
                     run_program, test)


def vswitch_alone(lab):
    lab.vswitch_config()
    return lab.start_vswitch().ready()


def attach(role, *words, stdin=""):
    return run_program([roles["console"], "--attach", role.socket_path, *words], stdin=stdin)


def caret_word(text):
    """What the caret line points at in the line above it."""
    lines = text.splitlines()
    for above, below in zip(lines, lines[1:]):
        mark = below.strip()
        if mark and set(mark) <= set("^~") and mark[0] == "^":
            at = below.index("^")
            return above[at:at + len(mark)]
    raise Failed(f"no caret in: {text}")


@test(seconds=30)
def commands_from_arguments(lab):
    role = vswitch_alone(lab)
    code, out, err = attach(role, "-e", "show version", "-e", "show port info all")
    equal((code, err), (0, ""), "exit code")
    check("dpdk" in out and "vm1" in out and "net_vhost" in out, out)
    code, out, _ = attach(role, "--json", "-e", "show port stats all")
    equal(code, 0, "exit code with --json")
    rows = json.loads(out)
    equal([r["port"] for r in rows], ["vm1"], "ports")
    check(all(isinstance(rows[0][k], int) for k in ("rx_packets", "tx_bytes")), f"types: {rows}")
    # Unique beginnings of words do, but where a name could stand.
    code, short, _ = attach(role, "--json", "-e", "sh po st all")
    equal((code, json.loads(short)), (0, rows), "abbreviated")
    # The first failure ends it.
    code, out, err = attach(role, "-e", "show nonsense", "-e", "show version")
    equal((code, out), (1, ""), "after a mistake")


@test(seconds=30)
def mistakes_are_pointed_at(lab):
    role = vswitch_alone(lab)
    for line, word, expected in (("show nonsense", "nonsense", "version"),
                                 ("shwo version", "shwo", "show"),
                                 ("show port stats vm9", None, "vm1"),
                                 ("show version now", "now", ""),
                                 ("s", "s", "start"),
                                 ("show port", None, "stats"),
                                 ("start capture vm1", None, "FILE")):
        code, out, err = attach(role, "-e", line)
        equal((code, out), (1, ""), f"exit code and output of '{line}'")
        if word is not None:
            equal(caret_word(err), word, f"what the caret of '{line}' points at")
        check(expected in err, f"'{expected}' is not in: {err}")
        code, out, _ = attach(role, "--json", "-e", line)
        error = json.loads(out)["error"]
        check(code == 1 and error["message"], f"--json: {out}")
    equal(role.cmd("show version")["role"], "vswitch", "the role goes on")


@test(seconds=30)
def scripts_and_pipes(lab):
    role = vswitch_alone(lab)
    good = lab.write("good", "# a comment\n\nshow version\nshow port stats all  # another\n")
    code, out, err = attach(role, "-f", good)
    equal((code, err), (0, ""), "exit code of a good script")
    check("dpdk" in out and "rx_packets" in out, out)
    bad = lab.write("bad", "show version\n\nshow nonsense\nquit\n")
    code, out, err = attach(role, "-f", bad)
    equal(code, 1, "exit code of a bad script")
    check(err.startswith(f"{bad}:3: "), f"place of the mistake: {err}")
    equal(caret_word(err), "nonsense", "what the caret points at")
    check("dpdk" in out, "what came before the mistake was run")
    check(role.running(), "what came behind the mistake was not")
    code, _, err = attach(role, "-f", lab.path("nothing"))
    check(code == 1 and "nothing" in err, f"a script that is not there: {err}")

    code, out, err = attach(role, stdin="show version\nquit\nshow nonsense\n")
    equal((code, err), (0, ""), "a pipe that quits")
    check(role.running() and role.cmd("show version"), "quit in a pipe leaves the role alone")
    code, out, err = attach(role, stdin="show version\nshow nonsense\n")
    check(code == 1 and err.startswith("stdin:2: "), f"a mistake in a pipe: {err}")
    code, out, _ = attach(role, "-e", "quit")
    equal(code, 0, "quit from an argument")
    equal(role.wait(5), 0, "exit code of a role that was told to quit")


@test(seconds=30)
def nobody_there(lab):
    for path in (lab.path("nothing.sock"), lab.write("file", "")):
        code, out, err = run_program([roles["console"], "--attach", path, "-e", "show version"])
        equal((code, out, len(err.splitlines())), (1, "", 1), f"attach to {path}: {err}")
        check(path in err, err)
    code, out, _ = run_program([roles["console"], "--attach", lab.path("nothing.sock"), "--json",
                                "-e", "show version"])
    equal(code, 1, "exit code with --json")
    check(json.loads(out)["error"]["message"], out)


@test(seconds=30)
def json_rpc(lab):
    role = vswitch_alone(lab)
    rpc = Rpc(role.socket_path)
    rows = rpc.call("show.port.stats", port="all")
    equal([r["port"] for r in rows], ["vm1"], "show.port.stats of all")
    equal(rpc.call("show.port.stats", port="vm1")[0]["port"], "vm1", "show.port.stats of vm1")
    check(rpc.call("commands"), "commands")
    equal(rpc.call("console.hello")["pid"], role.pid, "console.hello")

    def answer(line):
        rpc.send_line(line)
        return rpc.read_answer()

    for line, code in (("{", -32700), ("[]", -32600), ("3", -32600), ('{"id": 1}', -32600),
                       ('{"jsonrpc": "2.0", "id": 1, "method": 5}', -32600),
                       ('{"jsonrpc": "2.0", "id": 1, "method": "show.nonsense"}', -32601),
                       ('{"jsonrpc": "2.0", "id": 1, "method": "show.port.stats", '
                        '"params": {"port": [5]}}', -32602),
                       ('{"jsonrpc": "2.0", "id": 1, "method": "show.port.stats", '
                        '"params": {"port": "all", "more": 1}}', -32602),
                       ("[" * 100000, -32700)):
        got = answer(line)
        equal(got["error"]["code"], code, f"error of {line[:80]}: {got}")
        check(got["error"]["message"], f"message for {line[:80]}")
    batch = answer('[{"jsonrpc": "2.0", "id": "a", "method": "show.version"}, '
                   '{"jsonrpc": "2.0", "method": "show.version"}, '
                   '{"jsonrpc": "2.0", "id": "b", "method": "show.nonsense"}]')
    equal(sorted(r["id"] for r in batch), ["a", "b"], "answers to a batch with a notification")
    # Two requests in one piece, and one in two.
    one = '{"jsonrpc": "2.0", "id": %d, "method": "show.version"}\n'
    rpc.socket.sendall((one % 1 + one % 2).encode())
    equal([rpc.read_answer()["id"] for _ in range(2)], [1, 2], "two requests in one piece")
    rpc.socket.sendall((one % 3)[:20].encode())
    other = Rpc(role.socket_path)  # is served although the first one is half a request behind
    equal(other.call("show.version")["role"], "vswitch", "a second client")
    rpc.socket.sendall((one % 3)[20:].encode())
    equal(rpc.read_answer()["id"], 3, "a request in two pieces")


def connected(role):
    client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    client.settimeout(5)
    try:
        client.connect(role.socket_path)
        return client
    except OSError:
        client.close()
        return None


@test(seconds=40)
def hostile_clients_harm_nobody(lab):
    role = vswitch_alone(lab)
    connections = []
    try:
        for _ in range(40):
            client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            client.settimeout(5)
            client.connect(role.socket_path)
            connections.append(client)
    except OSError:
        pass  # refused is an answer too
    for client in connections:
        client.close()
    flood = eventually(lambda: connected(role), "a connection after the crowd")
    try:  # a line that never ends
        for _ in range(64):
            flood.sendall(b"x" * (1 << 20))
    except OSError:
        pass
    flood.close()

    def answers():
        try:
            rpc = Rpc(role.socket_path)
            value = rpc.call("show.version")
            rpc.close()
            return value
        except (OSError, Failed):
            return None

    eventually(answers, "the role answers others", 10)
    check(role.running(), "the role runs")
    equal(role.terminate(), 0, "exit code")


def plain(seen):
    """Without what moves the cursor: an editor that completes a word may skip what stands there."""
    return re.sub(r"\x1b\[[0-9;]*[A-Za-z]|\r", "", seen)


class Terminal:
    """A program on a terminal of its own."""

    def __init__(self, lab, argv):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            try:
                os.environ.update(TERM="vt100", HOME=lab.dir, XDG_STATE_HOME=lab.dir)
                os.execv(argv[0], argv)
            finally:
                os._exit(127)
        self.seen = ""
        self.ended = None

    def wait_for(self, text, seconds=10.0, since=0):
        end = time.monotonic() + seconds
        while text not in plain(self.seen[since:]):
            left = end - time.monotonic()
            if left <= 0 or not self.read(left):
                raise Failed(f"no '{text}' on the terminal, but {self.seen[since:]!r}")
        return self.seen[since:]

    def read(self, seconds):
        ready, _, _ = select.select([self.fd], [], [], seconds)
        if not ready:
            return False
        try:
            piece = os.read(self.fd, 65536)
        except OSError:  # the other end is closed
            return False
        self.seen += piece.decode(errors="replace")
        return bool(piece)

    def type(self, text):
        since = len(self.seen)
        os.write(self.fd, text.encode())
        return since

    def wait_end(self, seconds=10.0):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.read(0.05)  # or it might wait for us to read
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.ended = os.waitstatus_to_exitcode(status)
                return self.ended
        raise Failed(f"still on the terminal after {seconds} s: {self.seen[-300:]!r}")

    def kill(self):
        if self.ended is None:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self.fd)


PROMPT = "sluice-vswitch> "


@test(seconds=40)
def prompt_attached(lab):
    role = vswitch_alone(lab)
    terminal = Terminal(lab, [roles["console"], "--attach", role.socket_path])
    try:
        terminal.wait_for(PROMPT)
        since = terminal.type("show version\n")
        terminal.wait_for("dpdk", since=since)
        terminal.wait_for(PROMPT, since=since + len("show version"))
        # "sh", tab: the only word that begins so; "show vers", tab; and what it says.
        since = terminal.type("sh\t")
        terminal.wait_for("show ", since=since)
        since = terminal.type("vers\t")
        terminal.wait_for("version", since=since)
        since = terminal.type("\n")
        terminal.wait_for("dpdk", since=since)
        # Names of ports come from the role.
        since = terminal.type("show port stats v\t")
        terminal.wait_for("vm1", since=since)
        since = terminal.type("\n")
        terminal.wait_for("rx_packets", since=since)
        # Several are possible: they are listed.
        since = terminal.type("show port \t\t")
        for word in ("info", "stats", "xstats"):
            terminal.wait_for(word, since=since)
        since = terminal.type("nonsense\n")
        terminal.wait_for("^", since=since)
        terminal.wait_for(PROMPT, since=since)
        terminal.type("quit\n")
        equal(terminal.wait_end(), 0, "exit code of the console")
    finally:
        terminal.kill()
    check(role.running() and role.cmd("show version"), "quit at a prompt leaves the role alone")


@test(seconds=40)
def prompt_sees_the_role_end(lab):
    role = vswitch_alone(lab)
    terminal = Terminal(lab, [roles["console"], "--attach", role.socket_path])
    try:
        terminal.wait_for(PROMPT)
        equal(role.terminate(), 0, "exit code of the role")
        since = terminal.type("show version\n")
        terminal.wait_for("role", since=since)
        equal(terminal.wait_end(), 1, "exit code of the console")
    finally:
        terminal.kill()


@test(seconds=40)
def prompt_of_the_role_itself(lab):
    config = lab.vswitch_config()
    terminal = Terminal(lab, [roles["vswitch"], *eal_args(cpus()[-1]), "--", "--config", config])
    try:
        terminal.wait_for(PROMPT, 20)
        since = terminal.type("show por\tstats all\n")
        terminal.wait_for("rx_packets", since=since)
        since = terminal.type("show nonsense\n")
        terminal.wait_for("^", since=since)
        terminal.type("quit\n")
        equal(terminal.wait_end(), 0, "exit code of the role")
    finally:
        terminal.kill()
    check(not os.path.exists(lab.path("vswitch.sock")), "the control socket is gone")


if __name__ == "__main__":
    main()
