#include "support.hpp"

using namespace sluice;
using namespace sluice::shim_udp;

TEST_CASE("addresses and ports that no peer can have are not listened to") {
    Node node;
    const SocketId listener = node.listen();
    IpAddress group;
    group.bytes[0] = 0xff;
    IpAddress host;
    host.bytes[0] = 0x20;
    CHECK(node.drops(listener, {kTheirs, 0}) == Drop::bad_source);
    CHECK(node.drops(listener, {IpAddress{}, 5000}) == Drop::bad_source);
    CHECK(node.drops(listener, {IpAddress::v4(0), 5000}) == Drop::bad_source);
    CHECK(node.drops(listener, {IpAddress::v4(0xe0000001), 5000}) == Drop::bad_source);
    CHECK(node.drops(listener, {IpAddress::v4(0xffffffff), 5000}) == Drop::bad_source);
    CHECK(node.drops(listener, {group, 5000}) == Drop::bad_source);
    // Two listeners that answer each other would never end.
    CHECK(node.drops(listener, {kTheirs, 3359}) == Drop::bad_source);
    CHECK(node.drops(listener, {kTheirs, 5000}, 0) == Drop::empty);
    CHECK(node.drops(SocketId{77}, {kTheirs, 5000}) == Drop::unknown_socket);
    CHECK(node.shim.flows() == 0);
    CHECK(node.gets(listener, {host, 5000}).kind == Kind::hold);
}

TEST_CASE("only so many datagrams wait for accept()") {
    Node node;
    const SocketId listener = node.listen();
    const Endpoint peer{kTheirs, 50000};
    const FlowHandle flow = node.asked(listener, peer).flow;
    for (unsigned i = 1; i < kHoldMax; ++i) CHECK(node.gets(listener, peer).kind == Kind::hold);
    CHECK(node.drops(listener, peer) == Drop::hold_full);
    REQUIRE(node.shim.accept(node.now, flow));
    CHECK(node.gets(listener, peer).kind == Kind::data);
}

TEST_CASE("one address cannot take the places of the others") {
    Node node;
    const SocketId listener = node.listen();
    for (std::uint16_t i = 0; i < 1000; ++i)
        node.gets(listener, {kTheirs, std::uint16_t(5000 + i)});
    CHECK(node.shim.flows() == kRequestsOfAddressMax);
    CHECK(node.taken<OpenSocket>().size() == kRequestsOfAddressMax);
    // The name of an address is looked for once.
    CHECK(node.taken<ResolveAddress>().size() == 1);
    CHECK(node.shim.dropped(Drop::request_limit) == 1000 - kRequestsOfAddressMax);
    node.out.clear();
    CHECK(node.gets(listener, {IpAddress::v4(0x0a000003), 5000}).kind == Kind::hold);
}

TEST_CASE("flows that wait have a limit, and end without an answer") {
    Node node;
    const SocketId listener = node.listen();
    for (std::uint32_t i = 0; i < 1000; ++i)
        node.gets(listener, {IpAddress::v4(0x0b000000 + i), 9});
    CHECK(node.shim.flows() == kRequestsMax);
    node.out.clear();
    // No answer of any kind: what is held is to be dropped.
    node.pass(Duration::seconds(5));
    CHECK(node.taken<FlowFailed>().size() == kRequestsMax);
    CHECK(node.taken<CloseSocket>().size() == kRequestsMax);
    CHECK(node.shim.flows() == 0);
    CHECK(node.shim.sockets() == 1);
}

TEST_CASE("flows of one address have a limit, accepted or not") {
    Node node;
    const SocketId listener = node.listen();
    for (std::uint16_t i = 0; i < kFlowsOfAddressMax; ++i) {
        const auto flow = node.asked(listener, {kTheirs, std::uint16_t(5000 + i)}).flow;
        REQUIRE(node.shim.accept(node.now, flow));
    }
    CHECK(node.drops(listener, {kTheirs, 4000}) == Drop::flow_limit);
    REQUIRE(node.shim.deallocate(node.now, FlowHandle{1}));
    CHECK(node.drops(listener, {kTheirs, 4000}) == Drop::flow_limit);
    node.pass(Duration::seconds(4));
    node.out.clear();
    CHECK(node.gets(listener, {kTheirs, 4000}).kind == Kind::hold);
}

TEST_CASE("answers that nobody waits for change nothing") {
    Node node;
    const SocketId listener = node.listen();
    const FlowHandle flow = node.open();
    const Target target = *node.shim.target_for(flow);
    node.shim.on_resolved(node.now, named("a.IPCP"), kTheirs);
    node.shim.on_resolved(node.now, named("b.IPCP"), kOurs);
    node.shim.on_unresolved(node.now, named("b.IPCP"), "gone");
    node.shim.on_named(node.now, kTheirs, named("x"));
    node.shim.on_unnamed(node.now, kTheirs);
    node.shim.on_socket(node.now, listener);
    node.shim.on_socket(node.now, target.socket);
    node.shim.on_socket(node.now, SocketId{99});
    node.shim.on_socket_failed(node.now, SocketId{99}, "gone");
    node.shim.on_socket_failed(node.now, target.socket, "gone");
    CHECK(node.out.empty());
    CHECK(node.shim.target_for(flow) == target);
}
