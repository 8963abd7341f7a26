#!/usr/bin/python3
"""`start capture` with all that captures of sluice-capture can do: filters, formats, rotation."""

import os
import shutil

from capture_tool import File, check_sum, files_of, lost, sidecars_of, small_tmpfs
from harness import check, equal, eventually, main, run_program, settled, test

QUIET = 'keepalive = "60s"\ndead_after = "120s"'  # nothing passes that the test did not ask for
KEYS = ("rx_packets", "tx_packets")
VMPI_HEADER = 4


def passed(role, port="vm1"):
    return settled(lambda: [role.port(port)[k] for k in KEYS], "port statistics")


def row_of(role):
    rows = role.cmd("show capture")
    equal(len(rows), 1, "captures shown")
    return rows[0]


def stopped(role, state="stopped"):
    """The row of the capture of vm1 once it has ended, in which nothing is missing."""
    if state == "stopped":
        role.cmd("stop capture vm1")
    row = row_of(role)
    equal((row["state"], row["error"], lost(row)), (state, "", 0), "show capture at the end")
    check_sum(row)
    return row


@test(seconds=50)
def a_filter_leaves_out_and_counts(lab):
    vswitch, guest = lab.pair(QUIET, QUIET)
    path = lab.path("long.pcap")
    before = passed(vswitch)
    vswitch.cmd(f'start capture vm1 {path} filter "greater 500"')
    equal(row_of(vswitch)["filter"], "greater 500", "filter shown")
    guest.transfer("host client tgen/host sweep 0:1000:7 count 5000 rate 40kpps")
    after = passed(vswitch)
    row = stopped(vswitch)
    equal(row["received"], sum(after) - sum(before), "received")
    check(row["filtered"] > 1000 and row["written"] > 1000, f"too little to tell: {row}")
    file = File(path)
    equal(len(file), row["written"], "packets in the file")
    check(all(wire >= 500 for _, wire, _ in file.packets), "a packet that is too short")
    file.check_order()


@test(seconds=50)
def pcapng_tells_the_direction(lab):
    vswitch, guest = lab.pair(QUIET, QUIET)
    path = lab.path("both.pcapng")
    before = passed(vswitch)
    vswitch.cmd(f"start capture vm1 {path} format pcapng")
    guest.transfer("host client tgen/host size 300 count 3000 rate 40kpps")
    vswitch.transfer("vm1 client tgen/vm1 size 900 count 2000 rate 40kpps")
    rx, tx = (b - a for a, b in zip(before, passed(vswitch)))
    row = stopped(vswitch)
    file = File(path)
    equal(len(file), row["written"], "packets in the file")
    equal((file.directions.count(1), file.directions.count(2)), (rx, tx), "packets in and out")
    # What the guest sent in came in, what we sent went out.
    for size, direction in ((300, 1), (900, 2)):
        seen = {d for (_, wire, _), d in zip(file.packets, file.directions)
                if wire == size + VMPI_HEADER}
        equal(seen, {direction}, f"directions of the SDUs of {size} bytes")
    equal([i.get(2, b"").rstrip(b"\0") for i in file.interfaces], [b"vm1"], "interfaces")
    equal(len(file.statistics), 1, "statistics")
    equal(int.from_bytes(file.statistics[0][4], "little"), row["received"], "isb_ifrecv")
    file.check_order()
    if shutil.which("capinfos") is not None:
        code, out, err = run_program(["capinfos", "-M", "-T", "-r", "-c", path])
        equal((code, err, int(out.split("\t")[-1])), (0, "", len(file)), "capinfos")


@test(seconds=50)
def files_rotate(lab):
    vswitch, guest = lab.pair(QUIET, QUIET)
    for words, most in (("filesize 200K", None), ("packets 700", None),
                        ("filesize 100K files 3", 3)):
        folder = lab.out_dir(words.replace(" ", "_"))
        vswitch.cmd(f"start capture vm1 {folder}/a.pcap {words}")
        guest.transfer("host client tgen/host size 500 count 4000 rate 40kpps")
        row = stopped(vswitch)
        files = [File(p) for p in files_of(folder, ".pcap")]
        equal(sidecars_of(folder), [], "sidecars afterwards")
        check(row["files"] >= 5, f"{words}: {row['files']} files")
        equal(len(files), most or row["files"], f"{words}: files in the folder")
        packets = sum(len(f) for f in files)
        check(packets == row["written"] if most is None else 0 < packets < row["written"],
              f"{words}: {packets} packets in the files: {row}")
        last = 0
        for file in files:
            last = file.check_order(last)
        if "packets" in words:
            equal({len(f) for f in files[:-1]}, {700}, "packets of a file")
        else:
            check(all(os.path.getsize(f.path) <= 205_000 for f in files), "a file that is too long")


