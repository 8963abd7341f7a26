#include <catch2/catch.hpp>

#include "base/check.hpp"
#include "node.hpp"

using namespace sluice;
using namespace sluice::mgmt;
using namespace sluice::test;

TEST_CASE("a flow between two of our nodes, from request to end") {
    Two two;
    auto& [dif, a, b, now] = two;
    const PortId at_a = *a.allocator.allocate(now, kClient, kServer, reliable_spec(), 7, a.out);
    // Bound before the message leaves that lets the peer use it.
    CHECK(a.place<Bind>() < a.place<SendFlowMessage>());
    CHECK_FALSE(a.one<Bind>().peer_cep);
    CHECK(a.one<SendFlowMessage>().to == Two::kB);
    two.exchange();
    const FlowRequested requested = b.one<FlowRequested>();
    CHECK(requested.local == kServer);
    CHECK(requested.remote == kClient);
    CHECK(requested.spec.reliable());
    CHECK(b.all<Bind>().empty());
    REQUIRE(b.allocator.accept(now, requested.port, 8, b.out));
    CHECK(b.place<Bind>() < b.place<SendFlowMessage>());
    two.exchange();
    const Bind bound = b.one<Bind>();
    const SetPeer set = a.one<SetPeer>();
    CHECK(bound.peer_cep == set.cep);
    CHECK(set.peer_cep == bound.cep);
    // Both ends do the same.
    CHECK(set.terms == bound.terms);
    CHECK(set.qos == bound.qos);
    CHECK(set.terms.policies.dialect == efcp::Dialect::sluice);
    CHECK(set.terms.policies.sack);
    CHECK(set.terms.policies.window->initial_credit == 4096);
    CHECK(a.one<FlowAllocated>().cookie == 7);
    CHECK(b.one<FlowAllocated>().cookie == 8);
    a.clear();
    b.clear();

    REQUIRE(a.allocator.deallocate(now, at_a, a.out));
    CHECK(a.one<Drain>().port == at_a);
    CHECK(a.out.actions.size() == 1);
    CHECK(a.allocator.deallocate(now, at_a, a.out).error().code == ENOENT);
    a.clear();
    two.run_to(now + Duration::milliseconds(3999));
    CHECK(a.out.empty());
    two.run_to(now + Duration::milliseconds(1));
    CHECK(a.one<Unbind>().port == at_a);
    CHECK(b.one<Shut>().port == requested.port);
    CHECK(b.one<FlowDeallocated>().reason == rina::Reason::closed_by_peer);
    CHECK(a.ports.in_use() == 0);
    CHECK(a.ceps.in_use() == 0);
    b.clear();
    REQUIRE(b.allocator.deallocate(now, requested.port, b.out));
    CHECK(b.one<Unbind>().port == requested.port);
    CHECK(b.all<SendFlowMessage>().empty());
    CHECK(two.nothing_is_left());
    CHECK(a.allocator.next_deadline().is_never());
}

TEST_CASE("an application that refuses, and one that does not answer") {
    Two two;
    auto& [dif, a, b, now] = two;
    REQUIRE(a.allocator.allocate(now, kClient, kServer, {}, 7, a.out));
    two.exchange();
    REQUIRE(b.allocator.refuse(now, b.one<FlowRequested>().port, b.out));
    CHECK(b.sent().result == -1);
    CHECK(request_in(b.sent()).connections.size() == 1);
    two.exchange();
    CHECK(a.one<FlowFailed>().reason == rina::Reason::refused);
    CHECK(a.one<FlowFailed>().cookie == 7);
    CHECK(a.place<Unbind>() < a.place<FlowFailed>());
    CHECK(two.nothing_is_left());
    a.clear();
    b.clear();

    REQUIRE(a.allocator.allocate(now, kClient, kServer, {}, 9, a.out));
    two.exchange();
    const PortId port = b.one<FlowRequested>().port;
    two.run_to(now + Duration::milliseconds(4000));
    CHECK(b.one<FlowFailed>().reason == rina::Reason::timed_out);
    // The refusal came before the initiator's own patience ended.
    CHECK(a.one<FlowFailed>().reason == rina::Reason::refused);
    CHECK(b.allocator.accept(now, port, 1, b.out).error().code == ENOENT);
    CHECK(two.nothing_is_left());
}

