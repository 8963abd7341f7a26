#include <catch2/catch.hpp>

#include "single.hpp"

using namespace sluice;
using namespace sluice::efcp;
using namespace sluice::efcp::test;

TEST_CASE("a run starts with the flag and counts from there", "[sender]") {
    Single s(EfcpPolicies::best_effort());
    CHECK(s.submit(3) == 3);
    REQUIRE(s.sent_seqs() == Seqs{0, 1, 2});
    CHECK(s.sent[0].drf);
    CHECK_FALSE(s.sent[1].drf);
    CHECK_FALSE(s.sent[0].kept);  // without retransmission the token is gone
    CHECK(s.last_sent.length == 128);
    CHECK(s.last_sent.source == kAddress[0]);
    CHECK(s.last_sent.destination == kAddress[1]);
    CHECK(s.last_sent.source_cep == kCep[0]);
    CHECK(s.last_sent.destination_cep == kCep[1]);
    CHECK(s.last_sent.type == kData);
    CHECK(s.c.holds_nothing());
}

TEST_CASE("the window's edge is inclusive; behind it PDUs wait, then are refused", "[sender]") {
    Single s(flow_control_only(4, Dialect::sluice));
    CHECK(s.submit(200) == 5 + 128);
    CHECK(s.sent_seqs() == range(0, 4));
    CHECK(s.submit(1) == 0);
    s.clear();
    s.credit(6);
    CHECK(s.sent_seqs() == Seqs{5, 6});
    s.credit(5);  // backwards: ignored
    CHECK(s.sent_seqs() == Seqs{5, 6});
    CHECK(s.c.sender().window_edge() == 6);
    CHECK((s.events & event::kWritable) == 0);
    s.credit(100);
    CHECK(s.sent_seqs() == range(5, 100));
    CHECK((s.events & event::kWritable) != 0);
    // In their order: the first came first.
    for (std::size_t i = 0; i < s.sent.size(); ++i) CHECK(s.sent[i].token == 1005 + i);
}

TEST_CASE("more may be sent than an outbox holds", "[sender]") {
    EfcpPolicies policies = flow_control_only(2, Dialect::sluice);
    policies.window->closed_queue_max = 1000;
    Single s(policies);
    CHECK(s.submit(900) == 900);
    s.credit(2000);
    CHECK(s.sent.size() == 3 + Outbox::kRoom);
    CHECK(s.c.next_deadline() <= s.now);
    s.pass(Duration{});
    CHECK(s.sent_seqs() == range(0, 899));
}

TEST_CASE("what is acknowledged is given back", "[sender]") {
    EfcpPolicies policies = with_sack(300);
    policies.window->closed_queue_max = 1000;
    Single s(policies);
    s.submit(300);
    s.pass(Duration{});
    CHECK(s.sent.size() == 300);
    CHECK(s.sent[0].kept);
    s.clear();
    s.ack(1, 400);
    CHECK(s.done == std::vector<std::uintptr_t>{1, 1000});  // the control PDU, and the SDU
    s.ack(300, 700);
    CHECK(s.c.sender().in_flight() == 300 - Outbox::kRoom);
    s.pass(Duration{});
    CHECK(s.done.size() == 302);
    CHECK(s.c.holds_nothing());
    CHECK(s.c.next_deadline() > s.now + Duration::seconds(20));  // nothing but inactivity
}

TEST_CASE("the timeout doubles, and the flow fails after the last retry", "[sender]") {
    EfcpPolicies policies = with_sack(8);
    policies.retransmission->initial_timeout = Duration::milliseconds(100);
    policies.retransmission->retries_max = 3;
    policies.retransmission->time_max = Duration::seconds(100);
    Single s(policies);
    s.submit(1);
    s.clear();
    s.pass(Duration::milliseconds(99));
    CHECK(s.sent.empty());
    s.pass(Duration::milliseconds(1));
    REQUIRE(s.sent_seqs() == Seqs{0});
    CHECK(s.sent[0].drf);  // between our own nodes the PDU is the same
    s.pass(Duration::milliseconds(199));
    CHECK(s.sent.size() == 1);
    s.pass(Duration::milliseconds(1));
    CHECK(s.sent.size() == 2);
    s.pass(Duration::milliseconds(400));
    CHECK(s.sent.size() == 3);
    CHECK(s.c.state() == Connection::State::open);
    s.pass(Duration::milliseconds(800));
    CHECK(s.sent.size() == 3);
    CHECK(s.c.state() == Connection::State::failed);
    CHECK(s.c.failure() == Connection::Failure::retries_exhausted);
    CHECK((s.events & event::kFailed) != 0);
    CHECK(s.dropped[DropReason::efcp_not_acked] == 1);
    CHECK(s.c.undelivered() == 1);
    CHECK(s.submit(1) == 0);
    CHECK(s.c.next_deadline().is_never());
}

