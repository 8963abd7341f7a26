#!/usr/bin/python3
"""What operators get wrong: one clear line, the right exit code, and nothing touched."""

import os
import re
import subprocess
import sys

from harness import (Failed, check, cpus, eal_args, equal, eventually, main, roles, run_program,
                     runtime_dir, test)

PORT = '[[port]]\nname = "vm1"\nkind = "vmpi"\ndevice = "net_vhost0,iface=vm1.vhost,client=1"\n'

# Configuration, line of the mistake, words of the message.
MISTAKES = (
    ("[runtime]\nsockett = \"x\"\n", 2, ("sockett", "socket")),
    ("[runtim]\nsocket = \"x\"\n", 1, ("runtim",)),
    ("[runtime]\nsocket = 5\n", 2, ("socket", "string", "5")),
    ("[runtime]\nidle = \"lazy\"\n", 2, ("idle", "busy", "adaptive", "lazy")),
    ("[mempool]\ndata_size = 1\n", 2, ("data_size", "512", "65400")),
    ("[mempool]\nmbufs_extra = -1\n", 2, ("mbufs_extra", "-1")),
    ("[[port]]\nname = \"vm1\"\n", 1, ("device", "missing")),
    ("[[port]]\ndevice = \"x\"\n", 1, ("name", "missing")),
    ("port = 3\n", 1, ("port",)),
    (PORT + "kind2 = 1\n", 5, ("kind2", "kind")),
    (PORT.replace("vmpi", "ethernet"), 3, ("kind", "vmpi", "ethernet")),
    (PORT + "rx_descriptors = \"many\"\n", 5, ("rx_descriptors", "integer", "many")),
    (PORT + "rx_descriptors = 31\n", 5, ("rx_descriptors", "32", "31")),
    (PORT + "rx_descriptors = 1.5\n", 5, ("rx_descriptors", "1.5")),
    (PORT + "lcore = 7\n", None, ("vm1", "lcore 7", "1")),
    (PORT + PORT, 6, ("vm1", "already")),
    (PORT + "[port.vmpi]\nprofile = \"foo\"\n", 6, ("profile", "sluice", "irati", "foo")),
    (PORT + "[port.vmpi]\nmax_sdu = 65001\n", 6, ("max_sdu", "65000", "65001")),
    (PORT + "[port.vmpi]\nwindow = 1\n", 6, ("window", "64")),
    (PORT + "[port.vmpi]\nkeepalive = 3\n", 6, ("keepalive", "duration", "3")),
    (PORT + "[port.vmpi]\nprofile = \"irati\"\nmax_channels = 64\n", 7, ("max_channels", "63")),
    (PORT + "[tgen]\npool = 5\n", 6, ("pool", "2047", "5")),
    (PORT + "[tgen]\nlcore = 9\n", None, ("tgen", "lcore 9")),
    (PORT + "[[app]]\nname = \"a\"\ndif = \"vm2\"\n", 7, ("vm2", "vm1")),
    (PORT + "[[app]]\ndif = \"vm1\"\n", 5, ("name", "missing")),
    (PORT + "[[app]]\nname = \"a\"\ndif = \"vm1\"\nkind = \"cat\"\n", 8, ("kind", "tgen", "cat")),
    (PORT + "[[run]]\ndif = \"vm9\"\ndestination = \"x\"\n", 6, ("vm9", "vm1")),
    (PORT + "[[capture]]\nport = \"vm3\"\nfile = \"x\"\n", 6, ("vm3", "vm1")),
    (PORT + "[[capture]]\nport = \"vm1\"\nfile = \"x\"\ndirection = \"up\"\n", 8,
     ("direction", "rx", "tx", "both", "up")),
    ("[runtime\nsocket = 1\n", 1, ()),
    ("[runtime]\nsocket = \"x\n", 2, ()),
    ("[runtime]\nsocket = \"x\"\nsocket = \"y\"\n", 3, ("socket",)),
    ("\x00\n", 1, ()),
)


def refused_check(lab, text, line, words):
    path = lab.write("bad.toml", text)
    code, out, err = run_program([roles["vswitch"], "--lcores", f"0@{cpus()[0]},1@{cpus()[-1]}",
                                  "--", "--config", path, "--check"], cwd=lab.dir)
    equal((code, out), (2, ""), f"exit code and output for {text!r} ({err!r})")
    lines = err.splitlines()
    equal(len(lines), 1, f"lines for {text!r} in {lines}")
    where = f"{path}:{line}:" if line is not None else f"{path}:"
    check(where in err, f"'{where}' is not in '{err}'")
    check(re.search(r":\d+: \S", err), f"no line number in '{err}'")
    for word in words:
        check(word in err, f"'{word}' is not in '{err}' for {text!r}")


