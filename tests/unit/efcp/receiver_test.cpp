#include <catch2/catch.hpp>

#include "single.hpp"

using namespace sluice;
using namespace sluice::efcp;
using namespace sluice::efcp::test;

TEST_CASE("PDUs of somebody else are refused", "[receiver]") {
    Single s(EfcpPolicies::best_effort());
    RxItem other = s.item(kData, 0, kDrf);
    other.pci.source = rina::Address{99};
    s.put(other);
    other = s.item(kData, 0, kDrf);
    other.pci.source_cep = rina::CepId{99};
    s.put(other);
    other = s.item(kData, 0, kDrf);
    other.pci.destination_cep = rina::CepId{99};
    s.put(other);
    CHECK(s.dropped[DropReason::efcp_wrong_peer] == 3);
    CHECK(s.delivered.empty());
    s.data(0, kDrf);
    REQUIRE(s.delivered.size() == 1);
    CHECK(s.delivered[0].token == 4);
}

TEST_CASE("reliable: duplicates are dropped and acknowledged at once", "[receiver]") {
    Single s(EfcpPolicies::rlite_reliable());
    s.data(0, kDrf);
    s.data({1, 2});
    CHECK(s.controls.empty());  // the A-timer runs
    s.data(1);
    CHECK(s.delivered_seqs() == Seqs{0, 1, 2});
    CHECK(s.dropped[DropReason::efcp_duplicate] == 1);
    REQUIRE(s.controls.size() == 1);
    CHECK(s.controls[0].pci.type == kAckFc);
    CHECK(s.controls[0].fields.ack == 3);
    CHECK(s.controls[0].pci.length == 52);
}

TEST_CASE("reliable: an acknowledgement that waits is said before the end", "[receiver]") {
    Single s(EfcpPolicies::rlite_reliable());
    s.data(0, kDrf);
    s.data(1);
    CHECK(s.controls.empty());
    s.c.close(s.now, Duration::seconds(4), s.out);
    REQUIRE(s.out.control.size() == 1);
    CHECK(s.out.control[0].fields.ack == 2);
}

TEST_CASE("a run's flag with a number of the run is a duplicate", "[receiver]") {
    Single s(EfcpPolicies::rlite_reliable());
    s.data(0, kDrf);
    s.data({1, 2, 4});
    s.data(0, kDrf);
    CHECK(s.delivered_seqs() == Seqs{0, 1, 2});
    CHECK(s.dropped[DropReason::efcp_duplicate] == 1);
    s.data(3);
    CHECK(s.delivered_seqs() == Seqs{0, 1, 2, 3, 4});
    CHECK(s.c.receiver().stats().runs == 1);
}

TEST_CASE("a first PDU that was overtaken does not start anew", "[receiver]") {
    Single s(EfcpPolicies::rlite_reliable());
    s.data({1, 2});
    CHECK(s.delivered.empty());
    s.pass(Duration::milliseconds(50));
    s.data(0, kDrf);
    CHECK(s.delivered_seqs() == Seqs{0, 1, 2});
    s.pass(Duration::milliseconds(50));
    // Control PDUs go on counting, as rlite would drop those with numbers that it has seen.
    for (std::size_t i = 0; i < s.controls.size(); ++i)
        CHECK(s.controls[i].pci.sequence == i);
    CHECK(s.controls.back().fields.ack == 3);
}

TEST_CASE("a new run is accepted at any number", "[receiver]") {
    Single s(EfcpPolicies::rlite_reliable());
    s.data(0, kDrf);
    s.data({1, 2, 5});
    s.pass(Duration::milliseconds(30));
    CHECK(s.controls.size() == 1);
    s.clear();
    // The peer restarted: a number that is not of this run.
    s.data(1000, kDrf);
    s.data(1001);
    CHECK(s.delivered_seqs() == Seqs{1000, 1001});
    CHECK(s.dropped[DropReason::efcp_run_over] == 1);  // 5 had waited
    s.pass(Duration::milliseconds(30));
    REQUIRE(s.controls.size() == 1);
    CHECK(s.controls[0].fields.ack == 1002);
    CHECK(s.controls[0].pci.sequence == 0);  // counted anew
    CHECK(s.c.holds_nothing());
}

