#!/usr/bin/python3
"""Either end killed, ended, stopped or slow, in the midst of traffic."""

import signal
import time

from harness import check, equal, eventually, good_report, main, settled, test, wait_up

WINDOW = 4096  # of a flow, in units that an SDU of 1500 bytes takes one of


def busy_pair(lab):
    """A pair with an endless run in each direction: vswitch, guest, and the runs' numbers."""
    vswitch, guest = lab.pair()
    equal(guest.transfer("host client tgen/host size 1500 count 1000")["sdus"], 1000, "at first")
    return vswitch, guest, *start_endless(vswitch, guest)


def start_endless(vswitch, guest):
    down = vswitch.start_run("vm1 client tgen/vm1 size 1500 duration 10min")
    up = guest.start_run("host client tgen/host size 1500 duration 10min")
    eventually(lambda: vswitch.run(down)["sdus_sent"] > 2000 and guest.run(up)["sdus_sent"] > 2000,
               "traffic in both directions")
    return down, up


def wait_told(role, run):
    """Every flow of the role has ended, and the run failed for a reason that it names."""
    flows = eventually(lambda: (lambda all_: all_ and all(f["state"] == "ended" for f in all_)
                                and all_)(role.cmd("show flows")),
                       f"the flows of {role.name} have ended")
    check(all(f["reason"] for f in flows), f"a flow of {role.name} ended without a reason: {flows}")
    row = role.wait_run(run)
    equal(row["state"], "failed", f"state of the run of {role.name}")
    check(row["failure"], f"the run of {role.name} failed without a reason")
    return row


def buffers_come_back(role, before):
    """Pools are as full as they were. virtio keeps what it has sent until its ring comes round."""
    rings = 2 * 1024 if role.role == "guest" else 0

    def back():
        now = role.in_use()
        return all(now[pool] <= before[pool] + rings for pool in before)

    eventually(back, f"buffers of {role.name} back at {before}")


def both_ways(vswitch, guest):
    guest.transfer("host client tgen/host sweep 0:4000:7 count 3000")
    vswitch.transfer("vm1 client tgen/vm1 sweep 0:4000:7 count 3000")


def restart_guest(lab, vswitch):
    guest = lab.start_guest()
    guest.ready()
    wait_up(guest, "host")
    eventually(lambda: vswitch.vmpi("vm1")["peer_epoch"] == guest.vmpi("host")["epoch"],
               "the vswitch knows the new guest")
    return guest


def restart_vswitch(lab, guest):
    vswitch = lab.start_vswitch()
    vswitch.ready()
    wait_up(vswitch, "vm1")
    eventually(lambda: guest.vmpi("host")["peer_epoch"] == vswitch.vmpi("vm1")["epoch"],
               "the guest knows the new vswitch")
    return vswitch


@test(seconds=60)
def guest_is_killed_and_restarted(lab):
    vswitch, guest = lab.pair()
    before = settled(vswitch.in_use, "buffers of the idle vswitch")
    for _ in range(2):
        down, _ = start_endless(vswitch, guest)
        guest.kill()
        wait_told(vswitch, down)
        buffers_come_back(vswitch, before)
        check(vswitch.vmpi("vm1")["state"] != "up", "the device is up without a peer")
        guest = restart_guest(lab, vswitch)
        both_ways(vswitch, guest)
    buffers_come_back(vswitch, before)


@test(seconds=60)
def vswitch_is_killed_and_restarted(lab):
    vswitch, guest = lab.pair()
    before = settled(guest.in_use, "buffers of the idle guest")
    for _ in range(2):
        _, up = start_endless(vswitch, guest)
        vswitch.kill()
        wait_told(guest, up)
        vswitch = restart_vswitch(lab, guest)
        both_ways(vswitch, guest)
    buffers_come_back(guest, before)


@test(seconds=60)
def guest_is_ended_and_restarted(lab):
    vswitch, guest, down, _ = busy_pair(lab)
    equal(guest.terminate(), 0, "exit code of the guest")
    wait_told(vswitch, down)
    guest = restart_guest(lab, vswitch)
    both_ways(vswitch, guest)


@test(seconds=60)
def vswitch_is_ended_and_restarted(lab):
    vswitch, guest, _, up = busy_pair(lab)
    equal(vswitch.terminate(), 0, "exit code of the vswitch")
    wait_told(guest, up)
    vswitch = restart_vswitch(lab, guest)
    both_ways(vswitch, guest)


def server_flow(role, source):
    """The number of the flow that `source` has opened to a server of this role."""
    return eventually(lambda: next((f["flow"] for f in role.cmd("show flows")
                                    if f["source"] == source and f["state"] == "allocated"), None),
                      f"flow of {source} at {role.name}")