@test(seconds=50)
def rotated_by_hand(lab):
    vswitch, guest = lab.pair(QUIET, QUIET)
    folder = lab.out_dir("hand")
    vswitch.cmd(f"start capture vm1 {folder}/%{{port}}-%{{count}}.pcap")
    # With nothing passing, too.
    for number, words in enumerate(("", " vm1", "")):
        vswitch.cmd(f"rotate capture{words}")
        eventually(lambda: row_of(vswitch)["files"] == number + 2, "another file")
    guest.transfer("host client tgen/host size 500 count 1000 rate 40kpps")
    row = stopped(vswitch)
    names = [os.path.basename(p) for p in files_of(folder)]
    equal(len(names), 4, f"files: {names}")
    check(all(n.startswith("vm1-") for n in names), f"names: {names}")
    equal(sum(len(File(p)) for p in files_of(folder)), row["written"], "packets")
    vswitch.refused("rotate capture")
    vswitch.refused("rotate capture vm1")


@test(seconds=60)
def filter_and_snaplen_change_in_traffic(lab):
    vswitch, guest = lab.pair(QUIET, QUIET)
    path = lab.path("changing.pcap")
    before = passed(vswitch)
    vswitch.cmd(f"start capture vm1 {path}")
    run = guest.start_run("host client tgen/host sweep 0:1500:11 count 60000 rate 30kpps")
    eventually(lambda: row_of(vswitch)["written"] > 500, "packets in the file")
    for number in range(40):
        port = ("all", "vm1")[number % 2]
        vswitch.cmd(f'set capture {port} filter "{("less 400", "")[number // 2 % 2]}"')
        vswitch.cmd(f"set capture {port} snaplen {(96, 262144)[number % 2]}")
        check("wrong" in vswitch.refused(f'set capture {port} filter "wrong ("').message,
              "the message does not name the filter")
        seen = row_of(vswitch)["received"]
        eventually(lambda: row_of(vswitch)["received"] > min(seen + 300, 60_000), "more packets")
    guest.wait_run(run)
    after = passed(vswitch)
    row = stopped(vswitch)
    equal(row["received"], sum(after) - sum(before), "received")
    equal(row["received"], row["written"] + row["filtered"], "without a gap")
    check(row["filtered"] > 100, f"nothing was filtered: {row}")
    file = File(path)
    equal(len(file), row["written"], "packets in the file")
    cut = sum(1 for _, wire, kept in file.packets if len(kept) != wire)
    check(cut > 100, f"only {cut} packets were cut")
    check(all(len(kept) == 96 for _, wire, kept in file.packets if len(kept) != wire),
          "cut to another length")


@test(seconds=40)
def it_ends_by_itself(lab):
    vswitch, guest = lab.pair(QUIET, QUIET)
    for words in ("stop_packets 1000", "stop_packets 1000 format pcapng", "stop_duration 100ms"):
        path = lab.path("end.pcap")
        vswitch.cmd(f"start capture vm1 {path} {words}")
        guest.transfer("host client tgen/host size 100 count 3000 rate 40kpps")
        eventually(lambda: row_of(vswitch)["state"] == "over", f"{words}: the end")
        row = stopped(vswitch, "over")
        file = File(path)
        equal(len(file), row["written"], "packets in the file")
        if "packets" in words:
            equal((len(file), row["received"]), (1000, 1000), words)
        vswitch.refused("stop capture vm1")