TEST_CASE("an allocation without an answer ends, and says so to whom it asked") {
    Two two;
    auto& [dif, a, b, now] = two;
    const PortId port = *a.allocator.allocate(now, kClient, kServer, {}, 7, a.out);
    const CdapMessage asked = a.sent();
    a.clear();
    CHECK(a.allocator.next_deadline() == now + Duration::seconds(5));
    a.allocator.on_timeout(now + Duration::milliseconds(4999), a.out);
    CHECK(a.out.empty());
    a.allocator.on_timeout(now + Duration::seconds(5), a.out);
    CHECK(a.one<FlowFailed>().reason == rina::Reason::timed_out);
    CHECK(a.one<FlowFailed>().port == port);
    CHECK(a.place<Unbind>() < a.place<SendFlowMessage>());
    CHECK(a.sent().op == OpCode::remove);
    CHECK(a.sent().obj_name == "/mgmt/flowalloc/flows/4294967295");
    CHECK(rina::check(a.sent()));
    // The M_DELETE overtakes the M_CREATE, which finds that it was taken back.
    now = now + Duration::seconds(5);
    two.exchange();
    b.allocator.on_message(now, Two::kA, asked, b.out);
    CHECK(b.all<FlowRequested>().empty());
    CHECK(b.sent().result == -1);
    CHECK(two.nothing_is_left());
}

TEST_CASE("whoever gives up early takes the request back") {
    Two two;
    auto& [dif, a, b, now] = two;
    const PortId port = *a.allocator.allocate(now, kClient, kServer, {}, 7, a.out);
    two.exchange();
    CHECK(b.allocator.flows() == 1);
    a.clear();
    REQUIRE(a.allocator.deallocate(now, port, a.out));
    CHECK(a.all<FlowFailed>().empty());
    two.exchange();
    CHECK(b.one<FlowFailed>().reason == rina::Reason::closed_by_peer);
    CHECK(two.nothing_is_left());
}

namespace {
// A flow between the two of them, with nothing in their outboxes.
struct Allocated : Two {
    Allocated() {
        SLUICE_CHECK(a.allocator.allocate(now, kClient, kServer, {}, 7, a.out));
        exchange();
        SLUICE_CHECK(b.allocator.accept(now, b.one<FlowRequested>().port, 8, b.out));
        exchange();
        a.clear();
        b.clear();
    }
};
}  // namespace

TEST_CASE("a deletion that does not say of what hits no flow between two of ours") {
    Allocated two;
    auto& [dif, a, b, now] = static_cast<Two&>(two);
    PortId port{};
    b.allocator.for_each([&](const FlowInfo& f) { port = f.port; });
    b.allocator.on_delete(now, Two::kA, port.value, nullptr, 77, b.out);
    CHECK(b.out.empty());
    CHECK(b.allocator.stats().count(FlowIgnored::stale) == 1);
    CHECK(b.allocator.find(port)->state == FlowState::allocated);
}

TEST_CASE("a member that has begun anew is asked whether it has the flow") {
    Allocated two;
    auto& [dif, a, b, now] = static_cast<Two&>(two);
    a.allocator.on_member_moved(now, "c.IPCP", Two::kB, true, a.out);
    a.allocator.on_member_moved(now, "b.IPCP", Two::kB, false, a.out);
    CHECK(a.out.empty());
    // The news was late, or a lie.
    a.allocator.on_member_moved(now, "b.IPCP", Two::kB, true, a.out);
    CHECK(a.sent().op == OpCode::read);
    CHECK(rina::check(a.sent()));
    two.exchange();
    CHECK(a.out.empty());
    CHECK(a.allocator.unanswered() == 0);
    CHECK(a.allocator.flows() == 1);
    // Somebody else's answer is none.
    a.allocator.on_member_moved(now, "b.IPCP", Two::kB, true, a.out);
    const std::int32_t id = a.sent().invoke_id;
    a.clear();
    a.allocator.on_read_r(now, Address{9}, id, -1, a.out);
    CHECK(a.out.empty());
    a.allocator.on_read_r(now, Two::kB, id, -1, a.out);
    CHECK(a.one<Shut>().port == a.one<FlowDeallocated>().port);
    CHECK(a.one<FlowDeallocated>().reason == rina::Reason::peer_restarted);
    CHECK(a.allocator.unanswered() == 0);
}

