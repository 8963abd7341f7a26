#include <catch2/catch.hpp>

#include "node.hpp"

using namespace sluice;
using namespace sluice::mgmt;
using namespace sluice::test;

namespace {

// As rlite writes it.
FlowRequest from_a(std::uint64_t port = 5, std::uint32_t cep = 6) {
    FlowRequest request;
    request.source_application = kClient;
    request.destination_application = kServer;
    request.source_port = port;
    request.source_ipcp = "a.IPCP";
    request.destination_ipcp = "b.IPCP";
    request.connections.push_back({QosId{}, CepId{cep}, CepId{}});
    request.state = 1;
    request.create_retries_max = 3;
    put(terms_for({}, {}), request);
    return request;
}

CdapMessage message(OpCode op, std::int32_t id, std::string name = "/mgmt/flowalloc/flows") {
    CdapMessage made;
    made.op = op;
    made.invoke_id = id;
    made.obj_class = "flow";
    made.obj_name = std::move(name);
    return made;
}

struct Responder {
    explicit Responder(NodeOptions options = {}) : two({}, options) {}
    Two two;
    Node& b = two.b;

    void create(const FlowRequest& request, std::int32_t id = 3, Address from = Two::kA) {
        b.allocator.on_create(two.now, from, request, id, b.out);
    }
    PortId accepted(const FlowRequest& request, std::int32_t id = 3) {
        create(request, id);
        const PortId port = b.one<FlowRequested>().port;
        if (!b.allocator.accept(two.now, port, 0, b.out)) throw std::runtime_error("accept");
        return port;
    }
    // Whether it was refused, as rlite can bear it.
    bool refused(FlowIgnored why) {
        const CdapMessage answer = b.sent();
        const bool good = answer.op == OpCode::create_r && answer.result == -1 &&
                          !request_in(answer).connections.empty() &&
                          answer.reason == to_string(why) && rina::check(answer) &&
                          b.all<FlowRequested>().empty() && b.allocator.flows() == 0 &&
                          b.allocator.stats().count(why) != 0;
        b.clear();
        return good;
    }
};

}  // namespace

TEST_CASE("requests that make no sense are refused") {
    Responder r;
    const auto refused = [&](FlowIgnored why, auto&& change) {
        FlowRequest request = from_a();
        change(request);
        r.create(request);
        return r.refused(why);
    };
    using enum FlowIgnored;
    CHECK(refused(bad_request, [](auto& q) { q.connections.clear(); }));
    CHECK(refused(bad_request, [](auto& q) { q.connections.resize(9); }));
    CHECK(refused(bad_request, [](auto& q) { q.current_connection = 1; }));
    CHECK(refused(bad_request, [](auto& q) { q.connections[0].source_cep = CepId{65536}; }));
    CHECK(refused(bad_request, [](auto& q) { q.source_port = 0xffffffff; }));
    CHECK(refused(bad_request, [](auto& q) { q.source_application.process.clear(); }));
    CHECK(refused(bad_request, [](auto& q) {
        q.destination_application.instance = std::string(250, 'x');
    }));
    CHECK(refused(wrong_source, [](auto& q) { q.source_ipcp = "b.IPCP"; }));
    CHECK(refused(wrong_source, [](auto& q) { q.source_ipcp = "unknown"; }));
    CHECK(refused(misdirected, [](auto& q) { q.destination_ipcp = "c.IPCP"; }));
    CHECK(refused(no_application, [](auto& q) { q.destination_application.process = "gone"; }));
    CHECK(refused(unacceptable, [](auto& q) { q.policies.dtcp.flow_control = true; }));
    r.create(from_a(), 3, Address{0});
    CHECK(r.b.out.empty());
    CHECK(r.b.allocator.stats().count(no_address) == 1);
    r.create(from_a(), 3, Address{9});
    CHECK(r.refused(wrong_source));
    CHECK(r.b.ports.in_use() == 0);
}