TEST_CASE("the flow fails when nothing is acknowledged for too long", "[sender]") {
    EfcpPolicies policies = with_sack(8);
    policies.retransmission->time_max = Duration::seconds(3);
    Single s(policies);
    s.submit(2);
    s.pass(Duration::seconds(2));
    s.ack(1, 9);
    s.pass(Duration::milliseconds(2999));
    CHECK(s.c.state() == Connection::State::open);
    s.pass(Duration::milliseconds(1));
    CHECK(s.c.state() == Connection::State::failed);
    CHECK(s.c.failure() == Connection::Failure::time_exceeded);
    CHECK(s.c.undelivered() == 1);
}

TEST_CASE("selective acknowledgements find losses by what came later", "[sender]") {
    Single s(with_sack(64));
    s.submit(10);
    s.clear();
    s.ack(2, 70, {{3, 4}});
    CHECK(s.sent.empty());  // two later ones: it may only be late
    s.ack(2, 70, {{3, 5}});
    CHECK(s.sent_seqs() == Seqs{2});
    s.ack(2, 70, {{3, 5}});  // the same again says nothing new
    CHECK(s.sent_seqs() == Seqs{2});
    CHECK(s.c.sender().in_flight() == 5);  // 2, 6, 7, 8, 9
    s.clear();
    // The retransmission is lost too: what was sent after it arrives.
    s.now = s.now + Duration::milliseconds(50);
    s.submit(4);  // 10 to 13
    s.ack(2, 70, {{10, 12}});
    // The oldest first, as all others wait for it.
    CHECK(s.sent_seqs() == Seqs{10, 11, 12, 13, 2, 6, 7, 8, 9});
    s.clear();
    s.ack(14, 80);
    CHECK(s.c.holds_nothing());
    CHECK(s.c.sender().stats().timeouts == 0);
}

TEST_CASE("round trips are measured on PDUs that were sent once", "[sender]") {
    Single s(with_sack(64));
    s.submit(1);
    s.pass(Duration::milliseconds(30));
    s.ack(1, 65);
    CHECK(s.c.sender().rtt().smoothed() == Duration::milliseconds(30));
    s.submit(1);
    s.pass(Duration::milliseconds(200));  // sent again
    CHECK(s.c.sender().stats().retransmitted >= 1);
    s.ack(2, 66);
    CHECK(s.c.sender().rtt().smoothed() == Duration::milliseconds(30));
}

TEST_CASE("what waited behind a loss measures no round trip", "[sender]") {
    EfcpPolicies policies = EfcpPolicies::rlite_reliable();
    policies.congestion = Congestion::none;
    Single s(policies);
    s.submit(1);
    s.pass(Duration::milliseconds(30));
    s.ack(1, 513);
    s.submit(3);
    s.pass(Duration::milliseconds(500));
    REQUIRE(s.c.sender().stats().retransmitted >= 1);
    s.ack(4, 516);
    CHECK(s.c.sender().rtt().smoothed() == Duration::milliseconds(30));
}

TEST_CASE("acknowledged blocks are forgotten with their numbers", "[sender]") {
    Single s(with_sack(64));
    for (std::uint64_t at = 0; at < 4000; at += 8) {
        REQUIRE(s.submit(8) == 8);
        s.clear();
        s.ack(at, at + 64, {{at + 1, at + 7}});
        REQUIRE(s.sent_seqs() == Seqs{at});
        REQUIRE(s.c.sender().in_flight() == 1);
        s.ack(at + 8, at + 72);
        REQUIRE(s.c.holds_nothing());
    }
}

TEST_CASE("towards rlite the second PDU waits for the first", "[sender]") {
    EfcpPolicies policies = EfcpPolicies::rlite_reliable();
    policies.congestion = Congestion::none;
    Single s(policies);
    CHECK(s.submit(5) == 5);
    CHECK(s.sent_seqs() == Seqs{0});
    s.pass(Duration::seconds(1));
    REQUIRE(s.sent_seqs() == Seqs{0, 0});
    // With the flag its receiver would deliver it twice.
    CHECK(s.sent[0].drf);
    CHECK_FALSE(s.sent[1].drf);
    s.clear();
    s.ack(1, 513);
    CHECK(s.sent_seqs() == range(1, 4));
}

TEST_CASE("rlite's acknowledgements drive the sender, its LWE does not", "[sender]") {
    Single s(EfcpPolicies::rlite_reliable());
    s.submit(1);
    s.ack(1, 513);
    for (std::uint64_t at = 1; at < 300; at += 10) {
        CHECK(s.submit(10) == 10);
        rina::ControlPdu fields;
        fields.ack = at + 10;
        fields.new_rwe = 513 + at;
        fields.new_lwe = 1;  // stuck, as after losses
        s.control(kAckFc, fields);
    }
    CHECK(s.c.holds_nothing());
}