TEST_CASE("a member that has begun anew and does not answer has no flow") {
    Allocated two;
    auto& [dif, a, b, now] = static_cast<Two&>(two);
    a.allocator.on_member_moved(now, "b.IPCP", Address{12}, false, a.out);
    // Where the flow was made, not where the member is said to be.
    CHECK(a.one<SendFlowMessage>().to == Two::kB);
    for (const int seconds : {1, 3, 7}) {
        a.clear();
        a.allocator.on_timeout(now + Duration::seconds(seconds), a.out);
        CHECK(a.sent().op == OpCode::read);
    }
    a.clear();
    a.allocator.on_timeout(now + Duration::milliseconds(14'999), a.out);
    CHECK(a.out.empty());
    a.allocator.on_timeout(now + Duration::seconds(15), a.out);
    CHECK(a.one<FlowDeallocated>().reason == rina::Reason::peer_restarted);
    CHECK(a.allocator.stats().deletes_abandoned == 0);
    CHECK(a.allocator.stats().deletes_repeated == 0);
    // There may have been no way to it: so that the other end does not stay alone.
    CHECK(a.sent().op == OpCode::remove);
    two.pass(a, b, Two::kA);
    CHECK(b.one<FlowDeallocated>().reason == rina::Reason::closed_by_peer);
}

TEST_CASE("a flow's end is told where the member is said to be, and where it was") {
    Allocated two;
    auto& [dif, a, b, now] = static_cast<Two&>(two);
    dif.addresses["b.IPCP"] = Address{12};
    a.allocator.on_member_moved(now, "b.IPCP", Address{12}, false, a.out);
    for (const int seconds : {1, 3, 7})
        a.allocator.on_timeout(now + Duration::seconds(seconds), a.out);
    a.clear();
    a.allocator.on_timeout(now + Duration::seconds(15), a.out);
    std::vector<Address> told;
    for (const SendFlowMessage& m : a.all<SendFlowMessage>()) {
        CHECK(m.message.op == OpCode::remove);
        told.push_back(m.to);
    }
    CHECK(told == std::vector{Address{12}, Two::kB});
    CHECK(a.allocator.unanswered() == 2);
}

TEST_CASE("a member that has moved while it was asked has the flow where it is now") {
    Two two;
    auto& [dif, a, b, now] = two;
    const auto port = a.allocator.allocate(now, kClient, kServer, {}, 7, a.out);
    REQUIRE(port);
    two.pass(a, b, Two::kA);
    REQUIRE(b.allocator.accept(now, b.one<FlowRequested>().port, 8, b.out));
    const CdapMessage answer = b.sent();
    a.clear();
    dif.addresses["b.IPCP"] = Address{12};
    a.allocator.on_message(now, Address{12}, answer, a.out);
    CHECK(a.one<SetPeer>().peer == Address{12});
    CHECK(a.all<FlowAllocated>().size() == 1);
    CHECK(a.allocator.find(*port)->peer == Address{12});
    CHECK(a.allocator.members() == 1);
    a.clear();
    REQUIRE(a.allocator.deallocate(now, *port, a.out));
    a.allocator.on_timeout(now + Duration::seconds(5), a.out);
    CHECK(a.one<SendFlowMessage>().to == Address{12});
}

TEST_CASE("who is asked before it has its answer has the flow") {
    Two two;
    auto& [dif, a, b, now] = two;
    REQUIRE(a.allocator.allocate(now, kClient, kServer, {}, 7, a.out));
    two.pass(a, b, Two::kA);
    REQUIRE(b.allocator.accept(now, b.one<FlowRequested>().port, 8, b.out));
    const CdapMessage answer = b.sent();
    b.clear();
    b.allocator.on_member_moved(now, "a.IPCP", Two::kA, true, b.out);
    two.exchange();
    CHECK(b.out.empty());
    CHECK(b.allocator.unanswered() == 0);
    a.allocator.on_message(now, Two::kB, answer, a.out);
    CHECK(a.all<FlowAllocated>().size() == 1);
}

TEST_CASE("whether a flow is there, as somebody else asks") {
    Allocated two;
    auto& [dif, a, b, now] = static_cast<Two&>(two);
    a.allocator.on_member_moved(now, "b.IPCP", Two::kB, true, a.out);
    const CdapMessage question = a.sent();
    b.allocator.on_message(now, Address{9}, question, b.out);
    CHECK(b.sent().result == -1);
    b.clear();
    b.allocator.on_message(now, Two::kA, question, b.out);
    CHECK(b.sent().result == 0);
    CHECK(b.sent().op == OpCode::read_r);
    CHECK(rina::check(b.sent()));
    b.clear();
    CdapMessage bare = question;
    bare.value = {};
    b.allocator.on_message(now, Two::kA, bare, b.out);
    CHECK(b.out.empty());
    // While it closes it is there still: what is under way may arrive.
    PortId port{};
    b.allocator.for_each([&](const FlowInfo& f) { port = f.port; });
    REQUIRE(b.allocator.deallocate(now, port, b.out));
    b.clear();
    b.allocator.on_message(now, Two::kA, question, b.out);
    CHECK(b.sent().result == 0);
    b.allocator.on_timeout(now + Duration::seconds(4), b.out);
    b.clear();
    b.allocator.on_message(now, Two::kA, question, b.out);
    CHECK(b.sent().result == -1);
}

TEST_CASE("what cannot begin leaves nothing behind") {
    NodeOptions options;
    options.config.flows_max = 2;
    options.config.refuse_without_cube = true;
    options.admission = *make_admission("user", std::vector<policy::Param>{{"bandwidth", "1M"}});
    Two two(options);
    auto& [dif, a, b, now] = two;
    const auto code = [&, &a = a, &now = now](const AppName& remote, FlowSpec spec) {
        const auto made = a.allocator.allocate(now, kClient, remote, spec, 0, a.out);
        return made ? 0 : made.error().code;
    };
    FlowSpec spec;
    CHECK(code({"nobody", "", "", ""}, spec) == ENOENT);
    dif.applications["lost"] = {"c.IPCP"};
    CHECK(code({"lost", "", "", ""}, spec) == EHOSTUNREACH);
    spec.max_loss = 20000;
    CHECK(code(kServer, spec) == EINVAL);
    spec = {};
    spec.delay_us = 5;
    CHECK(code(kServer, spec) == ENOTSUP);
    spec = {};
    spec.avg_bandwidth_bps = 1'000'001;
    CHECK(code(kServer, spec) == EAGAIN);
    CHECK(a.out.empty());
    CHECK(two.nothing_is_left());
    CHECK(code(kServer, {}) == 0);
    CHECK(code(kServer, {}) == 0);
    CHECK(code(kServer, {}) == EAGAIN);
}

TEST_CASE("without ids there is no flow, and no admission is kept") {
    NodeOptions options;
    options.ids = 1;
    options.admission = *make_admission("user", std::vector<policy::Param>{{"flows", "1"}});
    Two two(options);
    auto& [dif, a, b, now] = two;
    REQUIRE(a.ceps.acquire(now) == 0u);
    CHECK_FALSE(a.allocator.allocate(now, kClient, kServer, {}, 0, a.out));
    CHECK(a.ports.in_use() == 0);
    a.ceps.release(now, 0);
    now = now + Duration::seconds(10);
    CHECK(a.allocator.allocate(now, kClient, kServer, {}, 0, a.out));
}

TEST_CASE("a cube is chosen, agreed on, and known to both ends") {
    NodeOptions options;
    std::vector<QosCube> cubes(2);
    cubes[0].name = "bulk";
    cubes[1].name = "voice";
    cubes[1].id = QosId{4};
    cubes[1].delay_us = 1000;
    options.cubes = *QosCubes::make(cubes, rina::kDefaultFormat);
    FlowSpec spec;
    spec.delay_us = 1000;
    {
        Two two(options, options);
        auto [at_a, at_b] = two.flow(spec);
        CHECK(two.a.allocator.find(at_a)->qos == QosId{4});
        CHECK(two.b.allocator.find(at_b)->qos == QosId{4});
        CHECK(two.b.allocator.find(at_b)->cube == QosId{4});
    }
    // A member that does not know the cube marks nothing, and neither do we then.
    Two two(options);
    auto [at_a, at_b] = two.flow(spec);
    CHECK(two.a.allocator.find(at_a)->qos == QosId{0});
    CHECK(two.a.allocator.find(at_a)->cube == QosId{4});
    CHECK(two.b.allocator.find(at_b)->qos == QosId{0});
}

TEST_CASE("a flow to ourselves") {
    Two two;
    auto& [dif, a, b, now] = two;
    dif.applications["server"] = {"a.IPCP"};
    const PortId port = *a.allocator.allocate(now, kClient, kServer, reliable_spec(), 7, a.out);
    two.pass(a, a, Two::kA);
    const PortId other = a.one<FlowRequested>().port;
    CHECK(other != port);
    REQUIRE(a.allocator.accept(now, other, 8, a.out));
    two.pass(a, a, Two::kA);
    CHECK(a.all<FlowAllocated>().size() == 2);
    a.clear();
    REQUIRE(a.allocator.deallocate(now, port, a.out));
    now = now + Duration::seconds(4);
    a.allocator.on_timeout(now, a.out);
    while (two.pass(a, a, Two::kA)) {
    }
    CHECK(a.one<Shut>().port == other);
    REQUIRE(a.allocator.deallocate(now, other, a.out));
    CHECK(two.nothing_is_left());
}

TEST_CASE("an allocator that is destroyed gives its ids back") {
    IdPool ports(10, Duration{}), ceps(10, Duration{});
    Dif dif{{{"a.IPCP", Address{1}}, {"b.IPCP", Address{2}}}, {{"server", {"b.IPCP"}}}};
    Directory directory(dif, "a.IPCP");
    {
        FlowAllocator allocator(Node::named({}, "a.IPCP"), {}, {}, ports, ceps, directory, Rng(1));
        FlowOutbox out;
        REQUIRE(allocator.allocate(at_ms(0), kClient, kServer, {}, 0, out));
        CHECK(ports.in_use() == 1);
    }
    CHECK(ports.in_use() + ceps.in_use() == 0);
}
