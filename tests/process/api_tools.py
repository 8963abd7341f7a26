#!/usr/bin/python3
"""sluice-cat, sluice-echo and sluice-perf over the DIF of one process."""

import ctypes
import json
import os
import struct
import subprocess

from api_harness import Server
from harness import check, equal, main, roles, run_program, test


def listening(lab, argv):
    """A server, once it has registered its name."""
    process = lab.process(argv[0], [roles[argv[0]], *argv[1:]])
    process.wait_log("registered")
    return process


def cat(*words, stdin=b"", seconds=40):
    done = subprocess.run([roles["sluice-cat"], *words], input=stdin, capture_output=True,
                          timeout=seconds)
    return done.returncode, done.stdout, done.stderr.decode()


def failed(argv, *words):
    code, out, err = run_program(argv)
    check(code != 0 and out == "" and len(err.splitlines()) == 1, f"{argv}: {code} {out} {err}")
    check("terminate" not in err, err)
    for word in words:
        check(word in err, f"'{word}' is not in '{err}'")


def once(lab, name, *words):
    """A listener for one flow."""
    return listening(lab, ["sluice-cat", "-v", "-l", name, *words])


@test(seconds=90)
def large_files(lab):
    for words in ((), ("--max-sdu", "1400")):
        server = Server(lab, *words)
        path, data = lab.random_file("in", 24 << 20)
        receiver = once(lab, "filer", "-o", lab.path("out"))
        code, out, err = cat("-i", path, "filer")
        equal((code, out, err), (0, b"", ""), "the sender's end")
        equal(receiver.wait(), 0, "exit code of the receiver")
        with open(lab.path("out"), "rb") as file:
            check(file.read() == data, "the file came changed")
        # The other way, on the standard output.
        sender = once(lab, "source", "-i", path)
        code, out, err = cat("--receive", "source")
        equal((code, err, out == data), (0, "", True), "the fetched file")
        equal(sender.wait(), 0, "exit code of the sender")
        equal(server.end()["lost"], 0, "SDUs lost")