TEST_CASE("after 2 delta-t of silence the same numbers start another run", "[receiver]") {
    Single s(EfcpPolicies::rlite_reliable());
    s.data(0, kDrf);
    s.data({1, 3});
    s.pass(Duration::milliseconds(22041));
    CHECK(s.dropped[DropReason::efcp_run_over] == 1);
    s.clear();
    s.data(0, kDrf);
    s.data(1);
    CHECK(s.delivered_seqs() == Seqs{0, 1});
    CHECK(s.c.receiver().stats().runs == 2);
}

TEST_CASE("before 2 delta-t they do not", "[receiver]") {
    Single s(EfcpPolicies::rlite_reliable());
    s.data(0, kDrf);
    s.data(1);
    s.pass(Duration::milliseconds(22039));
    s.clear();
    s.data(0, kDrf);
    CHECK(s.delivered.empty());
    // And what was acknowledged is not given up: the run goes on where it was.
    s.pass(Duration::seconds(30));
    s.data(2);
    CHECK(s.delivered_seqs() == Seqs{2});
}

TEST_CASE("reliable and in order: what is early waits", "[receiver]") {
    Single s(with_sack(64));
    s.data(0, kDrf);
    s.data({3, 2, 5, 4});
    CHECK(s.delivered_seqs() == Seqs{0});
    s.data(1);
    CHECK(s.delivered_seqs() == Seqs{0, 1, 2, 3, 4, 5});
    CHECK(s.c.receiver().stats().reordered == 5);
    CHECK(s.c.holds_nothing());
}

TEST_CASE("reliable and unordered: delivered as they come, once", "[receiver]") {
    EfcpPolicies policies = with_sack(64);
    policies.in_order = false;
    Single s(policies);
    s.data(0, kDrf);
    s.data({3, 2, 3, 5, 1, 2, 4, 6});
    CHECK(s.delivered_seqs() == Seqs{0, 3, 2, 5, 1, 4, 6});
    CHECK(s.dropped[DropReason::efcp_duplicate] == 2);
    CHECK(s.controls.back().fields.ack >= 4);
    CHECK(s.c.holds_nothing());
}

TEST_CASE("selective acknowledgements tell what came above a gap", "[receiver]") {
    Single s(with_sack(64));
    s.data(0, kDrf);
    s.data({1, 2});
    s.clear();
    s.burst({4, 5, 6});
    REQUIRE(s.controls.size() == 1);  // a gap is told at once
    CHECK(s.controls[0].pci.type == kSackFc);
    CHECK(s.controls[0].fields.ack == 3);
    CHECK(s.controls[0].pci.length == 52 + 8);
    REQUIRE(s.controls[0].sack.size() == 1);
    CHECK(s.controls[0].sack[0] == SackBlock{4, 6});
    s.clear();
    s.burst({9});
    REQUIRE(s.controls.size() == 1);
    REQUIRE(s.controls[0].sack.size() == 2);
    CHECK(s.controls[0].sack[0] == SackBlock{9, 9});  // the newest first
    CHECK(s.controls[0].sack[1] == SackBlock{4, 6});
    s.clear();
    s.burst({3});
    REQUIRE(s.controls.size() == 1);
    CHECK(s.controls[0].fields.ack == 7);
    REQUIRE(s.controls[0].sack.size() == 1);
    CHECK(s.controls[0].sack[0] == SackBlock{9, 9});
    // What comes again was not known to be here.
    s.clear();
    s.data(9);
    REQUIRE(s.controls.size() == 1);
    CHECK(s.dropped[DropReason::efcp_duplicate] == 1);
    CHECK(s.controls[0].sack[0] == SackBlock{9, 9});
}

