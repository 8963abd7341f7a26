#!/usr/bin/python3
"""A vswitch and a guest: traffic, files, limits, what the commands show, and a clean end."""

import os
import signal

from harness import check, equal, eventually, good_report, main, settled, test


def xxh64(data):
    """XXH64 with seed 0, from its specification."""
    mask = (1 << 64) - 1
    p1, p2, p3, p4, p5 = (0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9,
                          0x85EBCA77C2B2AE63, 0x27D4EB2F165667C5)

    def rotl(value, by):
        return ((value << by) | (value >> (64 - by))) & mask

    def mix(acc, lane):
        return (rotl((acc + lane * p2) & mask, 31) * p1) & mask

    def le(at, size):
        return int.from_bytes(data[at:at + size], "little")

    at, length = 0, len(data)
    if length >= 32:
        accs = [(p1 + p2) & mask, p2, 0, (-p1) & mask]
        while at + 32 <= length:
            accs = [mix(a, le(at + 8 * i, 8)) for i, a in enumerate(accs)]
            at += 32
        h = sum(rotl(a, by) for a, by in zip(accs, (1, 7, 12, 18))) & mask
        for a in accs:
            h = ((h ^ mix(0, a)) * p1 + p4) & mask
    else:
        h = p5
    h = (h + length) & mask
    while at + 8 <= length:
        h = (rotl(h ^ mix(0, le(at, 8)), 27) * p1 + p4) & mask
        at += 8
    if at + 4 <= length:
        h = (rotl(h ^ (le(at, 4) * p1 & mask), 23) * p2 + p3) & mask
        at += 4
    for byte in data[at:]:
        h = (rotl(h ^ (byte * p5 & mask), 11) * p1) & mask
    h = ((h ^ (h >> 33)) * p2) & mask
    h = ((h ^ (h >> 29)) * p3) & mask
    return h ^ (h >> 32)


@test(seconds=30)
def traffic_in_both_directions(lab):
    vswitch, guest = lab.pair()
    up = guest.transfer("host client tgen/host size 1500 count 20000")
    equal((up["sdus"], up["bytes"]), (20000, 20000 * 1500), "SDUs and bytes to the vswitch")
    down = vswitch.transfer("vm1 client tgen/vm1 size 700 count 20000")
    equal((down["sdus"], down["bytes"]), (20000, 20000 * 700), "SDUs and bytes to the guest")
    # At the same time, with more than one flow a direction.
    runs = [(guest, guest.start_run("host a tgen/host size 1500 count 15000")),
            (guest, guest.start_run("host b tgen/host size 64 count 15000")),
            (vswitch, vswitch.start_run("vm1 c tgen/vm1 size 1500 count 15000")),
            (vswitch, vswitch.start_run("vm1 d tgen/vm1 size 9000 count 3000"))]
    for role, run in runs:
        report = good_report(role.wait_run(run), f"{role.name} {run}")
        check(report["goodput_bps"] > 0 and report["elapsed_ns"] > 0, f"speed of {report}")


