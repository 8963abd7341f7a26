#include <catch2/catch.hpp>

#include "player.hpp"

// The stories of tests/data/rlite from end to end, with our node as each of the nodes in turn. The
// table of README.md says which, and what differs.

using namespace sluice;
using namespace sluice::golden;
using What = Difference::What;

namespace {

constexpr rina::MacAddress mac(std::uint8_t node, std::uint8_t port) {
    return {0x00, 0x0a, 0x0a, 0x0a, node, port};
}

// ---- s1: a and b; what they say as neighbours, from the first word to the last -----------------

Story s1(bool as_a) {
    Story story;
    Lower lower;
    lower.dif = "e.DIF";
    lower.mac = mac(0x0a, as_a ? 1 : 2);
    for (const char* name :
         {"s1-01-arp-and-enrollment", "s1-02-keepalive-and-refresh", "s1-03-dft-register",
          "s1-04-flow-unreliable-ping", "s1-05-flow-reliable-ping",
          "s1-06-flow-reliable-perf-60x1400", "s1-07-flow-unreliable-perf-30x1000",
          "s1-09-flow-fc-no-rtx", "s1-11-reverse-direction-flow", "s1-12-dft-unregister",
          "s1-13-neigh-disconnect"})
        lower.files.push_back({std::string(name) + ".pcap", {}});
    story.lowers = {lower};
    story.ours = as_a ? "a.IPCP" : "b.IPCP";
    story.first = as_a;
    story.only_neighbors = true;
    story.has_gaps = true;
    story.seed = 11;
    // Its tables are refreshed every 30 s from then on.
    story.running = Duration::milliseconds(as_a ? 285 : 165);
    if (!as_a)
        story.differences = {{"s1-02-keepalive-and-refresh.pcap", 4, What::timer_late}};
    return story;
}


// ---- s2: a line a - b - c -----------------------------------------------------------------------

Lower link(const char* dif, const rina::MacAddress& ours, std::vector<std::string> files,
           Duration late = {}) {
    Lower lower;
    lower.dif = dif;
    lower.mac = ours;
    for (std::string& file : files) lower.files.push_back({std::move(file), late});
    return lower;
}

const std::string kEnrollB = "s2-3node-01-a-is-enroller-b-enrolls";
const std::string kEnrollC = "s2-3node-02-c-enrolls-through-b";
const std::string kRegister = "s2-3node-03-register-app-on-a";
const std::string kFlows = "s2-3node-04-c-to-a-forwarded-ping-and-rr";

std::vector<std::string> all_of(const std::string& end) {
    return {kEnrollB + end, kEnrollC + end, kRegister + end, kFlows + end};
}

Story s2(char node) {
    Story story;
    // The clock of the one who captured this link was behind: what b relays shows by how much.
    const Lower ab = link("ab.DIF", node == 'a' ? mac(1, 2) : mac(2, 1), all_of(".ab.pcap"),
                          Duration::microseconds(147'900));
    const Lower bc = link("bc.DIF", node == 'c' ? mac(3, 2) : mac(2, 3), all_of(".bc.pcap"));
    if (node != 'c') story.lowers.push_back(ab);
    if (node != 'a') story.lowers.push_back(bc);
    story.ours = std::string(1, node) + ".IPCP";
    story.first = node == 'a';
    story.seed = node == 'a' ? 11 : 3;
    story.flow_del_wait = Duration::milliseconds(300);
    if (node == 'a') story.differences = {{kFlows + ".ab.pcap", 26, What::first_alone}};
    if (node == 'b')
        story.differences = {{kEnrollC + ".bc.pcap", 16, What::order_and_age}};
    if (node == 'c') story.differences = {{kFlows + ".bc.pcap", 23, What::first_alone}};
    return story;
}

// ---- s3, s4, s6: two nodes over a VLAN, with checksums, over UDP --------------------------------

Story pair(bool as_a, const std::string& file, const char* dif) {
    Story story;
    story.lowers = {link(dif, as_a ? mac(1, 2) : mac(2, 1), {file})};
    story.ours = as_a ? "a.IPCP" : "b.IPCP";
    story.first = as_a;
    story.seed = 11;
    return story;
}

const std::string kVlan = "s3-02-vlan-shim-eth-enroll.pcap";
const std::string kChecksum = "s4-csum-inet-enroll-ping.pcap";
const std::string kUdp = "s6-shim-udp4-enroll-ping.pcap";

Story s3(bool as_a) {
    Story story = pair(as_a, kVlan, "110");
    story.lowers[0].vlan = 110;
    return story;
}

Story s4(bool as_a) {
    Story story = pair(as_a, kChecksum, "e.DIF");
    story.protection = "inet";
    story.flow_del_wait = Duration::milliseconds(490);
    story.ttl_outside = 9;
    if (as_a) {
        story.ttl = 9;
        story.differences = {{kChecksum, 27, What::sooner},
                             {kChecksum, 42, What::first_alone},
                             {kChecksum, 43, What::first_alone}};
    } else {
        story.differences = {{kChecksum, 39, What::first_alone},
                             {kChecksum, 44, What::first_alone}};
        story.crossed = {{kChecksum, 46}};
    }
    return story;
}

Story s6(bool as_a) {
    Story story = pair(as_a, kUdp, "u.DIF");
    story.lowers[0].over_udp = true;
    story.hosts = {{"a.IPCP", 0x0a000001}, {"b.IPCP", 0x0a000002}};
    story.lowers[0].address = story.hosts.at(story.ours);
    return story;
}

std::vector<Story> all() {
    return {s1(true),  s1(false), s2('a'),   s2('b'),  s2('c'),  s3(true),
            s3(false), s4(true),  s4(false), s6(true), s6(false)};
}

// All frames of the files were of use, in one way or the other; no others were sent, no PDU was
// dropped, and no flow is left.
Report play_all(const Story& story, unsigned frames) {
    const Report report = play(RLITE_TRACES, story);
    for (const std::string& failure : report.failures) FAIL_CHECK(story.ours << ": " << failure);
    CHECK(report.received + report.same + report.different == frames);
    CHECK(report.different == story.differences.size());
    CHECK(report.drops == 0);
    CHECK(report.flows == 0);
    CHECK(report.is_member);
    return report;
}

}  // namespace

TEST_CASE("two neighbours, from the first word to the last", "[s1]") {
    // Nobody listened when the tables were refreshed for the third time: a's have its link, an
    // application and itself; b has no application.
    const Report a = play_all(s1(true), 48), b = play_all(s1(false), 48);
    CHECK(a.unrecorded == 3);
    CHECK(b.unrecorded == 2);
    CHECK(a.same == b.received);
}

TEST_CASE("a line: who enrolls others, who relays, who asks", "[s2]") {
    const Report a = play_all(s2('a'), 71), b = play_all(s2('b'), 138), c = play_all(s2('c'), 67);
    CHECK(b.received == a.same + a.different + c.same + c.different);
    CHECK(a.delivered == 14);
    CHECK(b.delivered == 0);
    CHECK(c.delivered == 12);
}

TEST_CASE("over a VLAN", "[s3]") {
    const Report a = play_all(s3(true), 38), b = play_all(s3(false), 38);
    CHECK(a.delivered == 5);
    CHECK(b.delivered == 4);
}

TEST_CASE("with Internet checksums, and a TTL of 9", "[s4]") {
    const Report a = play_all(s4(true), 40), b = play_all(s4(false), 40);
    CHECK(a.delivered == 5);
    CHECK(b.delivered == 4);
}

TEST_CASE("over UDP", "[s6]") {
    const Report a = play_all(s6(true), 34), b = play_all(s6(false), 34);
    CHECK(a.delivered == 5);
    CHECK(b.delivered == 4);
}

TEST_CASE("one bit more or less in what is recorded is found", "[mutations]") {
    for (const Story& story : all()) {
        std::size_t frames = 0;
        for (bool more = true; more; ++frames) {
            const Mutation mutation{frames, frames * 7919 + 13};
            const Report report = play(RLITE_TRACES, story, mutation);
            more = report.mutated;
            if (!more) break;
            INFO(story.ours << " in " << story.lowers[0].files[0].name << ", frame " << frames
                            << ", bit " << mutation.bit);
            CHECK_FALSE(report.failures.empty());
        }
        CHECK(frames >= 13);
    }
}
