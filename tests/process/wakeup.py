#!/usr/bin/python3
"""Who has nothing to do sleeps, and is awake at once when there is something."""

import time

from harness import check, equal, main, settled, test, wait_up

SECONDS = 3


@test(seconds=40)
def idle_pair_sleeps_and_wakes(lab):
    vswitch, guest = lab.pair()
    guest.transfer("host client tgen/host size 1500 count 5000")
    settled(lambda: vswitch.port("vm1")["rx_packets"], "traffic has ended")
    for _ in range(2):
        # CPU time of the processes themselves: what else the machine does is not in it.
        before, since = (vswitch.cpu_seconds(), guest.cpu_seconds()), time.monotonic()
        sleeps = [r.cmd("show lcores")[0]["sleeps"] for r in (vswitch, guest)]
        time.sleep(SECONDS)
        wall = time.monotonic() - since
        for role, was in zip((vswitch, guest), before):
            share = (role.cpu_seconds() - was) / wall
            check(share < 0.03, f"{role.name} used {100 * share:.1f} % of a CPU with nothing to do")
        for role, was in zip((vswitch, guest), sleeps):
            check(role.cmd("show lcores")[0]["sleeps"] > was, f"the lcore of {role.name} slept")
        # Both lcores sleep now. A thousand SDUs each way need far less than this.
        for role, words in ((guest, "host client tgen/host"), (vswitch, "vm1 client tgen/vm1")):
            report = role.transfer(f"{words} size 100 count 1000", seconds=3)
            equal(report["sdus"], 1000, "SDUs after the pause")


@test(seconds=40)
def trickle_wakes_for_each_sdu(lab):
    """SDUs far apart: each finds the lcores asleep."""
    vswitch, guest = lab.pair()
    for role, words in ((guest, "host client tgen/host"), (vswitch, "vm1 client tgen/vm1")):
        report = role.transfer(f"{words} size 100 count 40 rate 20pps", seconds=10)
        equal(report["sdus"], 40, "SDUs")
        # Sent one by one at 50 ms; had a wakeup been lost, one would have waited for a keepalive.
        check(report["latency_ns"] is not None, "latency is known between processes of a machine")
        check(report["latency_ns"]["p50"] < 50_000_000, f"latency {report['latency_ns']}")


@test(seconds=30)
def busy_lcores_do_not_sleep(lab):
    lab.vswitch_config()
    text = open(lab.path("vswitch.toml")).read()
    lab.write("vswitch.toml", text.replace("[runtime]", '[runtime]\nidle = "busy"', 1))
    lab.guest_config()
    guest, vswitch = lab.start_guest(), lab.start_vswitch()
    vswitch.ready()
    guest.ready()
    wait_up(guest, "host")
    guest.transfer("host client tgen/host size 100 count 1000")
    row = vswitch.cmd("show lcores")[0]
    equal((row["idle"], row["sleeps"], row["sleep_percent"]), ("busy", 0, 0), "a busy lcore")


if __name__ == "__main__":
    main()