TEST_CASE("more gaps than a PDU can tell are told by several", "[receiver]") {
    Single s(with_sack(512));
    s.data(0, kDrf);
    s.clear();
    Seqs odd;
    for (std::uint64_t seq = 2; seq < 98; seq += 2) odd.push_back(seq);
    s.burst(odd);
    std::vector<bool> told(200);
    for (const ControlItem& item : s.controls) {
        CHECK(item.sack.size() <= kSackBlocksMax);
        for (const SackBlock& block : item.sack)
            for (std::uint64_t seq = block.first; seq <= block.last; ++seq) told[seq] = true;
    }
    for (const std::uint64_t seq : odd) CHECK(told[seq]);
    for (std::uint64_t seq = 1; seq < 98; seq += 2) CHECK_FALSE(told[seq]);
}

TEST_CASE("the window is policed, inclusive of its edge", "[receiver]") {
    Single s(with_sack(10));
    s.data(0, kDrf);
    s.data(10);  // first credit: 0 to 10
    CHECK(s.dropped.empty());
    s.data(11);
    CHECK(s.dropped[DropReason::efcp_beyond_window] == 1);
    for (std::uint64_t seq = 1; seq < 10; ++seq) s.data(seq);
    CHECK(s.delivered.size() == 11);
    // Nothing was read, so nothing more may come.
    s.data(11);
    CHECK(s.dropped[DropReason::efcp_beyond_window] == 2);
    s.consumed(5);
    CHECK(s.controls.back().fields.new_lwe == 5);
    CHECK(s.controls.back().fields.new_rwe == 15);
    s.data({11, 12, 13, 14, 15, 16});
    CHECK(s.delivered.size() == 16);
    CHECK(s.dropped[DropReason::efcp_beyond_window] == 3);
    // Reading more than was delivered is not believed.
    s.consumed(1000);
    CHECK(s.controls.back().fields.new_lwe == 16);
}

TEST_CASE("the A-timer puts acknowledgements off, half a credit does not wait", "[receiver]") {
    Single s(EfcpPolicies::rlite_flow_control(16));
    s.data(0, kDrf);
    CHECK(s.controls.empty());
    CHECK(s.c.next_deadline() == s.now + Duration::milliseconds(20));
    s.pass(Duration::milliseconds(19));
    CHECK(s.controls.empty());
    s.pass(Duration::milliseconds(1));
    REQUIRE(s.controls.size() == 1);
    CHECK(s.controls[0].pci.type == kFc);
    CHECK(s.controls[0].fields.ack == 1);
    CHECK(s.controls[0].fields.new_rwe == 16);
    s.clear();
    s.burst(range(1, 7));
    CHECK(s.controls.empty());
    s.data(8);
    REQUIRE(s.controls.size() == 1);
    CHECK(s.controls[0].fields.ack == 9);
    s.clear();
    s.consumed(7);
    CHECK(s.controls.empty());
    s.consumed(1);
    REQUIRE(s.controls.size() == 1);
    CHECK(s.controls[0].fields.new_lwe == 8);
    CHECK(s.controls[0].fields.new_rwe == 24);
    s.clear();
    // A read alone starts the timer.
    s.consumed(1);
    CHECK(s.controls.empty());
    s.pass(Duration::milliseconds(20));
    REQUIRE(s.controls.size() == 1);
    CHECK(s.controls[0].fields.new_lwe == 9);
    s.clear();
    s.pass(Duration::milliseconds(200));
    CHECK(s.controls.empty());
}

TEST_CASE("without an A-timer everything is acknowledged at once", "[receiver]") {
    EfcpPolicies policies = EfcpPolicies::rlite_reliable();
    policies.a_timer = Duration{};
    Single s(policies);
    s.data(0, kDrf);
    s.data({1, 2});
    CHECK(s.controls.size() == 3);
}

