#!/usr/bin/python3
"""sluice-capture's options, signals and commands: each does what it says, no packet unaccounted."""

import os
import random
import shutil
import signal
import subprocess

from capture_tool import (Capture, File, files_of, lost, null_vdev, pcap_vdev,
                          run_capture, udp_packet, write_pcap)
from harness import (CommandFailed, Failed, Skipped, check, equal, main, test)

PACKETS = 3000


def make_source(lab):
    """Packets that can be told apart, every third one to port 53: their bytes."""
    rng = random.Random(7)
    packets = [udp_packet(i, rng.randint(60, 1500), 53 if i % 3 == 0 else 4000,
                          0x0A000100 + i % 20) for i in range(PACKETS)]
    write_pcap(lab.path("source.pcap"), packets)
    return packets


def play(lab, words, received=PACKETS, interface="net_pcap0", **more):
    """Captures all of the source: the row of the report."""
    capture = Capture(lab, ["-i", interface, *words], [pcap_vdev(lab.path("source.pcap"))],
                      **more).ready()
    capture.wait_row(lambda row: row["received"] == received, "the whole source")
    row = capture.finish()[0]
    equal(lost(row), 0, f"packets lost of {received} by {words}")
    return row


def kept_of(path, snaplen=1 << 18):
    file = File(path)
    check(all(len(kept) == min(wire, snaplen) for _, wire, kept in file.packets),
          f"bytes kept in {path}")
    file.check_order()
    return [kept for _, _, kept in file.packets]


# ---- ports -----------------------------------------------------------------------------------


@test(seconds=20)
def interfaces(lab):
    packets = make_source(lab)
    source = lab.path("source.pcap")
    for number, (interface, vdevs) in enumerate(
            [("net_pcap0", [pcap_vdev(source)]), ("0", [pcap_vdev(source)]),
             (pcap_vdev(source, 7), [])]):
        path = lab.path(f"{number}.pcap")
        capture = Capture(lab, ["-i", interface, "-w", path], vdevs).ready()
        capture.wait_row(lambda row: row["received"] == PACKETS, "the whole source")
        capture.finish()
        equal(kept_of(path), packets, f"packets by -i {interface}")


@test(seconds=20)
def two_ports_and_two_queues(lab):
    vdevs = [null_vdev(64, 0), null_vdev(128, 1)]
    name = lab.path("%{port}-%{queue}.pcap")
    rows = run_capture(lab, ["-i", "net_null0,net_null1", "-w", name, "-c", "1000"], vdevs)
    equal([(r["port"], r["queue"], r["written"]) for r in rows],
          [("net_null0", 0, 1000), ("net_null1", 0, 1000)], "rows")
    for port, size in (("net_null0", 64), ("net_null1", 128)):
        file = File(lab.path(f"{port}-0.pcap"))
        equal({wire for _, wire, _ in file.packets}, {size}, f"sizes of {port}")
    rows = run_capture(lab, ["-i", "net_null0", "--queues", "2", "-w", lab.path("q%{queue}.pcap"),
                             "-c", "500"], vdevs)
    equal([(r["queue"], r["written"]) for r in rows], [(0, 500), (1, 500)], "rows of two queues")
    equal([len(File(lab.path(f"q{q}.pcap"))) for q in (0, 1)], [500, 500], "files of two queues")


# ---- what is kept ----------------------------------------------------------------------------


@test(seconds=20)
def snaplen(lab):
    packets = make_source(lab)
    for form, length in (("-P", 96), ("-n", 61), ("-P", 1)):
        path = lab.path(f"snap{length}")
        play(lab, ["-w", path, "-s", str(length), form])
        equal(File(path).snaplen, length, "snaplen of the header")
        equal(kept_of(path, length), [p[:length] for p in packets], f"packets cut to {length}")