TEST_CASE("towards rlite a repeated acknowledgement is a loss", "[sender]") {
    EfcpPolicies policies = EfcpPolicies::rlite_reliable();
    policies.congestion = Congestion::none;
    Single s(policies);
    s.submit(1);
    s.pass(Duration::milliseconds(10));
    s.ack(1, 513);
    s.submit(100);
    s.clear();
    s.ack(11, 523);
    // The application read: the window moves, and that is all it says.
    s.ack(11, 524);
    s.ack(11, 525);
    CHECK(s.sent.empty());
    rina::ControlPdu same;
    same.ack = 11;
    same.new_rwe = 525;
    same.new_lwe = 11;
    s.control(kAckFc, same);
    CHECK(s.sent.empty());
    s.control(kAckFc, same);
    // And beyond 64 PDUs its receiver has dropped what came.
    CHECK(s.sent_seqs().front() == 11);
    for (const std::uint64_t seq : s.sent_seqs()) CHECK(seq <= 11 + 64);
    CHECK(s.sent.size() == 1);
    s.clear();
    s.submit(20);
    CHECK(s.sent.empty());  // little is kept outstanding while losses are near
    s.ack(12, 530);
    // 12 came later than 11 was lost: it is the next hole.
    CHECK(s.sent_seqs() == Seqs{12, 76});
    s.clear();
    s.ack(76, 600);
    CHECK(s.sent_seqs() == range(77, 120));
}

TEST_CASE("the rate is kept", "[sender]") {
    EfcpPolicies policies = EfcpPolicies::best_effort();
    policies.dtcp_present = true;
    policies.rate = RatePolicy{10, Duration::milliseconds(100)};
    policies.send_queue_max = 1000;
    Single s(policies);
    CHECK(s.submit(500) == 500);
    CHECK(s.sent.size() <= 2);
    s.pass(Duration::seconds(1));
    CHECK(s.sent.size() >= 99);
    CHECK(s.sent.size() <= 102);
    s.pass(Duration::seconds(4));
    CHECK(s.sent_seqs() == range(0, 499));
}

TEST_CASE("a closed window is asked about by rendezvous", "[sender]") {
    Single s(flow_control_only(3, Dialect::sluice));
    s.submit(10);
    CHECK(s.sent.size() == 4);
    s.pass(Duration::milliseconds(39));
    CHECK(s.controls.empty());
    s.pass(Duration::milliseconds(1));
    REQUIRE(s.controls.size() == 1);
    CHECK(s.controls[0].pci.type == kRendezvous);
    CHECK(s.controls[0].fields.my_lwe == 4);
    CHECK(s.controls[0].fields.my_rwe == 3);
    s.pass(Duration::milliseconds(79));
    CHECK(s.controls.size() == 1);
    s.pass(Duration::milliseconds(1));
    CHECK(s.controls.size() == 2);
    // A window that moves, if only by one, shows that nothing is stuck.
    s.pass(Duration::milliseconds(150));
    s.credit(4);
    CHECK(s.sent.size() == 5);
    s.pass(Duration::milliseconds(39));
    CHECK(s.controls.size() == 2);
    s.pass(Duration::milliseconds(1));
    CHECK(s.controls.size() == 3);
    s.credit(20);
    CHECK(s.sent.size() == 10);
    s.clear();
    s.pass(Duration::seconds(1));
    CHECK(s.controls.empty());
}

TEST_CASE("who is asked gives up PDUs that were lost and answers at once", "[receiver]") {
    Single s(flow_control_only(8, Dialect::sluice));
    s.data(0, kDrf);
    s.data({1, 2});
    s.consumed(3);
    s.pass(Duration::milliseconds(20));
    s.clear();
    rina::ControlPdu fields;
    fields.my_lwe = 9;  // 3 to 8 were lost
    s.control(kRendezvous, fields);
    REQUIRE(s.controls.size() == 1);
    CHECK(s.controls[0].pci.type == kFc);
    CHECK(s.controls[0].fields.new_lwe == 9);
    CHECK(s.controls[0].fields.new_rwe == 17);
    s.data(9);
    CHECK(s.delivered_seqs() == Seqs{9});
    // More than could have been sent is not believed.
    s.clear();
    fields.my_lwe = 1000;
    s.control(kRendezvous, fields);
    CHECK(s.controls[0].fields.new_lwe == 9);
}