TEST_CASE("unreliable, in order: gaps that can be borne are skipped", "[receiver]") {
    EfcpPolicies policies = EfcpPolicies::best_effort();
    policies.in_order = true;
    policies.max_sdu_gap = 2;
    Single s(policies);
    s.data(0, kDrf);
    s.data(3);
    CHECK(s.delivered_seqs() == Seqs{0, 3});
    CHECK((s.events & event::kGapExceeded) == 0);
    s.data(2);  // late
    CHECK(s.dropped[DropReason::efcp_late] == 1);
    s.data(3);
    CHECK(s.dropped[DropReason::efcp_duplicate] == 1);
    // A longer one is told, and the flow goes on.
    s.data(7);
    CHECK(s.delivered_seqs() == Seqs{0, 3, 7});
    CHECK((s.events & event::kGapExceeded) != 0);
    s.data(8);
    CHECK(s.delivered_seqs() == Seqs{0, 3, 7, 8});
}

TEST_CASE("unreliable, in order, with an A-timer: longer gaps are waited for", "[receiver]") {
    EfcpPolicies policies = flow_control_only(64, Dialect::sluice);
    policies.max_sdu_gap = 0;
    Single s(policies);
    s.data(0, kDrf);
    s.data({2, 3});
    CHECK(s.delivered_seqs() == Seqs{0});
    s.data(1);
    CHECK(s.delivered_seqs() == Seqs{0, 1, 2, 3});
    s.data({6, 8});
    s.pass(Duration::milliseconds(19));
    CHECK(s.delivered_seqs() == Seqs{0, 1, 2, 3});
    s.data(5);
    s.pass(Duration::milliseconds(2));
    CHECK(s.delivered_seqs() == Seqs{0, 1, 2, 3, 5, 6, 8});
    CHECK(s.c.receiver().stats().gaps_exceeded == 2);
    s.data(9);
    CHECK(s.delivered.back().seq == 9);
    CHECK(s.c.holds_nothing());
}

TEST_CASE("unreliable and unordered: late ones are delivered, duplicates are not", "[receiver]") {
    Single s(EfcpPolicies::best_effort());
    s.data(0, kDrf);
    s.data({5, 3, 5, 3, 1, 80, 16, 17, 17, 80});
    CHECK(s.delivered_seqs() == Seqs{0, 5, 3, 1, 80, 17});
    CHECK(s.dropped[DropReason::efcp_duplicate] == 4);
    CHECK(s.dropped[DropReason::efcp_late] == 1);  // 16 is too old to be told from a duplicate
}

TEST_CASE("unreliable, with a window: a late one has no place that was granted again",
          "[receiver]") {
    EfcpPolicies policies = EfcpPolicies::rlite_flow_control(10);
    policies.in_order = false;
    Single s(policies);
    s.data(0, kDrf);
    for (std::uint64_t seq = 3; seq <= 10; ++seq) s.data(seq);
    REQUIRE(s.controls.back().fields.new_rwe == 12);  // for 1 and 2, which are taken for lost
    s.data(1);
    CHECK(s.dropped[DropReason::efcp_late] == 1);
    s.data(11);
    CHECK(s.c.receiver().backlog() == 10);
    s.data(12);
    CHECK(s.c.receiver().backlog() == 11);
    // Where there is room that was granted to nobody, it is welcome.
    s.consumed(11);
    s.data(14);
    s.data(13);
    CHECK(s.delivered.back().seq == 13);
}

TEST_CASE("a new run finds no more room than the user has left", "[receiver]") {
    EfcpPolicies policies = EfcpPolicies::rlite_flow_control(10);
    Single s(policies);
    s.data(0, kDrf);
    for (std::uint64_t seq = 1; seq < 8; ++seq) s.data(seq);
    s.data(1000, kDrf);  // the peer begins anew
    for (std::uint64_t seq = 1001; seq <= 1010; ++seq) s.data(seq);
    CHECK(s.c.receiver().backlog() == 11);
    CHECK(s.dropped[DropReason::efcp_beyond_window] == 8);
    s.consumed(11);
    s.data(1011);
    CHECK(s.c.receiver().backlog() == 1);
}

TEST_CASE("unreliable and unordered: a long gap leaves no history behind", "[receiver]") {
    Single s(EfcpPolicies::best_effort());
    s.data(0, kDrf);
    s.data({65, 64, 64});
    CHECK(s.delivered_seqs() == Seqs{0, 65, 64});
}