@test(seconds=40)
def sampled_cut_and_compressed(lab):
    vswitch, guest = lab.pair(QUIET, QUIET)
    path = lab.path("small.pcap")
    vswitch.cmd(f"start capture vm1 {path} direction rx sample 10 format pcap-us group_readable "
                "buffer 8M")
    guest.transfer("host client tgen/host size 100 count 3000 rate 40kpps")
    row = stopped(vswitch)
    equal(row["written"], (row["received"] + 9) // 10, "every tenth packet")
    equal((File(path).unit, os.stat(path).st_mode & 0o777), (1000, 0o640), "unit and mode")
    vswitch.cmd(f"start capture vm1 {path} compress zstd")
    guest.transfer("host client tgen/host size 100 count 3000 rate 40kpps")
    row = stopped(vswitch)
    equal(row["file"], path + ".zst", "name of the compressed file")
    if shutil.which("zstd") is not None:
        equal(run_program(["zstd", "-q", "-d", path + ".zst", "-o", lab.path("un.pcap")])[0], 0,
              "zstd")
        equal(len(File(lab.path("un.pcap"))), row["written"], "packets in the compressed file")


@test(seconds=40)
def what_cannot_be_is_said_at_once(lab):
    vswitch, _ = lab.pair(QUIET, QUIET)
    path = lab.path("x.pcap")
    os.mkfifo(lab.path("fifo"))
    for words, said in (
            (f'{path} filter "udp port 53"', "147"),  # libpcap's own words
            (f'{path} filter "((("', "((("),
            (f"{path} files 3", "ring of 3"),
            (f"{path} packets 0", "packets is 0"),
            (f"{path} sample 0", "sample is 0"),
            (f"{path} filesize 100", "100 bytes"),
            (f"{path} buffer 1M", "buffer of 1048576"),
            (f"{lab.path('fifo')}", "nobody reads"),
            (f"{lab.path('fifo')} filesize 1M", "nobody reads"),
            ("/proc/version", "/proc/version"),
            (f"{lab.path('none')}/x.pcap", "none")):
        message = vswitch.refused(f"start capture vm1 {words}").message
        check(said in message and message.count("\n") == 0, f"'{words}': {message!r}")
    equal(vswitch.cmd("show capture"), [], "captures after refusals")
    check(not os.path.exists(path), "a refused capture made its file")
    for words in ('all filter "greater 1"', "vm1 snaplen 100"):
        check("being captured" in vswitch.refused(f"set capture {words}").message, words)


@test(seconds=40)
def a_full_disk(lab):
    folder = small_tmpfs(lab, 8)
    vswitch, guest = lab.pair(QUIET, QUIET)
    vswitch.cmd(f"start capture vm1 {folder}/a.pcap direction rx")
    run = guest.start_run("host client tgen/host size 60000 count 600 rate 2kpps")
    eventually(lambda: row_of(vswitch)["drops"]["disk_error"] > 0, "the disk to be full")
    guest.wait_run(run)
    passed(vswitch)
    check("No space left" in vswitch.refused("stop capture vm1").message, "the error is told")
    row = row_of(vswitch)
    check("No space left" in row["error"], f"error shown: {row}")
    check_sum(row)
    equal([(r["stage"], r["reason"], r["packets"]) for r in vswitch.cmd("show drops")
           if r["stage"] == "vm1.capture"],
          [("vm1.capture", "disk_error", row["drops"]["disk_error"])], "show drops")
    equal(sum(len(File(p)) for p in files_of(folder)), row["written"], "packets in the files")


@test(seconds=40)
def from_the_configuration(lab):
    def captures(more):
        return f'[[capture]]\nport = "vm1"\nfile = "{lab.path("c.pcapng")}"\n{more}'

    vswitch, guest = lab.pair(QUIET, QUIET, captures(
        'format = "pcapng"\nfilter = "greater 100"\nsnaplen = 262144\nbuffer = "8M"\nio = "posix"\n'
        'direction = "rx"\n[capture.rotate]\npackets = 1000\n'))
    guest.transfer("host client tgen/host size 200 count 3000 rate 40kpps")
    row = eventually(lambda: row_of(vswitch)["written"] >= 3000 and row_of(vswitch), "packets")
    equal((row["filter"], row["snaplen"], row["io"]), ("greater 100", 262144, "posix"), "settings")
    equal(vswitch.terminate(), 0, "exit code")
    files = [File(p) for p in files_of(lab.dir, ".pcapng")]
    check(len(files) >= 3, f"{len(files)} files")
    equal({d for f in files for d in f.directions}, {1}, "direction")

    for more, said in (("merge = true\n", "merge"), ("io_lcore = 1\n", "io_lcore"),
                       ("port_stamps = true\n", "port_stamps"), ("snaplen = 262145\n", "262144"),
                       (captures(""), "c.pcapng")):
        config = lab.vswitch_config(more=captures(more))
        role = lab.role("vswitch", config)
        equal(role.wait(), 2, f"exit code with {more}")
        check(said in role.log() and "Traceback" not in role.log(), f"{more}: {role.log()}")


LOOP = """
[runtime]
socket = "{socket}"
[[port]]
name = "loop"
device = "net_ring0"
[[port]]
name = "alone"
device = "net_null0"
[[stage]]
name = "gen"
kind = "txgen"
[stage.params]
size = "64"
rate = "20kpps"
[[stage]]
name = "count"
kind = "sink"
[[edge]]
from = "gen"
to = "loop"
backpressure = "credit"
[[edge]]
from = "loop"
to = "count"
"""


@test(seconds=40)
def an_ethernet_port_of_the_console(lab):
    config = lab.write("lab.toml", LOOP.format(socket=lab.path("console.sock")))
    role = lab.role("console", config).ready()
    path = lab.path("loop.pcapng")
    role.cmd(f'start capture loop {path} format pcapng filter "udp or not ip"')
    check("no edge" in role.refused(f"start capture alone {path}2").message, "a port nobody uses")
    eventually(lambda: row_of(role)["received"] > 4000, "packets")
    role.cmd("set capture loop filter \"arp\"")
    eventually(lambda: row_of(role)["filtered"] > 1000, "filtered packets")
    role.cmd("stop capture loop")
    row = row_of(role)
    check_sum(row)
    file = File(path)
    equal(len(file), row["written"], "packets in the file")
    # Each frame goes out, and comes back in.
    went, came = file.directions.count(2), file.directions.count(1)
    check(went > 1000 and abs(went - came) < 1000, f"{went} went out, {came} came in")
    # An operator who takes away what is being captured.
    role.cmd(f"start capture loop {path}")
    role.cmd("remove stage loop.rx")
    role.cmd("stop capture loop")
    check_sum(row_of(role))
    role.cmd(f"start capture loop {path}")
    eventually(lambda: row_of(role)["received"] > 100, "what goes out")
    role.cmd("stop capture loop")
    equal(set(File(path).directions), set(), "it is no pcapng file")
    check("no edge" in role.refused(f"start capture loop {path} direction rx").message, "gone")
    equal(role.terminate(), 0, "exit code")


if __name__ == "__main__":
    main()