def stalled_receiver(sender, dif, receiver, server):
    count = 60000  # far more than a window, so that the stalled one cannot get to its end
    # Slow enough not to be over before it is stopped.
    slow = sender.start_run(f"{dif} slow {server} size 1500 count {count} rate 20kpps")
    flow = server_flow(receiver, "slow")
    receiver.cmd(f"set tgen rx off flow {flow}")
    taken = settled(lambda: receiver.run(flow)["sdus_received"], "the stalled flow stands still")
    check(taken < count, f"{taken} SDUs were taken by a receiver that does not read")
    # The other flow has the link to itself, for far more than any queue can hold.
    sender.transfer(f"{dif} quick {server} size 1500 count 40000")
    equal(receiver.run(flow)["sdus_received"], taken, "SDUs of the stalled flow, meanwhile")
    sent = sender.run(slow)["sdus_sent"]
    check(sent <= taken + WINDOW, f"{sent} SDUs sent, {taken} taken: more than a window between")
    receiver.cmd(f"set tgen rx on flow {flow}")
    report = good_report(sender.wait_run(slow), "slow")
    equal(report["sdus"], count, "SDUs of the run that was stalled")


@test(seconds=60)
def stalled_receiver_harms_no_other_flow(lab):
    vswitch, guest = lab.pair()
    stalled_receiver(guest, "host", vswitch, "tgen/host")
    stalled_receiver(vswitch, "vm1", guest, "tgen/vm1")


def stop(role):
    role.close()
    role.signal(signal.SIGSTOP)

    def stopped():
        with open(f"/proc/{role.pid}/stat") as stat:
            return stat.read().rsplit(")", 1)[1].split()[0] == "T"

    eventually(stopped, f"{role.name} is stopped")


@test(seconds=60)
def guest_stands_still_for_a_while(lab):
    vswitch, guest = lab.pair()
    resets = vswitch.vmpi("vm1")["resets"]
    down = vswitch.start_run("vm1 client tgen/vm1 size 1500 count 100000 rate 20kpps")
    up = guest.start_run("host client tgen/host size 1500 count 100000 rate 20kpps")
    eventually(lambda: vswitch.run(down)["sdus_sent"] > 2000 and guest.run(up)["sdus_sent"] > 2000,
               "traffic in both directions")
    stop(guest)
    # Three seconds are the disturbance; that the vswitch answers in them is the point.
    until = time.monotonic() + 3
    while time.monotonic() < until:
        check(vswitch.run(down)["state"] == "running", "the run of the vswitch goes on waiting")
        time.sleep(0.1)
    guest.signal(signal.SIGCONT)
    for role, run in ((vswitch, down), (guest, up)):
        report = good_report(role.wait_run(run, 30), role.name)
        equal(report["sdus"], 100000, f"SDUs of the run of {role.name}")
    equal(vswitch.vmpi("vm1")["resets"], resets, "resets")


@test(seconds=60)
def stopped_guest_harms_no_other_guest(lab):
    lab.vswitch_config(ports=("vm1", "vm2"))
    lab.guest_config("guest1", "vm1")
    lab.guest_config("guest2", "vm2")
    first, second = lab.start_guest("guest1"), lab.start_guest("guest2")
    vswitch = lab.start_vswitch().ready()
    for role, port in ((vswitch, "vm1"), (vswitch, "vm2"), (first.ready(), "host"),
                       (second.ready(), "host")):
        wait_up(role, port, 15)
    # More than the queues of the stopped one take.
    stuck = vswitch.start_run("vm1 client tgen/vm1 size 1500 count 60000 rate 20kpps")
    eventually(lambda: vswitch.run(stuck)["sdus_sent"] > 1000, "traffic to the first guest")
    stop(first)
    sent = settled(lambda: vswitch.run(stuck)["sdus_sent"], "traffic to the stopped guest")
    check(sent < 60000, "all went to a guest that does not read")
    vswitch.transfer("vm2 client tgen/vm2 size 1500 count 40000")
    second.transfer("host client tgen/host size 1500 count 40000")
    row = vswitch.wait_run(vswitch.start_run("vm2 client nobody count 1"))
    equal(row["failure"], "no such application", "control of the other port")
    first.signal(signal.SIGCONT)
    good_report(vswitch.wait_run(stuck, 30), "to the guest that was stopped")


@test(seconds=40)
def dead_guest_harms_no_other_guest(lab):
    lab.vswitch_config(ports=("vm1", "vm2"))
    lab.guest_config("guest1", "vm1")
    lab.guest_config("guest2", "vm2")
    first, second = lab.start_guest("guest1"), lab.start_guest("guest2")
    vswitch = lab.start_vswitch().ready()
    for role, port in ((vswitch, "vm1"), (vswitch, "vm2"), (first.ready(), "host"),
                       (second.ready(), "host")):
        wait_up(role, port, 15)
    lost = vswitch.start_run("vm1 client tgen/vm1 size 1500 duration 10min")
    kept = vswitch.start_run("vm2 client tgen/vm2 size 1500 count 100000 rate 20kpps")
    eventually(lambda: vswitch.run(lost)["sdus_sent"] > 1000 and
               vswitch.run(kept)["sdus_sent"] > 1000, "traffic to both guests")
    first.kill()
    equal(vswitch.wait_run(lost)["state"], "failed", "the run to the dead guest")
    good_report(vswitch.wait_run(kept, 25), "to the other guest")


if __name__ == "__main__":
    main()