TEST_CASE("unreliable: a lost first PDU does not hold up the others", "[receiver]") {
    Single s(EfcpPolicies::best_effort());
    s.data({7, 8});
    CHECK(s.delivered_seqs() == Seqs{7, 8});
}

TEST_CASE("a full outbox takes no more PDUs, and nothing is lost", "[receiver]") {
    Single s(with_sack(1000));
    s.data(0, kDrf);
    Seqs held = range(2, 301);
    for (std::size_t at = 0; at < held.size(); at += 50)
        s.burst(Seqs(held.begin() + static_cast<long>(at),
                     held.begin() + static_cast<long>(at) + 50));
    s.clear();
    RxItem gap = s.item(kData, 1, 0);
    CHECK(s.c.on_burst(s.now, {&gap, 1}, s.out) == 1);
    CHECK(s.out.deliver.full());
    RxItem next = s.item(kData, 302, 0);
    CHECK(s.c.on_burst(s.now, {&next, 1}, s.out) == 0);  // taken after the outbox was emptied
    CHECK(s.c.next_deadline() <= s.now);
    s.collect();
    CHECK(s.c.on_burst(s.now, {&next, 1}, s.out) == 1);
    s.collect();
    s.pass(Duration::milliseconds(1));
    CHECK(s.delivered_seqs() == range(1, 302));
}

TEST_CASE("congestion that the network marked is echoed once", "[receiver]") {
    Single s(with_sack(64));
    s.data(0, kDrf | rina::pci_flag::kEcn);
    s.pass(Duration::milliseconds(20));
    REQUIRE(s.controls.size() == 1);
    CHECK((s.controls[0].pci.flags & rina::pci_flag::kEcn) != 0);
    s.data(1);
    s.pass(Duration::milliseconds(20));
    REQUIRE(s.controls.size() == 2);
    CHECK((s.controls[1].pci.flags & rina::pci_flag::kEcn) == 0);
    EfcpPolicies deaf = with_sack(64);
    deaf.ecn = false;
    Single t(deaf);
    t.data(0, kDrf | rina::pci_flag::kEcn);
    t.pass(Duration::milliseconds(20));
    CHECK((t.controls[0].pci.flags & rina::pci_flag::kEcn) == 0);
}

TEST_CASE("control PDUs that make no sense are dropped", "[receiver]") {
    Single s(with_sack(64));
    s.submit(3);
    s.clear();
    RxItem shorter = s.item(kAckFc, 0, 0);
    const std::array<std::byte, 51> bytes{};
    shorter.bytes = bytes;
    s.put(shorter);
    s.ack(4, 70);  // more than was sent
    rina::ControlPdu fields;
    fields.ack = 1;
    s.control(0xc5, fields);  // NACK
    s.control(0xc0, fields);
    CHECK(s.dropped[DropReason::efcp_bad_control] == 4);
    CHECK(s.c.sender().unacked() == 0);
    // A block and a half.
    ControlItem item;
    item.pci = s.item(kSackFc, 9, 0).pci;
    item.pci.length = 52 + 8;
    item.fields = fields;
    item.sack.clear();
    item.sack.add({2, 2});
    std::vector<std::byte> built(60);
    write(item, s.format, built.data());
    RxItem odd = s.item(kSackFc, 9, 0);
    odd.bytes = std::span(built).first(56);
    s.put(odd);
    CHECK(s.dropped[DropReason::efcp_bad_control] == 5);
    // Without DTCP there is nothing to control.
    Single plain(EfcpPolicies::best_effort());
    plain.control(kAckFc, fields);
    CHECK(plain.dropped[DropReason::efcp_bad_control] == 1);
    // rlite does not speak of rendezvous.
    Single rlite(EfcpPolicies::rlite_reliable());
    rlite.control(kRendezvous, {});
    rlite.control(kSackFc, {});
    CHECK(rlite.dropped[DropReason::efcp_bad_control] == 2);
}

TEST_CASE("an idle flow costs less than a KiB", "[connection]") {
    CHECK(sizeof(Connection) <= 1024);
}
