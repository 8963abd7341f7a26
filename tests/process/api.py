#!/usr/bin/python3
"""Applications in C on librina-api, as <rina/api.h> says they may be written."""

import os
import subprocess

from api_harness import Server
from harness import check, equal, main, roles, run_program, test

SCENARIOS = ("basic", "nowait", "noresp", "limits", "refused", "threads", "forks")


def scenario(*words):
    code, _, err = run_program([roles["api-scenarios"], *words], seconds=60)
    equal((code, err), (0, ""), f"exit code and errors of scenario {words}")


@test(seconds=100)
def scenarios(lab):
    server = Server(lab, "--bandwidth", "1000000000", "--deny", "forbidden*")
    for name in SCENARIOS:
        scenario(name)
    counts = server.end()
    equal((counts["dropped_malformed"], counts["dropped_unread"], counts["lost"]), (0, 0, 0),
          "clients dropped and SDUs lost")
    equal(counts["refused_access"], 1, "names refused by the rules")
    check(not os.path.exists(server.path), "the server left its socket behind")


@test(seconds=60)
def flows_with_small_sdus(lab):
    server = Server(lab, "--max-sdu", "1400")
    for name in ("basic", "small", "nowait", "noresp", "threads"):
        scenario(name)
    server.end()


@test(seconds=60)
def death_of_the_server(lab):
    for where in ("alloc", "alloc_wait", "accept", "read", "write"):
        server = Server(lab)
        program = subprocess.Popen([roles["api-scenarios"], "block", where],
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            equal(program.stdout.readline(), "blocked\n", f"output of 'block {where}'")
            server.kill()
            _, err = program.communicate(timeout=20)
            equal((program.returncode, err), (0, ""), f"exit code and errors of 'block {where}'")
        finally:
            program.kill()
            program.communicate()


@test(seconds=20)
def a_dead_server_is_replaced(lab):
    first = Server(lab)
    code, _, err = run_program([roles["api-server"], "--socket", first.path])
    equal(code, 1, "exit code of a second server")
    check("in use" in err and first.path in err, err)
    first.kill()
    check(os.path.exists(first.path), "the socket of a killed server is gone")
    second = Server(lab)
    scenario("basic")
    second.end()


@test(seconds=20)
def the_library_stands_alone(_lab):
    """Nothing but libc comes with it, and nothing but rina_* comes out of it."""
    _, out, _ = run_program(["readelf", "-dW", roles["librina-api"]])
    needed = [line.split("[")[1].split("]")[0] for line in out.splitlines() if "NEEDED" in line]
    check(all(name.startswith(("libc.so", "ld-linux", "libasan", "libubsan", "libtsan"))
              for name in needed), f"needed: {needed}")
    check("librina-api.so.0]" in out, out)
    _, out, _ = run_program(["readelf", "--dyn-syms", "-W", roles["librina-api"]])
    rows = [line.split() for line in out.splitlines()]
    names = {row[7].split("@")[0] for row in rows
             if len(row) > 7 and row[6] != "UND" and row[4] in ("GLOBAL", "WEAK")}
    equal(names, {"rina_open", "rina_register", "rina_unregister", "rina_register_wait",
                  "rina_flow_accept", "rina_flow_respond", "rina_flow_alloc",
                  "rina_flow_alloc_wait", "rina_flow_spec_unreliable", "rina_flow_mss_get"},
          "exported names")


if __name__ == "__main__":
    main(needed=("api-server", "api-scenarios", "librina-api"))
