#!/usr/bin/python3
"""Profile irati at both ends: allocation, data, short SDUs, deallocation."""

from harness import check, equal, eventually, main, test, wait_up

PROFILE = 'profile = "irati"'


def irati_pair(lab):
    vswitch, guest = lab.pair(PROFILE, PROFILE)
    for role, port in ((vswitch, "vm1"), (guest, "host")):
        equal(role.vmpi(port)["profile"], "irati", f"profile of {role.name}")
    return vswitch, guest


@test(seconds=30)
def flows_carry_data(lab):
    vswitch, guest = irati_pair(lab)
    # Without flow control, so no faster than anybody can read.
    for role, words in ((guest, "host client tgen/host"), (vswitch, "vm1 client tgen/vm1")):
        report = role.transfer(f"{words} sweep 10:4000:5 count 4000 rate 10kpps")
        equal(report["sdus"], 4000, "SDUs")
        equal(role.transfer(f"{words} size 10 count 100 rate 5kpps")["bytes"], 1000, "shortest")
        equal(role.transfer(f"{words} size 65000 count 20 rate 100pps")["sdus"], 20, "longest")


@test(seconds=30)
def short_sdus_towards_the_guest_are_refused(lab):
    vswitch, guest = irati_pair(lab)
    note = vswitch.vmpi("vm1").get("note", "")
    check("10 bytes" in note, f"the limit is told, got '{note}'")
    before = sum(r["packets"] for r in vswitch.cmd("show drops"))
    try:
        vswitch.start_run("vm1 client tgen/vm1 size 9 count 50 rate 1kpps")
        refusal = ""
    except Exception as error:  # whatever the harness makes of an error answer
        refusal = str(error)
    check("at least 10" in refusal, f"the refusal names the limit, got '{refusal}'")
    drops = vswitch.cmd("show drops")
    equal(sum(r["packets"] for r in drops), before, f"nothing was sent to be dropped: {drops}")
    # The other direction has no such limit.
    report = guest.transfer("host client tgen/host size 5 count 50 rate 1kpps")
    equal((report["sdus"], report["bytes"]), (50, 250), "short SDUs to the vswitch")
    vswitch.transfer("vm1 client tgen/vm1 size 10 count 100 rate 5kpps")


@test(seconds=30)
def flows_end_at_both_ends(lab):
    vswitch, guest = irati_pair(lab)
    for role, dif, peer, port, server in ((guest, "host", vswitch, "vm1", "tgen/host"),
                                          (vswitch, "vm1", guest, "host", "tgen/vm1")):
        flow = role.cmd(f"allocate flow {dif} me {server}")["flow"]
        eventually(lambda: role.flow(flow)["state"] == "allocated", "the flow is allocated")
        eventually(lambda: peer.vmpi(port)["flows"] == 1, "the peer has the flow")
        role.cmd(f"deallocate flow {flow}")
        eventually(lambda: peer.vmpi(port)["flows"] == 0, "the peer's flow has ended")
        row = role.wait_run(role.start_run(f"{dif} me nobody count 1"))
        equal(row["state"], "failed", "an unknown application")
        check(row["failure"], "a refusal has a reason")


@test(seconds=40)
def all_channels_can_be_used(lab):
    vswitch, guest = irati_pair(lab)
    limit = guest.vmpi("host")["max_channels"]
    check(1 <= limit <= 63, f"max_channels {limit}")
    flows = [guest.cmd("allocate flow host me tgen/host")["flow"] for _ in range(limit)]
    eventually(lambda: guest.vmpi("host")["flows"] == limit and
               all(guest.flow(f)["state"] == "allocated" for f in flows), "all are allocated")
    guest.refused("allocate flow host me tgen/host")
    for flow in flows:
        guest.cmd(f"deallocate flow {flow}")
    eventually(lambda: vswitch.vmpi("vm1")["flows"] == 0, "all have ended")
    # Channels rest a while before they are drawn again.
    def again():
        try:
            return guest.cmd("allocate flow host me tgen/host")["flow"]
        except Exception:
            return None

    flow = eventually(again, "a channel is free again")
    eventually(lambda: guest.flow(flow)["state"] == "allocated", "it is allocated")


@test(seconds=30)
def profiles_that_differ_do_no_harm(lab):
    lab.vswitch_config(vmpi=PROFILE)
    lab.guest_config()
    guest, vswitch = lab.start_guest(), lab.start_vswitch()
    vswitch.ready()
    guest.ready()
    eventually(lambda: vswitch.vmpi("vm1")["control_drops"], "HELLOs are counted as what they are")
    check(guest.vmpi("host")["state"] != "up", "a device is up without a peer that speaks")
    guest.refused("allocate flow host me tgen/host")
    equal((vswitch.terminate(), guest.terminate()), (0, 0), "exit codes")


@test(seconds=40)
def guest_restarts(lab):
    vswitch, guest = irati_pair(lab)
    flow = vswitch.cmd("allocate flow vm1 me tgen/vm1")["flow"]
    eventually(lambda: vswitch.flow(flow)["state"] == "allocated", "the flow is allocated")
    equal(guest.terminate(), 0, "exit code of the guest")
    eventually(lambda: vswitch.flow(flow)["state"] == "ended", "the flow has ended")
    guest = lab.start_guest().ready()
    wait_up(guest, "host")
    wait_up(vswitch, "vm1")
    guest.transfer("host client tgen/host size 100 count 500 rate 5kpps")


if __name__ == "__main__":
    main()
