#include <algorithm>
#include <catch2/catch.hpp>
#include <fstream>
#include <iterator>
#include <span>
#include <string>
#include <vector>

#include "base/rng.hpp"
#include "enrollment_nodes.hpp"
#include "pcap_writer/pcap_reader.hpp"

namespace sluice::mgmt {
namespace {

TEST_CASE("A node joins, and both know each other", "[enrollment]") {
    Pair p;
    p.join();
    CHECK(p.a.log == std::vector<std::string>{"up b.IPCP"});
    // Between M_START_R and M_STOP it is told the policies.
    CHECK(p.b.log == std::vector<std::string>{"object policy from a.IPCP",
                                              "up a.IPCP as initiator"});
    CHECK(p.b.member);
    CHECK(p.b.own_address == Address{7});
    CHECK(ops(p.b) == std::vector<OpCode>{OpCode::connect, OpCode::start, OpCode::stop_r});
    CHECK(ops(p.a) == std::vector<OpCode>{OpCode::connect_r, OpCode::start_r, OpCode::write,
                                          OpCode::stop, OpCode::start});
    // As rlite counts them.
    CHECK(p.b.sent[0].invoke_id == 2);
    CHECK(p.b.sent[1].invoke_id == 3);
    CHECK(p.a.sent[2].invoke_id == 2);
    CHECK(p.a.sent[3].invoke_id == 3);
    CHECK(p.a.machine.is_up(kPort));
    CHECK(p.b.machine.is_up(kPort));
}

TEST_CASE("Who asks for the DIF learns whom it reached", "[enrollment]") {
    Pair p;
    p.join("e.DIF");
    CHECK(p.b.log.back() == "up a.IPCP as initiator");
    Pair wrong;
    wrong.join("x.IPCP");
    CHECK(wrong.b.log.size() == 1);
    CHECK_THAT(wrong.b.log[0], Catch::StartsWith("failed x.IPCP: refused"));
    CHECK(wrong.b.released);
}

TEST_CASE("A member that has a second neighbour does not join again", "[enrollment]") {
    Pair p;
    p.b.member = true;
    p.b.own_address = Address{5};
    p.join();
    CHECK(p.a.choices == 0);
    CHECK(p.b.own_address == Address{5});
    CHECK(p.a.machine.is_up(kPort));
    CHECK(ops(p.b) == std::vector<OpCode>{OpCode::connect, OpCode::start});
    CHECK(p.b.sent[1].obj_class == "lowerflow");
}

TEST_CASE("Choosing an address may take its time, but not for ever", "[enrollment]") {
    Pair p;
    p.a.chooses_at_once = false;
    p.join();
    CHECK(p.a.choices == 1);
    CHECK(p.b.log.empty());
    const bool late = GENERATE(false, true);
    if (late) {
        p.pass(Duration::seconds(30));
        CHECK_FALSE(p.b.member);
        CHECK(p.b.log.size() == 1);
        CHECK(p.a.log.size() == 1);
        CHECK(p.a.machine.adjacencies().empty());
        p.a.machine.address_chosen(p.now, kPort, Address{9});
        CHECK(p.a.wire.empty());
        return;
    }
    p.pass(Duration::seconds(4));
    p.a.machine.address_chosen(p.now, kPort, Address{9});
    exchange(p.now, p.a, p.b);
    CHECK(p.b.own_address == Address{9});
    CHECK(p.b.machine.is_up(kPort));
}

TEST_CASE("Who may not join is told why", "[enrollment]") {
    Pair p;
    p.a.banned = "b.IPCP";
    p.join();
    CHECK(p.b.log == std::vector<std::string>{
                         "failed a.IPCP: refused, b.IPCP is not wanted"});
    CHECK(p.a.released);
    Pair q;
    q.a.machine.set_enroller(false);
    q.join();
    CHECK_THAT(q.b.log.at(0), Catch::Contains("does not let others join"));
    Pair r;
    r.a.chooses_at_once = false;
    r.join();
    r.a.machine.refuse_address(r.now, kPort, "no address is free");
    exchange(r.now, r.a, r.b);
    CHECK_THAT(r.b.log.at(0), Catch::Contains("no address is free"));
}

TEST_CASE("A peer that does not answer is called again, and given up", "[enrollment]") {
    Node b("b.IPCP", false);
    Instant now{1};
    b.machine.flow_up(now, kPort, "a.IPCP");
    unsigned calls = 0;
    while (b.log.empty()) {
        for (; !b.wire.empty(); b.wire.pop_front()) {
            ++calls;
            // No id comes twice.
            CHECK(b.wire.front().message.invoke_id == static_cast<std::int32_t>(1 + calls));
        }
        now = b.machine.next_deadline();
        b.machine.on_timeout(now);
    }
    CHECK(calls == EnrollmentTimers().connect_tries);
    CHECK(now - Instant{1} >= Duration::seconds(20));
    CHECK(b.released);
}

TEST_CASE("Keepalives keep an adjacency up, and their absence ends it", "[enrollment]") {
    Pair p;
    p.join();
    p.pass(Duration::seconds(600));
    CHECK(p.a.log.size() == 1);
    CHECK(p.a.machine.is_up(kPort));
    // The link loses everything from now on.
    for (int i = 0; i < 20 && p.a.machine.is_up(kPort); ++i) {
        p.now = p.a.machine.next_deadline();
        p.a.machine.on_timeout(p.now);
        p.a.wire.clear();
    }
    CHECK(p.a.log.back() == "down b.IPCP: unresponsive, keepalives were not answered");
    CHECK(p.a.released);
}

TEST_CASE("A neighbour leaves, or its flow does", "[enrollment]") {
    Pair p;
    p.join();
    if (GENERATE(true, false)) {
        p.b.machine.disconnect(p.now, kPort);
        exchange(p.now, p.a, p.b);
        CHECK(p.a.log.back() == "down b.IPCP: released by the peer");
        CHECK(p.b.log.back() == "down a.IPCP: disconnected");
        CHECK(p.a.released);
    } else {
        p.a.machine.flow_down(p.now, kPort);
        CHECK(p.a.log.back() == "down b.IPCP: the lower flow went down");
        CHECK_FALSE(p.a.released);
    }
    CHECK(p.a.machine.adjacencies().empty());
}

TEST_CASE("A peer that restarted without a word joins again", "[enrollment]") {
    Pair p;
    p.join();
    Node again("b.IPCP", false);
    again.machine.flow_up(p.now, kPort, "a.IPCP");
    exchange(p.now, p.a, again);
    CHECK(p.a.log == std::vector<std::string>{"up b.IPCP", "down b.IPCP: the peer began anew",
                                              "up b.IPCP"});
    CHECK(again.machine.is_up(kPort));
}

TEST_CASE("Both may call at once over one flow", "[enrollment]") {
    Pair p;
    p.b.member = true;
    p.a.machine.flow_up(p.now, kPort, "b.IPCP");
    p.b.machine.flow_up(p.now, kPort, "a.IPCP");
    exchange(p.now, p.a, p.b);
    CHECK(p.a.machine.is_up(kPort));
    CHECK(p.b.machine.is_up(kPort));
    CHECK(p.a.log == std::vector<std::string>{"up b.IPCP as initiator"});
    CHECK(p.b.log == std::vector<std::string>{"up a.IPCP"});
}

TEST_CASE("Constants that we cannot do end it, with a reason", "[enrollment]") {
    Pair p;
    p.a.machine.flow_accepted(p.now, kPort);
    p.b.machine.flow_up(p.now, kPort, "a.IPCP");
    p.a.machine.received(p.now, kPort, p.b.wire.front().message);
    p.b.wire.clear();
    p.b.machine.received(p.now, kPort, p.a.wire.front().message);
    p.a.wire.clear();
    CdapMessage answer;
    answer.op = OpCode::start_r;
    answer.invoke_id = p.b.sent.back().invoke_id;
    answer.obj_class = "enrollment";
    answer.obj_name = "/mgmt/enrollment";
    answer.version = 1;
    SECTION("other widths") {
        rina::EnrollmentInfo info;
        info.address = Address{3};
        info.constants = rina::rlite_constants();
        info.constants->sequence_width = 8;
        answer.value = rina::value_of(info);
        p.b.machine.received(p.now, kPort, answer);
        CHECK(p.b.log.back() ==
              "failed a.IPCP: constants of the DIF do not fit, sequence numbers of 8");
    }
    SECTION("none") {
        rina::EnrollmentInfo info;
        info.address = Address{3};
        answer.value = rina::value_of(info);
        p.b.machine.received(p.now, kPort, answer);
        CHECK_THAT(p.b.log.back(), Catch::Contains("without the constants"));
    }
    SECTION("no object at all") {
        p.b.machine.received(p.now, kPort, answer);
        CHECK_THAT(p.b.log.back(), Catch::Contains("without the constants"));
    }
    CHECK_FALSE(p.b.member);
    CHECK(p.b.wire.back().message.op == OpCode::release);
}

TEST_CASE("Steps out of place change nothing", "[enrollment]") {
    Pair p;
    p.join();
    const auto before = p.a.log;
    for (const OpCode op : {OpCode::start, OpCode::stop, OpCode::write}) {
        for (const char* object : {"/mgmt/enrollment", "/mgmt/lowerflow", "/mgmt/keepalive"}) {
            CdapMessage m;
            m.op = op;
            m.invoke_id = 1000 + static_cast<std::int32_t>(op) * 10 + object[6];
            m.obj_class = "x";
            m.obj_name = object;
            m.version = 1;
            p.a.machine.received(p.now, kPort, m);
        }
    }
    CHECK(p.a.machine.drops()[static_cast<std::size_t>(EnrollmentDrop::out_of_place)] == 9);
    CHECK(p.a.log == before);
    CHECK(p.a.machine.is_up(kPort));
    // Nor is anybody listened to before a connection.
    Node c("c.IPCP", true);
    c.machine.flow_accepted(p.now, kPort);
    CdapMessage m;
    m.op = OpCode::create;
    m.invoke_id = 2;
    m.obj_class = "dft_entries";
    m.obj_name = "/mgmt/dft/table";
    m.version = 1;
    c.machine.received(p.now, kPort, m);
    CHECK(c.log.empty());
    CHECK(c.machine.drops()[static_cast<std::size_t>(EnrollmentDrop::session)] == 1);
}

TEST_CASE("A question without an id gets no answer", "[enrollment]") {
    Pair p;
    p.join();
    const auto before = p.a.log;
    const std::size_t sent = p.a.sent.size();
    for (const OpCode op : {OpCode::connect, OpCode::start, OpCode::stop, OpCode::read}) {
        CdapMessage m;
        m.op = op;
        m.obj_class = std::string(rina::rib::kKeepalive.obj_class);
        m.obj_name = std::string(rina::rib::kKeepalive.obj_name);
        m.version = 1;
        p.a.machine.received(p.now, kPort, m);
    }
    CHECK(p.a.machine.drops()[static_cast<std::size_t>(EnrollmentDrop::out_of_place)] == 4);
    CHECK(p.a.sent.size() == sent);
    CHECK(p.a.log == before);
}

TEST_CASE("An id that comes twice within 15 s is a repetition", "[enrollment]") {
    Pair p;
    p.join();
    CdapMessage m;
    m.op = OpCode::create;
    m.invoke_id = 500;
    m.obj_class = "dft_entries";
    m.obj_name = "/mgmt/dft/table";
    m.version = 1;
    for (const int seconds : {0, 14, 2}) {
        p.now = p.now + Duration::seconds(seconds);
        p.a.machine.received(p.now, kPort, m);
    }
    CHECK(std::count(p.a.log.begin(), p.a.log.end(), "object dft_entries from b.IPCP") == 2);
}

// ---- what rlite nodes said to each other, with ours in the place of either ----

struct Recorded {
    bool from_a = false;
    Address source;
    rina::Bytes bytes;
    CdapMessage message;
};

// The management PDUs of an enrollment of b with a, up to M_START of operational_status.
std::vector<Recorded> recorded_enrollment() {
    std::ifstream in(SLUICE_TEST_DATA "/rlite/s1-01-arp-and-enrollment.pcap", std::ios::binary);
    const std::string text{std::istreambuf_iterator<char>(in), {}};
    REQUIRE(!text.empty());
    auto reader = pcap::Reader::open(std::as_bytes(std::span(text)), "trace");
    REQUIRE(reader);
    std::vector<Recorded> out;
    for (;;) {
        auto record = reader->next();
        REQUIRE(record);
        if (!*record) break;
        const auto frame = (*record)->data;
        if (frame.size() < 14 || frame[12] != std::byte{0xd1} || frame[13] != std::byte{0xf0})
            continue;
        rina::Pci pci;
        const auto pdu = frame.subspan(14);
        REQUIRE(rina::parse(pdu, pdu.size(), rina::kDefaultFormat, pci) == rina::PciError::none);
        const auto cdap = pdu.subspan(rina::kDefaultFormat.bytes(),
                                      pci.length - rina::kDefaultFormat.bytes());
        auto message = rina::decode_cdap(cdap);
        REQUIRE(message);
        // The last byte of the source's MAC address: 01 is a.
        out.push_back({frame[11] == std::byte{1}, pci.source, {cdap.begin(), cdap.end()},
                       std::move(*message)});
        if (out.back().message.obj_class == "operational_status") break;
    }
    REQUIRE(out.size() == 11);
    return out;
}

// Plays one side: the other's recorded messages are the input, its own must come out the same.
void replay(Node& node, bool as_a) {
    const Instant now{5};
    for (const Recorded& r : recorded_enrollment()) {
        INFO(rina::to_string(r.message.op) << " " << r.message.obj_class);
        if (r.from_a != as_a) {
            CHECK(node.wire.empty());
            node.machine.received(now, kPort, r.message);
            continue;
        }
        REQUIRE_FALSE(node.wire.empty());
        CHECK(node.wire.front().source == r.source);
        CHECK(rina::encode(node.wire.front().message) == r.bytes);
        node.wire.pop_front();
    }
    CHECK(node.wire.empty());
    CHECK(node.machine.is_up(kPort));
}

TEST_CASE("As rlite enrolls: our node as the enrollee", "[enrollment]") {
    Node b("b.IPCP", false);
    b.machine.flow_up(Instant{1}, kPort, "a.IPCP");
    replay(b, false);
    CHECK(b.own_address == Address{3});
    CHECK(b.log.front() == "object policy from a.IPCP");
}

TEST_CASE("As rlite enrolls: our node as the enroller", "[enrollment]") {
    Node a("a.IPCP", true);
    a.chosen = Address{3};
    a.told = {{"policy", "/mgmt/dft/policy", "fully-replicated"},
              {"policy", "/mgmt/routing/policy", "link-state"},
              {"policy", "/mgmt/addralloc/policy", "distributed"},
              {"nack-wait", "/mgmt/addralloc/params", "4000ms"}};
    a.machine.flow_accepted(Instant{1}, kPort);
    replay(a, true);
}

// Whatever a peer says, every adjacency ends up or away, and time does not stand still.
TEST_CASE("Any messages in any order", "[enrollment]") {
    for (std::uint64_t seed = 0; seed < 300; ++seed) {
        INFO("seed " << seed);
        Rng rng(seed);
        Pair p;
        p.a.chooses_at_once = rng.chance(0.5);
        p.a.machine.flow_accepted(p.now, kPort);
        p.b.machine.flow_up(p.now, kPort, rng.chance(0.5) ? "a.IPCP" : "e.DIF");
        std::vector<CdapMessage> old;
        for (int i = 0; i < 200; ++i) {
            p.now = p.now + Duration::milliseconds(static_cast<std::int64_t>(rng.below(800)));
            Node& from = rng.chance(0.5) ? p.a : p.b;
            Node& to = &from == &p.a ? p.b : p.a;
            if (!from.wire.empty()) {
                const CdapMessage m = from.wire.front().message;
                from.wire.pop_front();
                old.push_back(m);
                if (!rng.chance(0.2)) to.machine.received(p.now, kPort, m);
            }
            if (!old.empty() && rng.chance(0.1))
                to.machine.received(p.now, kPort, old[rng.below(old.size())]);
            if (rng.chance(0.02)) p.a.machine.address_chosen(p.now, kPort, Address{4});
            if (rng.chance(0.01)) p.b.machine.disconnect(p.now, kPort);
            if (p.b.machine.adjacencies().empty() && rng.chance(0.1)) {
                p.a.machine.flow_down(p.now, kPort);
                p.a.machine.flow_accepted(p.now, kPort);
                p.b.machine.flow_up(p.now, kPort, "a.IPCP");
            }
            p.a.machine.on_timeout(p.now);
            p.b.machine.on_timeout(p.now);
            REQUIRE(p.a.machine.next_deadline() > p.now);
            REQUIRE(p.b.machine.next_deadline() > p.now);
        }
        // The link heals, and both begin anew.
        p.a.chooses_at_once = true;
        p.a.wire.clear();
        p.b.wire.clear();
        p.a.machine.flow_down(p.now, kPort);
        p.b.machine.flow_down(p.now, kPort);
        p.join();
        p.pass(Duration::seconds(60));
        REQUIRE(p.a.machine.is_up(kPort));
        REQUIRE(p.b.machine.is_up(kPort));
    }
}

}  // namespace
}  // namespace sluice::mgmt