@test(seconds=60)
def ends_of_flows(lab):
    server = Server(lab)
    # Nothing at all is a file as well.
    receiver = once(lab, "empty", "-o", lab.path("out"))
    equal(cat("empty"), (0, b"", ""), "an empty input")
    equal(receiver.wait(), 0, "exit code of the receiver")
    # A peer that goes while there is more to send.
    receiver = once(lab, "leaves", "-e", "head -c 1000 > /dev/null; exec 1>&-")
    code, _, err = cat("leaves", stdin=bytes(30 << 20))
    equal((code, err), (1, "sluice-cat: the peer has ended the flow before all was sent\n"),
          "the sender's end")
    receiver.wait()
    # A server that dies.
    once(lab, "stays")
    child = subprocess.Popen([roles["sluice-cat"], "stays"], stdin=subprocess.PIPE,
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    child.stdin.write(b"some text")
    child.stdin.flush()
    server.kill()
    child.communicate(timeout=20)
    code, out, err = cat("stays")
    check(code == 1 and "no server of IPC processes" in err and server.path in err, err)


@test(seconds=60)
def commands(lab):
    Server(lab)
    serving = listening(lab, ["sluice-cat", "-v", "-l", "-k", "-e", "sed -u s/a/A/", "shout"])
    children = []
    for i in range(3):
        child = subprocess.Popen([roles["sluice-cat"], "-w", "shout"], stdin=subprocess.PIPE,
                                 stdout=subprocess.PIPE)
        child.stdin.write(b"ba%d\n" % i)
        child.stdin.flush()
        children.append(child)
    # All at the same time.
    for i, child in enumerate(children):
        equal(child.stdout.readline(), b"bA%d\n" % i, f"answer {i}")
    for child in children:
        child.kill()
        child.communicate()
    check(serving.running(), "the server has ended")
    receiver = once(lab, "fails", "-e", "exit 3")
    cat("fails")
    equal(receiver.wait(), 1, "exit code behind a command that failed")


@test(seconds=60)
def echoes(lab):
    Server(lab)
    listening(lab, ["sluice-echo", "-l"])
    echo = roles["sluice-echo"]
    code, out, _ = run_program([echo])
    check(code == 0 and out.startswith("36 bytes from 'rina-echo-async|server'"), out)
    for size in ("1", "65000"):
        equal(run_program([echo, "-q", "-c", "50", "-s", size, "--reliable"]), (0, "", ""),
              f"echo of {size} bytes")
    failed([echo, "-s", "65001"], "65001", "65000")


@test(seconds=100)
def measurements(lab):
    Server(lab)
    listening(lab, ["sluice-perf", "-l"])
    perf = roles["sluice-perf"]

    def measured(*words):
        code, out, err = run_program([perf, "--json", *words], seconds=40)
        equal((code, err), (0, ""), f"exit code and errors of {words}")
        return json.loads(out)

    row, = measured("-t", "ping", "-c", "5", "-i", "1000")
    equal((row["sent"], row["lost"], row["size"]), (5, 0, 64), "ping")
    row, = measured("-t", "rr", "-c", "2000", "-s", "2")
    equal((row["sent"], row["lost"], row["size"]), (2000, 0, 2), "rr")
    times = row["round_trip_us"]
    check(0 < times["min"] <= times["p50"] <= times["p99"] <= times["max"], f"times {times}")
    for row in measured("-t", "perf", "-c", "20000", "-s", "1400", "-g", "0", "-p", "3"):
        equal((row["sent"], row["server"]["received"]), (20000, 20000), "reliable perf")
        check(row["server"]["bits_per_second"] > 0, "no rate")
    row, = measured("-t", "perf", "-D", "0.3", "--reliable")
    equal(row["server"]["received"], row["sent"], "reliable perf by time")
    row, = measured("-t", "perf", "-c", "3000", "--unreliable")
    check(row["server"]["received"] <= 3000, "more received than sent")
    failed([perf, "-z", "nobody"], "nobody has registered")
    failed([perf, "-s", "65001"], "65001", "65000")
    failed([perf, "-s", "1"], "at least 2")
    code, out, _ = run_program([perf, "-t", "perf", "-c", "100", "--reliable"])
    check(code == 0 and "received 100" in out, out)


class Spec(ctypes.Structure):
    _fields_ = [("version", ctypes.c_uint32), ("max_delay", ctypes.c_uint32),
                ("max_sdu_gap", ctypes.c_uint64), ("avg_bandwidth", ctypes.c_uint64),
                ("max_loss", ctypes.c_uint16), ("in_order_delivery", ctypes.c_uint8),
                ("msg_boundaries", ctypes.c_uint8), ("max_jitter", ctypes.c_uint32)]


PING, RR, PERF, DATA, STOP = range(5)


def config(count, opcode, ticket, size):
    return struct.pack("<QIII", count, opcode, ticket, size)


@test(seconds=60)
def a_client_as_rinaperf_is(lab):
    """Its messages by hand, byte for byte."""
    Server(lab)
    listening(lab, ["sluice-perf", "-l"])
    api = ctypes.CDLL(roles["librina-api"])
    names = (b"rinaperf-data|client", b"rinaperf-data|server")
    for opcode, echoed in ((PING, True), (RR, True), (PERF, False)):
        spec = Spec()
        api.rina_flow_spec_unreliable(ctypes.byref(spec))
        equal((spec.version, spec.max_sdu_gap, spec.max_loss, spec.msg_boundaries),
              (2, 2**64 - 1, 10000, 1), "best effort")
        spec.max_sdu_gap = 0
        control = api.rina_flow_alloc(None, *names, ctypes.byref(spec), 0)
        os.write(control, config(0, opcode, 0, 100))
        ticket, = struct.unpack("<I", os.read(control, 100))
        data = api.rina_flow_alloc(None, *names, ctypes.byref(spec), 0)
        os.write(data, config(0, DATA, ticket, 0))
        for number in range(5):
            sdu = struct.pack("<H", number) + b"x" * 98
            os.write(data, sdu)
            if echoed:
                equal(os.read(data, 1000), sdu, "echo")
        os.write(control, config(5, STOP, 0, 0))
        result = os.read(control, 100)
        equal(len(result), 32, "length of the result")
        equal(struct.unpack("<QQQQ", result)[0], 5, "SDUs counted")
        os.close(data)
        os.close(control)
    # A ticket that nobody was given, and what is no message at all: both are sent away.
    for message in (config(0, DATA, 12345, 0), b"what?", config(0, 9, 0, 0)):
        flow = api.rina_flow_alloc(None, *names, None, 0)
        os.write(flow, message)
        equal(os.read(flow, 100), b"", f"answer to {message}")
        os.close(flow)


@test(seconds=60)
def a_server_as_rinaperf_is(lab):
    Server(lab)
    api = ctypes.CDLL(roles["librina-api"])
    listener = api.rina_open()
    equal(api.rina_register(listener, None, b"rinaperf-data|server", 0), 0, "registration")
    for test_name, opcode, size in (("rr", RR, 10), ("perf", PERF, 1400)):
        client = subprocess.Popen([roles["sluice-perf"], "-t", test_name, "-c", "3", "-s",
                                   str(size), "-g", "0", "--json"], stdout=subprocess.PIPE)
        remote = ctypes.c_char_p()
        control = api.rina_flow_accept(listener, ctypes.byref(remote), None, 0)
        equal(remote.value, b"rinaperf-data|client", "name of the client")
        equal(os.read(control, 100), config(3, opcode, 0, size), "configuration")
        os.write(control, struct.pack("<I", 77))
        data = api.rina_flow_accept(listener, None, None, 0)
        first = os.read(data, 100)
        equal((len(first), first[8:16]), (20, struct.pack("<II", DATA, 77)), "first SDU")
        for number in range(3):
            sdu = os.read(data, 2000)
            if opcode == RR:
                equal(sdu, struct.pack("<H", number) + b"x" * (size - 2), "request")
                os.write(data, sdu)
            else:
                equal(sdu, b"x" * size, "SDU")
        stop = os.read(control, 100)
        equal((len(stop), stop[:12]), (20, struct.pack("<QI", 3, STOP)), "stop")
        os.write(control, struct.pack("<QQQQ", 3, 4, 5, 6))
        os.close(control)
        os.close(data)
        out, _ = client.communicate(timeout=20)
        equal(client.returncode, 0, "exit code")
        row, = json.loads(out)
        if opcode == PERF:
            equal(row["server"], {"received": 3, "sdus_per_second": 4, "bits_per_second": 5},
                  "what the server told")
    os.close(listener)


@test(seconds=40)
def what_users_get_wrong(lab):
    Server(lab, "--bandwidth", "1000", "--deny", "forbidden*")
    cat_tool = roles["sluice-cat"]
    failed([cat_tool, "nobody"], "nobody has registered that name", "'nobody'")
    failed([cat_tool, "-d", "no.dif", "x"], "no such DIF")
    failed([cat_tool, "-l", "forbidden"], "not allowed", "'forbidden'")
    failed([cat_tool, "-l", "a|b|c|d|e"], "no valid name")
    failed([cat_tool, "-B", "10X", "x"], "10X", "10M")
    failed([cat_tool, "-k", "x"], "--keep", "--listen")
    listening(lab, ["sluice-echo", "-l"])
    failed([cat_tool, "-B", "10M", "rina-echo-async|server"], "no flow of that kind")
    failed([cat_tool, "-s", "100000", "rina-echo-async|server"], "65000", "100000")
    failed([cat_tool, "-i", lab.path("nothing"), "rina-echo-async|server"], "nothing")
    failed([roles["sluice-echo"], "-l"], "registered already")
    for tool in ("sluice-cat", "sluice-echo", "sluice-perf"):
        code, out, _ = run_program([roles[tool], "--help"])
        check(code == 0 and "--dif" in out and "--reliable" in out, f"help of {tool}")
        failed([roles[tool], "x", "--nonsense"], "nonsense")


if __name__ == "__main__":
    main(needed=("api-server", "librina-api", "sluice-cat", "sluice-echo", "sluice-perf"))