@test(seconds=20)
def formats(lab):
    packets = make_source(lab)
    for words, ng, unit in ((["-P"], False, 1), ([], False, 1), (["--us"], False, 1000),
                            (["-n"], True, 1)):
        path = lab.path("form" + "".join(words))
        row = play(lab, ["-w", path, *words])
        file = File(path)
        equal((file.ng, file.unit, file.linktype), (ng, unit, 1), f"format by {words}")
        equal(kept_of(path), packets, f"packets by {words}")
        if ng:
            equal(len(file.statistics), 1, "interface statistics blocks")
            statistics = file.statistics[0]
            equal(int.from_bytes(statistics[4], "little"), row["received"], "isb_ifrecv")
            check(b"no_chunk=0" in statistics[1], f"comment: {statistics[1]}")


@test(seconds=20)
def filters_samples_and_cutoff(lab):
    packets = make_source(lab)
    dns = [p for i, p in enumerate(packets) if i % 3 == 0]
    row = play(lab, ["-w", lab.path("f"), "-f", "udp port 53"])
    equal((row["filtered"], row["written"]), (PACKETS - len(dns), len(dns)), "filtered, written")
    equal(kept_of(lab.path("f")), dns, "packets of the filter")

    row = play(lab, ["-w", lab.path("s"), "--sample", "1/10", "-n"])
    equal((row["sampled_out"], row["written"]), (PACKETS - PACKETS // 10, PACKETS // 10),
          "sampled out, written")
    kept = kept_of(lab.path("s"))
    equal(kept, packets[packets.index(kept[0])::10], "packets of the sample")

    limit = 10_000
    row = play(lab, ["-w", lab.path("c"), "--flow-cutoff", str(limit)])
    kept = kept_of(lab.path("c"))
    equal(row["cut_off"], PACKETS - len(kept), "cut off")
    check(iter_contains(packets, kept), "the packets that are left are in order")
    flows = {}
    for packet in kept:
        flow = packet[26:38]
        flows[flow] = flows.get(flow, 0) + len(packet)
    equal(len(flows), len({p[26:38] for p in packets}), "flows of which something is left")
    for flow, size in flows.items():
        check(limit - 1500 <= size <= limit + 1500, f"{size} bytes of a flow")

    row = play(lab, ["-w", lab.path("a"), "-f", "udp port 53", "--sample", "1/2",
                     "--flow-cutoff", "5000", "-s", "64"])
    equal(len(kept_of(lab.path("a"), 64)), row["written"], "packets of all together")
    check(0 < row["written"] < len(dns) // 2, f"filter, sample and cutoff together: {row}")


def iter_contains(all_of_them, some):
    rest = iter(all_of_them)
    return all(any(x == y for y in rest) for x in some)


# ---- when it ends, and where files end -------------------------------------------------------


@test(seconds=30)
def ends_by_itself(lab):
    path = lab.path("end")
    for words, packets in ((["-c", "1"], 1), (["-c", "12345"], 12345),
                           (["-a", "packets:777"], 777)):
        for form in ("-P", "-n"):
            row = run_capture(lab, ["-i", "net_null0", "-w", path, form, *words],
                              [null_vdev(64)])[0]
            equal((row["written"], len(File(path))), (packets, packets), f"packets by {words}")
            equal(os.path.getsize(path), row["file_bytes"], "file_bytes")
    for form in ("-P", "-n"):
        run_capture(lab, ["-i", "net_null0", "-w", path, form, "-a", "filesize:3000"],
                    [null_vdev(500)])
        size = os.path.getsize(path)
        check(3_000_000 - 1000 <= size <= 3_000_000 + 1000, f"{size} bytes by -a filesize:3000")
        File(path).check_order()
    rows = run_capture(lab, ["-i", "net_null0", "-w", path, "-a", "duration:0.3", "--sample",
                             "1/1000"], [null_vdev(64)])
    equal(len(File(path)), rows[0]["written"], "packets by -a duration")
    folder = lab.out_dir("files")
    rows = run_capture(lab, ["-i", "net_null0", "-w", f"{folder}/a.pcap", "-a", "files:3", "-b",
                             "packets:500"], [null_vdev(64)])
    equal([len(File(p)) for p in files_of(folder)], [500] * 3, "files by -a files")
    equal(rows[0]["written"], 1500, "written by -a files")


@test(seconds=30)
def rotation(lab):
    packets = make_source(lab)
    many = ("-B", "128")  # every file takes a block at least, and the source does not wait
    for form in ("-P", "-n"):
        folder = lab.out_dir("packets" + form)
        row = play(lab, ["-w", f"{folder}/r.pcap", "-b", "packets:700", form])
        paths = files_of(folder)
        equal([len(File(p)) for p in paths], [700] * 4 + [200], "packets of the files")
        equal(sum((kept_of(p) for p in paths), []), packets, "all files, one after the other")
        equal(row["files"], 5, "files of the report")

        folder = lab.out_dir("size" + form)
        play(lab, ["-w", f"{folder}/r.pcap", "-b", "filesize:200", form], buffer=many)
        paths = files_of(folder)
        sizes = [os.path.getsize(p) for p in paths]
        check(len(sizes) > 10 and all(198_000 < s <= 202_500 for s in sizes[:-1]),
              f"files of 200 kB: {sizes}")
        equal(sum((kept_of(p) for p in paths), []), packets, "all files, one after the other")

    folder = lab.out_dir("count")
    play(lab, ["-w", f"{folder}/%{{port}}.%{{queue}}.%{{count}}.%Y.pcap", "-b", "packets:1000"])
    names = [os.path.basename(p) for p in files_of(folder)]
    equal([n.rsplit(".", 2)[0] for n in names],
          [f"net_pcap0.0.{n:05}" for n in (1, 2, 3)], f"names: {names}")


@test(seconds=30)
def ring_of_files(lab):
    for words in (["-P"], ["-n", "--io", "posix"]):
        folder = lab.out_dir("ring" + words[0])
        capture = Capture(lab, ["-i", "net_null0", "-w", f"{folder}/r.pcap", "-b", "packets:250",
                                "-b", "files:3", "--sample", "1/2000", *words],
                          [null_vdev(64)]).ready()
        capture.wait_row(lambda row: row["files"] > 8, "files")
        row = capture.finish()[0]
        paths = files_of(folder)
        equal(len(paths), 3, f"files of the ring of {row['files']}")
        full = 250 * (row["files"] - 1)
        equal([len(File(p)) for p in paths], [250, 250, row["written"] - full], "their packets")


@test(seconds=20)
def rotation_by_time(lab):
    folder = lab.out_dir("time")
    capture = Capture(lab, ["-i", "net_null0", "-w", f"{folder}/t.pcap", "-b", "duration:0.2",
                            "--sample", "1/10000"], [null_vdev(64)]).ready()
    capture.wait_row(lambda row: row["files"] >= 4, "four files")
    row = capture.finish()[0]
    files = [File(p) for p in files_of(folder)]
    equal(sum(len(f) for f in files), row["written"], "packets of all files")
    last = 0
    for file in files:
        check(len(file) > 0, f"{file.path} is empty")
        check(file.packets[-1][0] - file.packets[0][0] < 300_000_000, f"{file.path} is too long")
        check(file.packets[0][0] >= last, f"{file.path} begins before the one before ends")
        last = file.packets[-1][0]


# ---- how it is written -----------------------------------------------------------------------


@test(seconds=20)
def who_may_read(lab):
    make_source(lab)
    for words, mode in (([], 0o600), (["-g"], 0o640)):
        path = lab.path(f"mode{mode:o}")
        play(lab, ["-w", path, *words])
        equal(oct(os.stat(path).st_mode & 0o777), oct(mode), f"mode by {words}")


@test(seconds=30)
def posix_and_one_cpu(lab):
    packets = make_source(lab)
    path = lab.path("p")
    for words, more in ((["--io", "posix"], {}), ([], {"inline": True}),
                        (["--io", "posix", "-n"], {"inline": True}),
                        (["--io-lcore", "1"], {}), (["--prealloc", "0"], {})):
        row = play(lab, ["-w", path, *words], **more)
        equal(kept_of(path), packets, f"packets by {words} {more}")
        if "posix" in words:
            equal(row["io"], "posix", "io of the report")


@test(seconds=30)
def compressed(lab):
    packets = make_source(lab)
    done = 0
    for codec, suffix in (("zstd", ".zst"), ("lz4", ".lz4")):
        if shutil.which(codec) is None:
            continue
        for form in ("-P", "-n"):
            path = lab.path(f"c{form}.cap")
            play(lab, ["-w", path, "--compress", codec, form])
            out = subprocess.run([codec, "-d", "-c", path + suffix], capture_output=True,
                                 timeout=20)
            equal((out.returncode, out.stderr), (0, b""), f"{codec} -d")
            equal([kept for _, _, kept in File(path, out.stdout).packets], packets,
                  f"packets by {codec}")
            done += 1
        folder = lab.out_dir(codec)
        row = play(lab, ["-w", f"{folder}/c.pcap", "--compress", codec, "-b", "packets:1000"])
        equal(len(files_of(folder, suffix)), 3, f"compressed files: {files_of(folder)}")
        check(row["file_bytes"] == sum(os.path.getsize(p) for p in files_of(folder)), "file_bytes")
    if not done:
        raise Skipped("neither zstd nor lz4")


@test(seconds=30)
def standard_output(lab):
    packets = make_source(lab)
    for form in ("-P", "-n"):
        path = lab.path("stdout" + form)
        with open(path, "wb") as out:
            capture = Capture(lab, ["-i", "net_pcap0", "-w", "-", form, "-c", str(PACKETS), "-q"],
                              [pcap_vdev(lab.path("source.pcap"))], stdout=out, json_report=False)
        equal(capture.wait(), 0, "exit code")
        equal(kept_of(path), packets, "packets on standard output")
    if shutil.which("tshark") is None:
        return
    read, write = os.pipe()
    tshark = subprocess.Popen(["tshark", "-n", "-l", "-r", "-", "-T", "fields", "-e", "frame.len"],
                              stdin=read, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        os.close(read)
        capture = Capture(lab, ["-i", "net_pcap0", "-w", "-", "-c", str(PACKETS)],
                          [pcap_vdev(lab.path("source.pcap"))], stdout=write, json_report=False)
        os.close(write)
        out, _ = tshark.communicate(timeout=20)
    finally:
        tshark.kill()
    equal(capture.wait(), 0, "exit code")
    equal([int(s) for s in out.split()], [len(p) for p in packets], "lengths tshark reads")


# ---- while it runs ---------------------------------------------------------------------------


@test(seconds=20)
def report(lab):
    capture = Capture(lab, ["-i", "net_null0", "-w", lab.path("r"), "--sample", "1/100"],
                      [null_vdev(64)]).ready()
    shown = capture.wait_row(lambda row: row["received"] > 100_000, "packets")
    row = capture.finish()[0]
    for name, kind in {"port": str, "queue": int, "file": str, "files": int, "received": int,
                       "written": int, "filtered": int, "sampled_out": int, "cut_off": int,
                       "drops": dict, "bytes": int, "file_bytes": int, "stamp_error_ns": int,
                       "cycles_per_packet": (int, float), "io": str}.items():
        check(isinstance(row.get(name), kind), f"'{name}' of the report: {row.get(name)!r}")
        check(name in shown, f"'{name}' of show capture")
    equal(sorted(row["drops"]), ["disk_error", "nic_missed", "no_chunk", "no_mbuf"], "drops")
    equal((row["port"], row["queue"], row["file"]), ("net_null0", 0, lab.path("r")), "whose")
    check(row["received"] >= shown["received"], "received does not shrink")
    equal(row["bytes"], 64 * row["written"], "bytes of packets")
    equal(row["file_bytes"], os.path.getsize(lab.path("r")), "bytes of the file")
    equal(len(capture.out().splitlines()), 1, "lines on standard output")


@test(seconds=30)
def signals(lab):
    folder = lab.out_dir("hup")
    capture = Capture(lab, ["-i", "net_null0", "-w", f"{folder}/h-%{{count}}.pcap", "--sample",
                            "1/10000"], [null_vdev(64)]).ready()
    for files in (2, 3):
        before = capture.row()
        capture.wait_row(lambda row: row["written"] + row["pending"] > before["written"]
                         + before["pending"] + 20, "packets")
        capture.signal(signal.SIGHUP)
        capture.wait_row(lambda row: row["files"] == files, f"{files} files by SIGHUP")
    check(capture.cmd("rotate capture") is None, "answer of 'rotate capture'")
    capture.wait_row(lambda row: row["files"] == 4, "a file by 'rotate capture'")
    check("net_null0" not in capture.log(), "the log has a row already")
    capture.signal(signal.SIGUSR1)
    capture.wait_log("net_null0")
    row = capture.finish(number=signal.SIGINT)[0]
    equal(sum(len(File(p)) for p in files_of(folder)), row["written"], "packets of all files")
    for number in (signal.SIGTERM, signal.SIGINT):
        capture = Capture(lab, ["-i", "net_null0", "-w", lab.path("t")], [null_vdev(64)]).ready()
        capture.wait_row(lambda row: row["written"] > 1000, "packets")
        row = capture.finish(number=number)[0]
        equal(len(File(lab.path("t"))), row["written"], "packets of the file")
        os.unlink(lab.path("t"))
    # Without a packet there is still a file.
    write_pcap(lab.path("none.pcap"), [udp_packet(0, 60)])
    capture = Capture(lab, ["-i", "net_pcap0", "-w", lab.path("e"), "-f", "tcp"],
                      [pcap_vdev(lab.path("none.pcap"))]).ready()
    capture.wait_row(lambda row: row["filtered"] == 1, "the packet")
    capture.finish()
    equal(len(File(lab.path("e"))), 0, "packets of an empty capture")


@test(seconds=30)
def changed_while_it_runs(lab):
    path = lab.path("changed")
    capture = Capture(lab, ["-i", "net_null0", "-w", path, "--sample", "1/2000"],
                      [null_vdev(200)]).ready()

    def more(name):
        before = capture.row()[name]
        return capture.wait_row(lambda row: row[name] > before + 200, f"more {name}")

    more("received")
    capture.cmd('set capture all filter "ip"')
    equal(capture.row()["filter"], "ip", "filter that is shown")
    more("filtered")
    capture.cmd('set capture net_null0 filter ""')
    equal(capture.row()["filter"], "", "filter that is shown")
    more("sampled_out")
    capture.cmd("set capture all snaplen 40")
    equal(capture.row()["snaplen"], 40, "snaplen that is shown")
    more("sampled_out")
    for line in ('set capture all filter "udp and and"', 'set capture nowhere filter "ip"',
                 "set capture all snaplen 0", "set capture all snaplen 262145",
                 "set capture all snaplen 99999999999999999999"):
        try:
            capture.cmd(line)
        except CommandFailed as error:
            check(error.message, f"an error without words: {line}")
            continue
        raise Failed(f"'{line}' was taken")
    equal((capture.row()["filter"], capture.row()["snaplen"]), ("", 40), "after what was refused")
    row = capture.finish()[0]
    file = File(path)
    equal(len(file), row["written"], "packets of the file")
    lengths = [len(kept) for _, _, kept in file.packets]
    equal(sorted(set(lengths)), [40, 200], "lengths kept")
    equal(lengths, sorted(lengths, reverse=True), "snaplen changed once")


@test(seconds=30)
def changed_a_thousand_times(lab):
    capture = Capture(lab, ["-i", "net_null0", "-w", lab.path("m"), "--sample", "1/500"],
                      [null_vdev(100)]).ready()
    for i in range(500):
        capture.cmd(f'set capture all filter "{("", "ip", "not ip")[i % 3]}"')
        capture.cmd(f"set capture all snaplen {50 + i % 50}")
    row = capture.finish()[0]
    file = File(lab.path("m"))
    equal(len(file), row["written"], "packets of the file")
    check(row["filtered"] > 0 and row["written"] > 0, f"filtered and written: {row}")
    check(all(50 <= len(kept) <= 100 and wire == 100 for _, wire, kept in file.packets), "lengths")


# ---- what is refused -------------------------------------------------------------------------


REFUSED = [  # words, and what the line must say
    (["-w", "x", "-f", "udp and and"], "syntax error"),
    (["-w", "x", "-f", "ether proto \\foo"], "unknown ether proto"),
    (["-w", "x", "-s", "0"], "expected 1 to 262144"),
    (["-w", "x", "-s", "99999999999"], "expected 1 to 262144"),
    (["-w", "/nonexistent/x"], "No such file or directory"),
    ([], "-w"),
    (["-w", "x", "-b", "filesize"], "KEY:VALUE"),
    (["-w", "x", "-b", "filesize:99999999999999999999"], "filesize"),
    (["-w", "x", "-b", "filesize:abc"], "filesize"),
    (["-w", "x", "-b", "filesize:-5"], "filesize"),
    (["-w", "x", "-b", "speed:3"], "expected one of filesize"),
    (["-w", "x", "-b", "files:3"], "files"),
    (["-w", "x", "-b", "files:0", "-b", "packets:3"], "files"),
    (["-w", "x", "-b", "duration:-1"], "duration"),
    (["-w", "x", "-a", "packets:abc"], "packets"),
    (["-w", "x", "-B", "1"], "-B"),
    (["-w", "x", "-B", "999999"], "-B"),
    (["-w", "x", "--sample", "1/0"], "1/N"),
    (["-w", "x", "--sample", "2/3"], "1/N"),
    (["-w", "x", "--flow-cutoff", "abc"], "flow-cutoff"),
    (["-w", "x", "--compress", "gzip"], "zstd"),
    (["-w", "x", "--disk-limit", "0%"], "expected 1% to 99%"),
    (["-w", "x", "--disk-limit", "120%"], "expected 1% to 99%"),
    (["-w", "x", "--queues", "0"], "--queues"),
    (["-w", "x", "--io-lcore", "77"], "lcore 77"),
    (["-w", "x", "-n", "--us"], "exclude each other"),
    (["-w", "x%{foo}"], "%{foo}"),
    (["-w", "-", "-b", "packets:3"], "stream"),
    (["-w", "x", "--queues", "2"], "%{queue}"),
    (["-w", "x", "-i", "net_null1"], "%{port}"),
    (["-w", "x%{port}", "-i", "net_nul9"], "net_nul9"),
    (["-w", "x%{port}", "-i", "9"], "there is no port 9"),
]


@test(seconds=50)
def refused(lab):
    vdevs = [null_vdev(64, 0), null_vdev(64, 1)]
    for words, wanted in REFUSED:
        capture = Capture(lab, ["-i", "net_null0", *words], vdevs,
                          buffer=() if "-B" in words else ("-B", "16"))
        code = capture.wait(10)
        check(code in (1, 2), f"exit code {code} by {words}: {capture.log()}")
        lines = capture.complaints()
        check(len(lines) == 1 and wanted in lines[0], f"complaint about {words}: {lines}")
        made = [name for name in os.listdir(lab.dir) if name.startswith("x")]
        equal(made, [], f"files made by {words}")
        capture.kill()


if __name__ == "__main__":
    main()