@test(seconds=60)
def configuration_mistakes(lab):
    failures = []
    for text, line, words in MISTAKES:
        try:
            refused_check(lab, text, line, words)
        except Failed as error:
            failures.append(str(error))
    check(not failures, "\n  ".join([f"{len(failures)} mistakes are told badly:", *failures]))
    equal(os.listdir(lab.dir), ["bad.toml"], "files made by --check")


@test(seconds=30)
def several_mistakes_are_told_at_once(lab):
    path = lab.write("bad.toml", PORT + "[port.vmpi]\nprofile = 1\nwindow = 1\n[x]\n")
    code, _, err = run_program([roles["vswitch"], "--", "--config", path, "--check"])
    equal(code, 2, "exit code")
    lines = err.splitlines()
    equal(len(lines), 3, f"lines: {lines}")
    for number in (6, 7, 8):
        check(any(f"{path}:{number}: " in line for line in lines), f"line {number} in {lines}")


@test(seconds=60)
def arguments(lab):
    good = lab.vswitch_config()
    for role in roles:
        if role == "config":
            continue
        for words in (["--config", lab.path("nothing.toml")], ["--config", lab.dir], [],
                      ["--config"], ["--nonsense"], ["--config", good, "--log-level", "loud"]):
            code, out, err = run_program([roles[role], *words])
            equal(code, 2, f"exit code of {role} {words}: {err}")
            check(err and "terminate" not in err and len(err.splitlines()) <= 3,
                  f"{role} {words}: {err}")
        code, out, _ = run_program([roles[role], "--help"])
        check(code == 0 and "--config" in out, f"help of {role}")
        code, out, _ = run_program([roles[role], "--version"])
        check(code == 0 and out.startswith("sluice "), f"version of {role}")
    _, _, err = run_program([roles["vswitch"], "--config", lab.path("nothing.toml")])
    check("nothing.toml" in err and "No such file" in err, f"message for no file: {err}")
    for lcores in ("5000", "x", "3-1"):
        code, _, err = run_program([roles["vswitch"], "-l", lcores, "--", "--config", good,
                                    "--check"])
        equal((code, len(err.splitlines())), (2, 1), f"exit code and lines of -l {lcores}")
    code, _, err = run_program([roles["vswitch"], "-l", "0,1", "--main-lcore", "9", "--",
                                "--config", good, "--check"])
    equal(code, 2, "exit code of a --main-lcore that is none")
    check("9" in err, err)


@test(seconds=40)
def check_of_our_own_configurations(lab):
    folder = roles.get("config", os.path.join(os.path.dirname(sys.argv[0]), "../../config"))
    done = 0
    for role, name in (("vswitch", "vswitch"), ("guest", "guest"), ("capture", "capture"),
                       ("console", "lab")):
        path = os.path.join(folder, name + ".toml")
        if not os.path.exists(path):
            continue
        before = set(os.listdir("/run/sluice")) if os.path.isdir("/run/sluice") else None
        child = subprocess.Popen([roles[role], "-l", "0,1", "--", "--config", path, "--check"],
                                 stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                 cwd=lab.dir)
        out, err = child.communicate(timeout=20)
        equal((child.returncode, err), (0, ""), f"--check of {path}")
        check("lcore 1" in out and "stage " in out, f"plan of {path}: {out}")
        check(not os.path.exists(runtime_dir(role, child.pid)), "EAL was started")
        after = set(os.listdir("/run/sluice")) if os.path.isdir("/run/sluice") else None
        check(before is not None or after is None, "--check has made /run/sluice")
        code, out, _ = run_program([roles[role], "-l", "0,1", "--", "--config", path, "--check",
                                    "--dot"], cwd=lab.dir)
        check(code == 0 and out.startswith("digraph") and out.rstrip().endswith("}"),
              f"--dot of {path}: {out}")
        done += 1
    check(done >= 2, f"no configurations in {folder}")
    equal(os.listdir(lab.dir), [], "files made by --check")


def our_lines(err):
    """Without what getopt says in our name."""
    lines = [line for line in err.splitlines()
             if line.startswith("sluice-") and "unrecognized option" not in line]
    check(lines, f"no line of ours in: {err}")
    return lines