TEST_CASE("rlite is asked by an old number where it retransmits", "[sender]") {
    EfcpPolicies policies = EfcpPolicies::rlite_reliable();
    policies.window->initial_credit = 1;
    Single s(policies);
    s.submit(5);
    s.ack(1, 1);
    s.ack(2, 1);
    CHECK(s.sent_seqs() == Seqs{0, 1});
    s.clear();
    s.pass(Duration::seconds(2));
    REQUIRE_FALSE(s.controls.empty());
    CHECK(s.controls[0].pci.type == kData);
    CHECK(s.controls[0].pci.sequence == 1);
    CHECK(s.controls[0].pci.length == 28);
    s.ack(2, 10);
    CHECK(s.sent_seqs() == Seqs{2, 3, 4});
}

TEST_CASE("rlite without retransmission starts anew after 3 delta-t", "[sender]") {
    Single s(flow_control_only(3, Dialect::rlite));
    s.submit(10);
    CHECK(s.sent.size() == 4);
    s.clear();
    s.pass(Duration::milliseconds(3059));
    CHECK(s.sent.empty());
    CHECK(s.controls.empty());
    s.pass(Duration::milliseconds(1));
    CHECK(s.sent_seqs() == Seqs{4, 5, 6, 7});
    CHECK(s.sent[0].drf);
    CHECK_FALSE(s.sent[1].drf);
}

TEST_CASE("an idle sender starts another run, and gives its memory back", "[sender]") {
    Single s(with_sack(100));
    s.submit(50);
    s.ack(50, 150);
    s.clear();
    s.pass(Duration::seconds(33));
    s.submit(1);
    CHECK_FALSE(s.sent[0].drf);
    s.ack(51, 151);
    s.pass(Duration::milliseconds(33061));
    s.clear();
    s.submit(2);
    REQUIRE(s.sent_seqs() == Seqs{51, 52});
    CHECK(s.sent[0].drf);
    CHECK_FALSE(s.sent[1].drf);
}

TEST_CASE("congestion control: a mark halves the window, once", "[sender]") {
    EfcpPolicies policies = EfcpPolicies::sluice_reliable(1000);
    policies.congestion = Congestion::aimd;
    policies.window->closed_queue_max = 1000;
    Single s(policies);
    CHECK(s.submit(500) == 500);
    CHECK(s.sent.size() == 10);
    s.pass(Duration::milliseconds(1));
    s.ack(10, 1000);
    CHECK(s.sent.size() == 30);  // slow start
    rina::ControlPdu fields;
    fields.ack = 12;
    fields.new_rwe = 1000;
    s.control(kSackFc, fields, {}, rina::pci_flag::kEcn);
    CHECK(s.c.sender().limits().window == 10);
    fields.ack = 14;
    s.control(kSackFc, fields, {}, rina::pci_flag::kEcn);
    CHECK(s.c.sender().limits().window == 10);
}

TEST_CASE("close waits for acknowledgements", "[connection]") {
    Single s(with_sack(100));
    s.submit(5);
    s.c.close(s.now, Duration::seconds(4), s.out);
    s.collect();
    CHECK(s.c.state() == Connection::State::closing);
    CHECK(s.submit(1) == 0);
    s.data(0, kDrf);  // the peer still has something to say
    CHECK(s.delivered.size() == 1);
    s.ack(5, 105);
    CHECK(s.c.state() == Connection::State::closed);
    CHECK((s.events & event::kDrained) != 0);
    CHECK(s.c.undelivered() == 0);
    s.data(1);
    CHECK(s.dropped[DropReason::no_flow] == 1);
}

TEST_CASE("close says how much was not delivered when time is over", "[connection]") {
    EfcpPolicies policies = with_sack(9);
    policies.window->closed_queue_max = 500;
    Single s(policies);
    CHECK(s.submit(300) == 300);
    s.ack(1, 9, {{3, 4}});
    s.c.close(s.now, Duration::seconds(4), s.out);
    s.pass(Duration::milliseconds(3999));
    CHECK(s.c.state() == Connection::State::closing);
    s.pass(Duration::milliseconds(1));
    CHECK(s.c.state() == Connection::State::closed);
    CHECK(s.c.undelivered() == 300 - 3);
    CHECK(s.dropped[DropReason::efcp_not_acked] == 297);
    CHECK(s.c.holds_nothing());
}

TEST_CASE("an unreliable flow is drained when all is sent", "[connection]") {
    Single s(flow_control_only(3, Dialect::sluice));
    s.submit(6);
    s.c.close(s.now, Duration::seconds(4), s.out);
    CHECK(s.c.state() == Connection::State::closing);
    s.credit(10);
    CHECK(s.c.state() == Connection::State::closed);
    CHECK(s.c.undelivered() == 0);
}