TEST_CASE("what comes as bytes is judged before it is used") {
    Responder r;
    Node& b = r.b;
    const auto ignored = [&](const CdapMessage& m, FlowIgnored why, Address from = Two::kA) {
        const std::uint64_t before = b.allocator.stats().count(why);
        b.allocator.on_message(r.two.now, from, m, b.out);
        return b.out.empty() && b.allocator.stats().count(why) == before + 1;
    };
    using enum FlowIgnored;
    CHECK(ignored(message(OpCode::create, 3), bad_message));
    CdapMessage garbage = message(OpCode::create, 3);
    garbage.value = rina::Bytes(20, std::byte{0xff});
    CHECK(ignored(garbage, bad_message));
    garbage.value = std::string("text");
    CHECK(ignored(garbage, bad_message));
    CHECK(ignored(message(OpCode::remove, 3), bad_message));
    for (const char* name : {"/mgmt/flowalloc/flows/", "/mgmt/flowalloc/flows/x",
                             "/mgmt/flowalloc/flows/1x", "/mgmt/flowalloc/flows/-1",
                             "/mgmt/flowalloc/flows/99999999999999999999999",
                             "/mgmt/flowalloc/flowsx1", "/mgmt", ""})
        CHECK(ignored(message(OpCode::remove, 3, name), bad_message));
    CHECK(ignored(message(OpCode::remove, 3, "/mgmt/flowalloc/flows/7"), unknown_flow));
    CHECK(ignored(message(OpCode::remove, 3, "/mgmt/flowalloc/flows/4294967295"), unknown_flow));
    CHECK(ignored(message(OpCode::remove, 3, "/mgmt/flowalloc/flows/4294967296"), unknown_flow));
    CHECK(ignored(message(OpCode::create_r, 77), stale));
    CHECK(ignored(message(OpCode::remove_r, 77), unknown_flow));
    CHECK(ignored(message(OpCode::read, 3), bad_message));
    CHECK(ignored(message(OpCode::remove, 3, "/mgmt/flowalloc/flows/7"), no_address, Address{0}));
    CdapMessage other = message(OpCode::create, 3);
    other.obj_class = "a_data";
    CHECK(ignored(other, bad_message));
    // Without an invoke id nothing can be answered.
    r.create(FlowRequest{}, 0);
    CHECK(b.out.empty());
}

TEST_CASE("a repeated request gets the same answer, and no second flow") {
    Responder r;
    Node& b = r.b;
    r.create(from_a());
    r.create(from_a());
    const PortId port = b.one<FlowRequested>().port;
    CHECK(b.all<SendFlowMessage>().empty());
    REQUIRE(b.allocator.accept(r.two.now, port, 0, b.out));
    const CdapMessage first = b.sent();
    b.clear();
    r.create(from_a());
    CHECK(b.sent() == first);
    CHECK(b.out.actions.size() == 1);
    CHECK(b.allocator.flows() == 1);
    CHECK(b.allocator.stats().count(FlowIgnored::duplicate) == 2);
}

TEST_CASE("a request that comes again after its flow has ended makes no other one") {
    Responder r;
    Node& b = r.b;
    const PortId port = r.accepted(from_a());
    b.allocator.on_delete(r.two.now, Two::kA, port.value, nullptr, 4, b.out);
    CHECK(b.one<Shut>().port == port);
    b.clear();
    r.create(from_a());
    CHECK(b.sent().result == -1);
    b.clear();
    REQUIRE(b.allocator.deallocate(r.two.now, port, b.out));
    b.clear();
    r.create(from_a());
    CHECK(r.refused(FlowIgnored::stale));
    // An invoke id may be used again after 15 s.
    r.two.now = r.two.now + Duration::seconds(16);
    r.create(from_a());
    CHECK(b.one<FlowRequested>().local == kServer);
}

TEST_CASE("another request with the port-id of a flow says that the member started anew") {
    Responder r;
    Node& b = r.b;
    const PortId old = r.accepted(from_a(), 3);
    b.clear();
    r.create(from_a(), 4);
    CHECK(b.one<Shut>().port == old);
    CHECK(b.one<FlowDeallocated>().reason == rina::Reason::peer_restarted);
    const PortId fresh = b.one<FlowRequested>().port;
    CHECK(fresh != old);
    b.clear();
    // What was on its way from before does not count any more.
    r.create(from_a(), 3);
    CHECK(b.sent().reason == to_string(FlowIgnored::stale));
    b.clear();
    REQUIRE(b.allocator.deallocate(r.two.now, old, b.out));
    REQUIRE(b.allocator.accept(r.two.now, fresh, 0, b.out));
    b.clear();
    r.create(from_a(), 4);
    CHECK(b.sent().result == 0);
}