def fails_to_start(lab, config, eal=None, role="vswitch", words=()):
    code, _, err = run_program([roles[role], *(eal or eal_args(cpus()[-1])), "--", "--config",
                                config], cwd=lab.dir)
    equal(code, 1, f"exit code: {err}")
    lines = our_lines(err)
    equal(len(lines), 1, f"lines of ours: {lines}")
    for word in words:
        check(word in lines[0], f"'{word}' is not in '{lines[0]}'")
    check(not any(n.endswith((".sock", ".lock")) for n in os.listdir(lab.dir)),
          f"left behind: {os.listdir(lab.dir)}")
    return err


@test(seconds=40)
def second_instance(lab):
    config = lab.vswitch_config()
    vswitch = lab.start_vswitch().ready()
    # With a device of its own, so that the control socket is what it meets.
    second = lab.write("second.toml", open(config).read().replace("vm1.vhost", "other.vhost"))
    code, _, err = run_program([roles["vswitch"], *eal_args(cpus()[-1]), "--", "--config",
                                second])
    equal(code, 1, "exit code of a second instance")
    lines = our_lines(err)
    equal(len(lines), 1, f"lines: {lines}")
    check(vswitch.socket_path in lines[0] and "in use" in lines[0], lines[0])
    # The first one is none the worse for it.
    check(vswitch.cmd("show version")["role"] == "vswitch", "the first instance answers")
    equal(vswitch.terminate(), 0, "exit code of the first instance")


@test(seconds=30)
def stale_control_socket_is_taken_over(lab):
    lab.vswitch_config()
    vswitch = lab.start_vswitch().ready()
    vswitch.kill()
    check(os.path.exists(vswitch.socket_path), "a killed role leaves its socket")
    again = lab.start_vswitch().ready()
    equal(again.cmd("show version")["role"], "vswitch", "answer of the next one")
    equal(again.terminate(), 0, "exit code")


@test(seconds=60)
def sockets_that_cannot_be(lab):
    config = open(lab.vswitch_config()).read()
    where = lab.path("vswitch.sock")
    for path in ("/nonexistent/folder/x.sock", "/proc/x.sock", lab.dir,
                 lab.path("x" * 120), "/dev/null/x.sock"):
        bad = lab.write("bad.toml", config.replace(where, path))
        fails_to_start(lab, bad, words=(path,))
    # A file that is no socket is left alone.
    lab.write("precious", "data")
    fails_to_start(lab, lab.write("bad.toml", config.replace(where, lab.path("precious"))),
                   words=("precious", "not a socket"))
    with open(lab.path("precious")) as file:
        equal(file.read(), "data", "the file in the socket's place")


@test(seconds=60)
def devices_that_are_not_there(lab):
    head = f'[runtime]\nsocket = "{lab.path("x.sock")}"\n[[port]]\nname = "p0"\ndevice = '
    for role, device in (("vswitch", "0000:ff:1f.7"), ("vswitch", "net_nonsense0,a=b"),
                         ("vswitch", "net_vhost0,iface=/nonexistent/folder/x.sock"),
                         ("vswitch", "net_vhost0,nonsense=1"),
                         ("guest", "net_virtio_user0,path=/nonexistent/x.sock"),
                         ("guest", "net_virtio_user0")):
        path = lab.write("bad.toml", f'{head}"{device}"\n')
        fails_to_start(lab, path, role=role, words=(f"{path}:", "p0", device))


@test(seconds=60)
def eal_that_does_not_start(lab):
    config = lab.vswitch_config()
    for eal in (["--no-such-option"], ["-l", "0,1", "--no-huge", "-m", "abc"],
                ["--no-pci", "--huge-dir", lab.path("no-hugepages-here")],
                ["--no-pci", "--no-huge", "--vdev", "net_nonsense0"]):
        err = fails_to_start(lab, config, eal=eal, words=("EAL",))
        check("Segmentation" not in err and "panic" not in err.lower(), err)


@test(seconds=30)
def scripts_with_mistakes_stop_the_start(lab):
    config = lab.vswitch_config()
    script = lab.write("bad.script", "show version\n\n# a comment\nshow nonsense\nshow drops\n")
    code, out, err = run_program([roles["vswitch"], *eal_args(cpus()[-1]), "--", "--config",
                                  config, "-f", script])
    equal(code, 1, f"exit code: {err}")
    check(f"{script}:4: " in err and "nonsense" in err, f"place of the mistake: {err}")


@test(seconds=30)
def good_script_runs(lab):
    config = lab.vswitch_config()
    script = lab.write("good.script", "show version\nquit\n")
    role = lab.role("vswitch", config, extra=("-f", script))
    equal(role.wait(20), 0, "exit code after 'quit' in a script")
    check("dpdk" in role.log(), "the script's output")
    eventually(lambda: not os.path.exists(role.socket_path), "the socket is gone")


if __name__ == "__main__":
    main()