@test(seconds=30)
def files_arrive_byte_for_byte(lab):
    vswitch, guest = lab.pair()
    ways = ((guest, "host", vswitch, "tgen/host", 3_000_017, 1400),
            (vswitch, "vm1", guest, "tgen/vm1", 2_000_003, 65000),
            (guest, "host", vswitch, "tgen/host", 100_003, 7),
            (vswitch, "vm1", guest, "tgen/vm1", 1, 1500))
    for number, (sender, dif, receiver, server, size, sdu) in enumerate(ways):
        path, data = lab.random_file(f"source{number}", size)
        report = sender.transfer(f"{dif} client{number} {server} size {sdu} file {path}")
        equal(report["bytes"], size, f"bytes of file {number}")
        equal(report["sdus"], -(-size // sdu), f"SDUs of file {number}")
        if size <= 200_000:  # it takes its time in Python
            equal(report["checksum"], f"{xxh64(data):016x}", f"checksum of file {number}")

        def written():
            rows = [r for r in receiver.cmd("show tgen all")
                    if r["role"] == "server" and r["source"] == f"client{number}"]
            return rows and rows[0]["state"] == "closed" and rows[0].get("file")

        out = eventually(written, f"file {number} at {receiver.name}")
        # It is cut to size when its flow has left the lcore.
        eventually(lambda: os.path.getsize(out) == size, f"size of {out}")
        with open(out, "rb") as file:
            check(file.read() == data, f"{out} is not what {path} was")


@test(seconds=40)
def sizes_from_0_to_65000(lab):
    vswitch, guest = lab.pair()
    for role, words in ((guest, "host client tgen/host"), (vswitch, "vm1 client tgen/vm1")):
        report = role.transfer(f"{words} sweep 0:4000:1 count 4001")
        equal((report["sdus"], report["bytes"]), (4001, 4000 * 4001 // 2), "the sweep")
        report = role.transfer(f"{words} size 65000 count 300")
        equal((report["sdus"], report["bytes"]), (300, 300 * 65000), "the longest SDUs")
        report = role.transfer(f"{words} size 0 count 1000")
        equal((report["sdus"], report["bytes"]), (1000, 0), "empty SDUs")


@test(seconds=30)
def limits_and_unknown_destinations_are_refused(lab):
    # One end takes less than the other: both must know.
    vswitch, guest = lab.pair(guest_vmpi="max_sdu = 5000")
    equal(vswitch.vmpi("vm1")["max_sdu_tx"], 5000, "what the vswitch may send")
    error = vswitch.refused("start tgen vm1 client tgen/vm1 size 5001 count 1")
    check("5001" in error.message and "5000" in error.message, f"message '{error.message}'")
    equal(error.errno, 90, "errno (EMSGSIZE)")
    vswitch.refused("start tgen vm1 client tgen/vm1 sweep 0:5001:1 count 1")
    vswitch.refused("start tgen vm1 client tgen/vm1 size 65001 count 1")
    equal(vswitch.transfer("vm1 client tgen/vm1 size 5000 count 500")["sdus"], 500, "at the limit")

    limit = guest.vmpi("host")["max_sdu_tx"]
    guest.refused(f"start tgen host client tgen/host size {limit + 1} count 1")
    guest.transfer(f"host client tgen/host size {limit} count 500")

    for role, dif in ((guest, "host"), (vswitch, "vm1")):
        row = role.wait_run(role.start_run(f"{dif} client nobody/here count 5"))
        equal((row["state"], row["failure"]), ("failed", "no such application"), "unknown name")
        equal(row["report"], None, "report of a run that never began")
    check("nowhere" in guest.refused("start tgen nowhere a tgen/host count 1").message,
          "an unknown DIF is named")
    # None of this did any harm.
    guest.transfer("host client tgen/host size 100 count 1000")


@test(seconds=30)
def registration_and_flows(lab):
    vswitch, guest = lab.pair()
    vswitch.cmd("register app extra/1 dif vm1")
    check(any(a["name"] == "extra/1" for a in vswitch.cmd("show apps")), "show apps")
    vswitch.refused("register app extra/1 dif vm1")
    flow = guest.cmd("allocate flow host me extra/1")["flow"]
    eventually(lambda: guest.flow(flow)["state"] == "allocated", "the flow is allocated")
    eventually(lambda: any(f["source"] == "me" and f["state"] == "allocated"
                           for f in vswitch.cmd("show flows")), "the vswitch has it too")
    equal((guest.vmpi("host")["flows"], vswitch.vmpi("vm1")["flows"]), (1, 1), "flows in show vmpi")
    guest.cmd(f"deallocate flow {flow}")
    equal(guest.flow(flow)["state"], "ended", "state of a deallocated flow")
    eventually(lambda: vswitch.vmpi("vm1")["flows"] == 0, "the flow is gone at the other end")
    guest.refused(f"deallocate flow {flow}")

    flow = guest.cmd("allocate flow host me extra/1")["flow"]
    eventually(lambda: guest.flow(flow)["state"] == "allocated", "the second flow is allocated")
    vswitch.cmd("unregister app extra/1 dif vm1")
    eventually(lambda: guest.flow(flow)["state"] == "ended", "unregistering ends its flows")
    run = guest.start_run("host me extra/1 count 1")
    equal(guest.wait_run(run)["failure"], "no such application", "after unregistering")


@test(seconds=30)
def counters_agree(lab):
    quiet = 'keepalive = "60s"\ndead_after = "120s"'
    vswitch, guest = lab.pair(quiet, quiet)
    # A HELLO that comes before the peer's queues is dropped, and sent again.
    before = {role.name: role.cmd("show drops") for role in (vswitch, guest)}
    guest.transfer("host client tgen/host size 1500 count 5000")
    vswitch.transfer("vm1 client tgen/vm1 size 64 count 5000")
    keys = ("rx_packets", "rx_bytes", "tx_packets", "tx_bytes")
    here, there = settled(lambda: ([vswitch.port("vm1")[k] for k in keys],
                                   [guest.port("host")[k] for k in keys]), "port statistics")
    equal((here[0], here[2]), (there[2], there[0]), "packets at the two ends")
    check(here[0] >= 5000 and here[2] >= 5000, f"too few packets: {here}")
    check(here[1] >= 5000 * 1504 and here[3] >= 5000 * 68, f"too few bytes: {here}")
    for role, port in ((vswitch, "vm1"), (guest, "host")):
        stats = role.port(port)
        for counter in ("rx_missed", "rx_errors", "rx_no_mbuf", "tx_errors"):
            equal(stats[counter], 0, f"{counter} of {role.name}")
        equal(role.cmd("show drops"), before[role.name], f"drops of {role.name}")
        vmpi = role.vmpi(port)
        equal((vmpi["state"], vmpi["profile"], vmpi["flows"]), ("up", "sluice", 0), "show vmpi")
        equal((vmpi["control_drops"], vmpi["collisions"]), ({}, 0), "control drops")
        check(vmpi["epoch"] != vmpi["peer_epoch"] and int(vmpi["epoch"], 16) != 0, "epochs")
        flows = role.cmd("show flows")
        equal(len(flows), 2, f"flows that {role.name} remembers")
        check(all(f["state"] == "ended" for f in flows), f"flows of {role.name}: {flows}")
    equal(vswitch.vmpi("vm1")["epoch"], guest.vmpi("host")["peer_epoch"], "epoch of the vswitch")
    check_lcores(vswitch, "vm1")
    check_lcores(guest, "host")
    vswitch.cmd("clear port stats all")
    equal(vswitch.port("vm1")["rx_packets"], 0, "rx_packets once cleared")


def check_lcores(role, port):
    rows = role.cmd("show lcores")
    equal([r["lcore"] for r in rows], [1], f"workers of {role.name}")
    row = rows[0]
    for percent in ("busy_percent", "sleep_percent"):
        check(0 <= row[percent] <= 100, f"{percent} of {role.name}: {row[percent]}")
    check(row["busy_percent"] + row["sleep_percent"] <= 100.2, f"more than all: {row}")
    check(row["cycles"]["busy"] > 0, "no busy cycles")
    check(sum(row["bursts"].values()) > 0, "no bursts")
    stages = {s["stage"]: s for s in row["stages"]}
    equal(set(stages), {port, "tgen"}, f"stages of {role.name}")
    for stage in stages.values():
        check(stage["packets"] >= 5000 and stage["cycles_per_packet"] > 0, f"stage {stage}")
    later = eventually(lambda: (lambda now: now["iterations"] > row["iterations"] and now)(
        role.cmd("show lcores")[0]), "the lcore goes on")
    for kind in ("busy", "idle", "sleep"):
        check(later["cycles"][kind] >= row["cycles"][kind], f"{kind} cycles went backwards")


@test(seconds=30)
def sigterm_leaves_nothing_behind(lab):
    vswitch, guest = lab.pair()
    # In the midst of traffic, both directions.
    guest.start_run("host client tgen/host size 1500 duration 60s")
    vswitch.start_run("vm1 client tgen/vm1 size 1500 duration 60s")
    eventually(lambda: vswitch.port("vm1")["rx_packets"] > 1000, "traffic")
    for role in (vswitch, guest):
        check(os.path.isdir(role.runtime_dir), f"no {role.runtime_dir}: wrong place looked at")
    equal(vswitch.terminate(seconds=5), 0, "exit code of the vswitch")
    equal(guest.terminate(seconds=5), 0, "exit code of the guest")
    for role in (vswitch, guest):
        check(not os.path.exists(role.runtime_dir), f"{role.runtime_dir} is still there")
    left = [name for name in os.listdir(lab.dir)
            if name.endswith((".sock", ".sock.lock", ".vhost"))]
    equal(left, [], "sockets left behind")


@test(seconds=30)
def sigint_and_quit_end_it_too(lab):
    vswitch, guest = lab.pair()
    guest.cmd("quit")
    equal(guest.wait(5), 0, "exit code after quit")
    vswitch.signal(signal.SIGINT)
    equal(vswitch.wait(5), 0, "exit code after SIGINT")
    check(not os.path.exists(vswitch.socket_path), "the control socket is still there")


@test(seconds=40)
def guest_can_be_ended_while_it_waits_for_a_vswitch(lab):
    lab.guest_config()
    guest = lab.start_guest()
    eventually(lambda: os.path.exists(lab.path("vm1.vhost")), "the guest listens")
    # EAL cannot be cleaned up from in there, so it says that a signal ended it.
    equal(guest.terminate(seconds=5), 128 + signal.SIGTERM, "exit code")
    # What it left does not keep the next one from starting.
    vswitch, guest = lab.pair()
    guest.transfer("host client tgen/host size 100 count 1000")


if __name__ == "__main__":
    main()