TEST_CASE("requests that nobody accepts are bounded for each member") {
    NodeOptions options;
    options.config.half_open_max = 3;
    options.config.flows_of_member_max = 5;
    Responder r(options);
    Node& b = r.b;
    for (std::uint64_t port = 0; port < 100; ++port)
        r.create(from_a(port), static_cast<std::int32_t>(port) + 3);
    CHECK(b.allocator.flows() == 3);
    CHECK(b.all<FlowRequested>().size() == 3);
    CHECK(b.all<SendFlowMessage>().size() == 97);
    CHECK(b.allocator.stats().count(FlowIgnored::flood) == 97);
    // Another member is served.
    r.two.dif.addresses["c.IPCP"] = Address{9};
    FlowRequest other = from_a();
    other.source_ipcp = "c.IPCP";
    r.create(other, 3, Address{9});
    CHECK(b.all<FlowRequested>().size() == 4);
    for (const FlowRequested& requested : b.all<FlowRequested>())
        REQUIRE(b.allocator.accept(r.two.now, requested.port, 0, b.out));
    b.clear();
    for (std::uint64_t port = 200; port < 210; ++port)
        r.create(from_a(port), static_cast<std::int32_t>(port));
    CHECK(b.all<FlowRequested>().size() == 2);
}

TEST_CASE("requests that were answered do not count any more") {
    NodeOptions options;
    options.config.half_open_max = 1;
    Responder r(options);
    for (std::uint64_t port = 0; port < 5; ++port) {
        r.create(from_a(port), static_cast<std::int32_t>(port) + 3);
        const PortId here = r.b.one<FlowRequested>().port;
        if (port % 2 == 0)
            REQUIRE(r.b.allocator.refuse(r.two.now, here, r.b.out));
        else
            REQUIRE(r.b.allocator.accept(r.two.now, here, 0, r.b.out));
        r.b.clear();
    }
}

TEST_CASE("after 15 s the same request is another one") {
    Responder r;
    const PortId old = r.accepted(from_a());
    r.b.clear();
    r.two.now = r.two.now + Duration::seconds(16);
    r.b.allocator.on_timeout(r.two.now, r.b.out);
    CHECK(r.b.out.empty());
    r.create(from_a());
    CHECK(r.b.one<Shut>().port == old);
    CHECK(r.b.one<FlowRequested>().port != old);
    CHECK(r.b.all<SendFlowMessage>().empty());
}

TEST_CASE("only the peer takes a flow down") {
    Responder r;
    Node& b = r.b;
    const PortId port = r.accepted(from_a());
    b.clear();
    b.allocator.on_delete(r.two.now, Address{9}, port.value, nullptr, 4, b.out);
    CHECK(b.out.empty());
    CHECK(b.allocator.stats().count(FlowIgnored::not_the_peer) == 1);
    // An M_DELETE that says which flow it means, and means another one.
    FlowRequest value = from_a(5, 7);
    b.allocator.on_delete(r.two.now, Two::kA, port.value, &value, 4, b.out);
    CHECK(b.all<Shut>().empty());
    CHECK(b.sent().op == OpCode::remove_r);
    b.clear();
    // The peer has another address now.
    r.two.dif.addresses["a.IPCP"] = Address{12};
    value = from_a();
    b.allocator.on_delete(r.two.now, Address{12}, port.value, &value, 4, b.out);
    CHECK(b.one<Shut>().port == port);
    CHECK(b.one<SendFlowMessage>().to == Address{12});
}

TEST_CASE("a member that is gone, and an application that is") {
    Responder r;
    Node& b = r.b;
    const PortId open = r.accepted(from_a(1), 3);
    const PortId closing = [&] {
        r.b.clear();
        return r.accepted(from_a(2), 4);
    }();
    REQUIRE(b.allocator.deallocate(r.two.now, closing, b.out));
    r.create(from_a(3), 5);
    b.clear();
    b.allocator.on_unregister(r.two.now, {"other", "", "", ""}, b.out);
    CHECK(b.out.empty());
    b.allocator.on_unregister(r.two.now, kServer, b.out);
    CHECK(b.one<FlowFailed>().reason == rina::Reason::unregistered);
    CHECK(b.sent().result == -1);
    b.clear();
    b.allocator.on_member_gone(r.two.now, "c.IPCP", Address{9}, b.out);
    CHECK(b.out.empty());
    // Of two members with one address the other one.
    b.allocator.on_member_gone(r.two.now, "c.IPCP", Two::kA, b.out);
    CHECK(b.out.empty());
    b.allocator.on_member_gone(r.two.now, "a.IPCP", Two::kA, b.out);
    CHECK(b.one<Shut>().port == open);
    CHECK(b.one<Unbind>().port == closing);
    CHECK(b.all<SendFlowMessage>().empty());
    REQUIRE(b.allocator.deallocate(r.two.now, open, b.out));
    CHECK(b.allocator.flows() == 0);
    CHECK(b.allocator.members() == 0);
}

TEST_CASE("a member of another kind that has another address") {
    Responder r;
    Node& b = r.b;
    const PortId open = r.accepted(from_a(1), 3);
    b.clear();
    b.allocator.on_member_moved(r.two.now, "c.IPCP", Address{12}, false, b.out);
    b.allocator.on_member_moved(r.two.now, "a.IPCP", Two::kA, false, b.out);
    CHECK(b.out.empty());
    b.allocator.on_member_moved(r.two.now, "a.IPCP", Address{12}, false, b.out);
    CHECK(b.one<Shut>().port == open);
    CHECK(b.one<FlowDeallocated>().reason == rina::Reason::peer_restarted);
    CHECK(b.all<SendFlowMessage>().empty());
}

TEST_CASE("our flows from before our own address changed are gone") {
    Responder r;
    Node& b = r.b;
    const PortId open = r.accepted(from_a(1), 3);
    r.create(from_a(3), 5);
    b.clear();
    b.allocator.on_own_move(r.two.now, b.out);
    CHECK(b.one<Shut>().port == open);
    CHECK(b.all<FlowFailed>().size() == 1);
    CHECK(b.one<SendFlowMessage>().to == Two::kA);
}

TEST_CASE("a flow that is closing when our own address changes is deleted at the peer, too") {
    Responder r;
    Node& b = r.b;
    const PortId open = r.accepted(from_a(1), 3);
    REQUIRE(b.allocator.deallocate(r.two.now, open, b.out));
    b.clear();
    b.allocator.on_own_move(r.two.now, b.out);
    CHECK(b.one<Unbind>().port == open);
    const SendFlowMessage said = b.one<SendFlowMessage>();
    CHECK(said.to == Two::kA);
    CHECK(said.message.op == OpCode::remove);
    CHECK(b.allocator.flows() == 0);
}

// ---- answers ------------------------------------------------------------------------------------

namespace {
// What rlite would answer.
CdapMessage rlite_answer(const CdapMessage& create, std::uint64_t port, std::uint32_t cep) {
    CdapMessage answer = create;
    answer.op = OpCode::create_r;
    FlowRequest request = request_in(create);
    request.destination_port = port;
    request.connections[0].destination_cep = CepId{cep};
    return with_request(answer, request);
}
struct Initiator {
    Two two;
    Node& a = two.a;
    PortId port = *a.allocator.allocate(two.now, kClient, kServer, reliable_spec(), 7, a.out);
    CdapMessage create = a.sent();
    Initiator() { a.clear(); }
    void answer(const CdapMessage& message, Address from = Two::kB) {
        a.allocator.on_message(two.now, from, message, a.out);
    }
};
}  // namespace

TEST_CASE("rlite echoes the offer, and gets a flow of its own kind") {
    Initiator i;
    i.answer(rlite_answer(i.create, 9, 10));
    const SetPeer set = i.a.one<SetPeer>();
    CHECK(set.peer_cep == CepId{10});
    CHECK(set.qos == QosId{0});
    CHECK(set.terms.policies.dialect == efcp::Dialect::rlite);
    CHECK_FALSE(set.terms.policies.sack);
    CHECK(set.terms.policies.window->initial_credit == 512);
    CHECK_FALSE(i.a.allocator.find(i.port)->extended);
    i.a.clear();
    // The same again, which says nothing new.
    i.answer(rlite_answer(i.create, 11, 12));
    CHECK(i.a.out.empty());
    // Its M_DELETE is rlite's: once, without a value.
    REQUIRE(i.a.allocator.deallocate(i.two.now, i.port, i.a.out));
    i.a.clear();
    i.two.now = i.two.now + Duration::seconds(4);
    i.a.allocator.on_timeout(i.two.now, i.a.out);
    CHECK(i.a.sent().obj_name == "/mgmt/flowalloc/flows/9");
    CHECK(i.a.sent().value.index() == 0);
    CHECK(i.a.allocator.next_deadline().is_never());
    CHECK(i.a.allocator.unanswered() == 0);
}

TEST_CASE("answers that are none to the question") {
    const auto failed = [](auto&& change) {
        Initiator i;
        CdapMessage answer = rlite_answer(i.create, 9, 10);
        FlowRequest request = request_in(answer);
        change(request);
        i.answer(with_request(answer, request));
        CHECK(i.a.allocator.flows() == 0);
        CHECK(i.a.all<FlowAllocated>().empty());
        return i.a.one<FlowFailed>().reason == rina::Reason::refused &&
               i.a.sent().op == OpCode::remove &&
               i.a.place<Unbind>() < i.a.place<SendFlowMessage>();
    };
    CHECK(failed([](auto& q) { q.connections.clear(); }));
    CHECK(failed([](auto& q) { q.source_port = 99; }));
    CHECK(failed([](auto& q) { q.connections[0].source_cep = CepId{99}; }));
    CHECK(failed([](auto& q) { q.connections[0].destination_cep = CepId{65536}; }));
    CHECK(failed([](auto& q) { q.destination_port = ~0ull; }));
    CHECK(failed([](auto& q) { q.policies.dtcp.flow.window->initial_credit = 513; }));
    CHECK(failed([](auto& q) { q.qos.sdu_gap_max = 1; }));
    CHECK(failed([](auto& q) {
        // Consent to another offer.
        Offer offer = *offer_in(q.access_control);
        ++offer.nonce;
        q.access_control = encode(Answer{offer.features, 1, {}}, offer, 9, 10);
    }));
    Initiator i;
    CdapMessage empty = rlite_answer(i.create, 9, 10);
    empty.value = std::monostate{};
    i.answer(empty);
    CHECK(i.a.one<FlowFailed>().reason == rina::Reason::refused);
}

TEST_CASE("answers count from who was asked only, refusals also without a value") {
    Initiator i;
    i.answer(rlite_answer(i.create, 9, 10), Address{9});
    CHECK(i.a.out.empty());
    CHECK(i.a.allocator.stats().count(FlowIgnored::not_the_peer) == 1);
    CdapMessage refusal = message(OpCode::create_r, i.create.invoke_id);
    refusal.result = -1;
    refusal.reason = "No connections specified on this flow";
    i.answer(refusal);
    CHECK(i.a.one<FlowFailed>().text == refusal.reason);
    CHECK(i.a.ports.in_use() == 0);
}

TEST_CASE("an answer that comes too late ends the responder's flow") {
    Initiator i;
    i.two.now = i.two.now + Duration::seconds(5);
    i.a.allocator.on_timeout(i.two.now, i.a.out);
    i.a.clear();
    i.answer(rlite_answer(i.create, 9, 10));
    CHECK(i.a.sent().op == OpCode::remove);
    CHECK(i.a.sent().obj_name == "/mgmt/flowalloc/flows/9");
    // rlite looks at the name only; one of ours wants to know which flow is meant.
    CHECK(i.a.sent().value.index() != 0);
    i.a.clear();
    // But not on anybody's word.
    CdapMessage foreign = rlite_answer(i.create, 9, 10);
    i.answer(foreign, Address{9});
    foreign.invoke_id += 1;
    i.answer(foreign);
    CHECK(i.a.out.empty());
}

TEST_CASE("a node that is told to be rlite offers nothing and takes nothing up") {
    NodeOptions plain;
    plain.config.extensions.offered = false;
    Two two(plain);
    const auto [at_a, at_b] = two.flow(reliable_spec());
    CHECK_FALSE(two.a.allocator.find(at_a)->extended);
    CHECK_FALSE(two.b.allocator.find(at_b)->extended);
    Two other({}, plain);
    const auto [o_a, o_b] = other.flow(reliable_spec());
    CHECK_FALSE(other.a.allocator.find(o_a)->extended);
    CHECK_FALSE(other.b.allocator.find(o_b)->extended);
}

TEST_CASE("among our own nodes lost messages are said again") {
    Two two;
    auto& [dif, a, b, now] = two;
    (void)two.flow();
    // The second request is lost, and the third comes.
    const PortId port = *a.allocator.allocate(now, kClient, kServer, {}, 7, a.out);
    const CdapMessage asked = a.sent();
    a.clear();
    CHECK(a.allocator.next_deadline() == now + Duration::seconds(1));
    now = now + Duration::seconds(1);
    a.allocator.on_timeout(now, a.out);
    CHECK(a.sent() == asked);
    two.exchange();
    REQUIRE(b.allocator.accept(now, b.one<FlowRequested>().port, 0, b.out));
    two.exchange();
    CHECK(a.one<FlowAllocated>().port == port);
    a.clear();
    b.clear();
    // So is the M_DELETE, with growing patience.
    REQUIRE(a.allocator.deallocate(now, port, a.out));
    std::vector<std::int64_t> times;
    const Instant start = now + Duration::seconds(4);
    while (!a.allocator.next_deadline().is_never()) {
        a.clear();
        now = a.allocator.next_deadline();
        a.allocator.on_timeout(now, a.out);
        for (const SendFlowMessage& send : a.all<SendFlowMessage>()) {
            CHECK(send.message.op == OpCode::remove);
            times.push_back((now - start).ns / 1'000'000'000);
        }
    }
    CHECK(times == std::vector<std::int64_t>{0, 1, 3, 7, 15, 31, 63});
    CHECK(a.allocator.stats().deletes_abandoned == 1);
    CHECK(a.allocator.unanswered() == 0);
}
