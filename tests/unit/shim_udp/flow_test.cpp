#include "support.hpp"

using namespace sluice;
using namespace sluice::shim_udp;

TEST_CASE("an allocation finds the address, opens a socket, and sends to the well-known port") {
    Node node;
    const FlowHandle flow = node.open();
    const auto target = node.shim.target_for(flow);
    REQUIRE(target);
    CHECK(target->to == Endpoint{kTheirs, 3359});
    CHECK(node.out.empty());
    CHECK(node.shim.next_deadline().is_never());
    CHECK_FALSE(node.shim.target_for(FlowHandle{99}));
}

TEST_CASE("the first datagram teaches the port of the peer, once and from its address only") {
    Node node;
    const FlowHandle flow = node.open();
    const SocketId socket = node.socket_of(flow);
    CHECK(node.drops(socket, {IpAddress::v4(0x0a000003), 40000}) == Drop::wrong_address);
    CHECK(node.shim.target_for(flow)->to.port == 3359);
    const Verdict verdict = node.gets(socket, {kTheirs, 40000}, 28);
    CHECK(verdict.kind == Kind::data);
    CHECK(verdict.flow == flow);
    CHECK(verdict.offset == 0);
    CHECK(verdict.length == 28);
    CHECK(node.shim.target_for(flow)->to == Endpoint{kTheirs, 40000});
    CHECK(node.drops(socket, {kTheirs, 40001}) == Drop::wrong_port);
    CHECK(node.drops(socket, {kTheirs, 3359}) == Drop::wrong_port);
    CHECK(node.shim.target_for(flow)->to == Endpoint{kTheirs, 40000});
    CHECK(node.gets(socket, {kTheirs, 40000}).kind == Kind::data);
}

TEST_CASE("the first datagram of an (address, port) asks for a flow") {
    Node node;
    const SocketId listener = node.listen();
    const Endpoint peer{kTheirs, 50000};
    const Verdict first = node.gets(listener, peer, 99);
    CHECK(first.kind == Kind::hold);
    CHECK(first.length == 99);
    REQUIRE(node.out.actions.size() == 2);
    const SocketId own = node.taken<OpenSocket>().at(0).socket;
    CHECK(node.taken<OpenSocket>()[0].local == Endpoint{kOurs, 0});
    CHECK(node.taken<ResolveAddress>().at(0).address == kTheirs);
    node.out.clear();
    CHECK(node.gets(listener, peer).flow == first.flow);
    node.shim.on_socket(node.now, own);
    CHECK(node.out.empty());
    node.shim.on_named(node.now, kTheirs, named("b.IPCP"));
    const auto requested = node.only<FlowRequested>();
    CHECK(requested.flow == first.flow);
    CHECK(requested.local == named("a.IPCP"));
    CHECK(requested.remote == named("b.IPCP"));
    CHECK_FALSE(node.shim.target_for(first.flow));
    REQUIRE(node.shim.accept(node.now, first.flow));
    CHECK_FALSE(node.shim.accept(node.now, first.flow));
    CHECK(node.shim.target_for(first.flow) == Target{own, peer});
    // Until the peer has learned, it sends to the listener.
    CHECK(node.gets(listener, peer).kind == Kind::data);
    CHECK(node.gets(own, peer).kind == Kind::data);
    CHECK(node.drops(own, {kTheirs, 50001}) == Drop::wrong_port);
    CHECK(node.drops(own, {kOurs, 50000}) == Drop::wrong_address);
    // Another port is another flow.
    CHECK(node.asked(listener, {kTheirs, 50001}).flow != first.flow);
}

TEST_CASE("a peer whose address has no name is a peer without a name") {
    Node node;
    const SocketId listener = node.listen();
    CHECK(node.gets(listener, {kTheirs, 50000}).kind == Kind::hold);
    node.shim.on_socket(node.now, node.taken<OpenSocket>().at(0).socket);
    node.out.clear();
    SECTION("said so") { node.shim.on_unnamed(node.now, kTheirs); }
    SECTION("no answer") { node.pass(Duration::seconds(5)); }
    SECTION("one that is none") {
        rina::AppName bad;
        bad.process = "b\n";
        node.shim.on_named(node.now, kTheirs, bad);
    }
    CHECK(node.only<FlowRequested>().remote == rina::AppName{});
}

TEST_CASE("names are looked for once, and the answer is for all who wait") {
    Node node;
    const auto first = node.shim.allocate(node.now, named("a"), named("b"), 1);
    CHECK(node.only<Resolve>().name == named("b"));
    const auto second = node.shim.allocate(node.now, named("a"), named("b"), 2);
    CHECK(node.out.empty());
    node.shim.on_resolved(node.now, named("c"), kTheirs);
    CHECK(node.out.empty());
    node.shim.on_resolved(node.now, named("b"), kTheirs);
    const auto sockets = node.taken<OpenSocket>();
    REQUIRE(sockets.size() == 2);
    node.out.clear();
    node.shim.on_resolved(node.now, named("b"), kOurs);
    CHECK(node.out.empty());
    // Two flows between the same nodes: ports tell them apart.
    for (const auto& socket : sockets) node.shim.on_socket(node.now, socket.socket);
    REQUIRE(node.taken<FlowAllocated>().size() == 2);
    CHECK(node.shim.target_for(*first)->socket != node.shim.target_for(*second)->socket);
    CHECK(node.shim.target_for(*first)->to == Endpoint{kTheirs, 3359});
}

TEST_CASE("an allocation that gets no answer, or a bad one, fails for one reason") {
    Node node;
    const auto flow = node.shim.allocate(node.now, named("a"), named("b"), 6);
    node.out.clear();
    SECTION("no such name") {
        node.shim.on_unresolved(node.now, named("b"), "no such host");
        const auto failed = node.only<FlowFailed>();
        CHECK(failed.reason == Reason::no_such_application);
        CHECK(failed.text == "b has no address: no such host");
        CHECK(failed.cookie == 6);
        CHECK(failed.flow == *flow);
    }
    SECTION("resolver is silent") {
        node.pass(Duration::seconds(5));
        CHECK(node.only<FlowFailed>().reason == Reason::timed_out);
    }
    SECTION("no socket") {
        node.shim.on_resolved(node.now, named("b"), kTheirs);
        const auto socket = node.only<OpenSocket>().socket;
        node.shim.on_socket_failed(node.now, socket, "too many open files");
        CHECK(node.taken<FlowFailed>().at(0).text == "no socket for a flow: too many open files");
        CHECK(node.taken<CloseSocket>().at(0).socket == socket);
    }
    SECTION("no answer about the socket") {
        node.shim.on_resolved(node.now, named("b"), kTheirs);
        node.out.clear();
        node.pass(Duration::seconds(5));
        CHECK(node.taken<FlowFailed>().at(0).reason == Reason::timed_out);
        CHECK(node.taken<CloseSocket>().size() == 1);
    }
    SECTION("the link goes down") {
        node.shim.set_link(node.now, false);
        CHECK(node.only<FlowFailed>().reason == Reason::link_down);
    }
    SECTION("given up") {
        REQUIRE(node.shim.deallocate(node.now, *flow));
        CHECK(node.out.empty());
    }
    CHECK(node.shim.flows() == 0);
    CHECK(node.shim.sockets() == 0);
    CHECK(node.shim.next_deadline().is_never());
}

TEST_CASE("a closed flow takes what is still on its way, and says nothing on the wire") {
    Node node;
    const SocketId listener = node.listen();
    const Endpoint peer{kTheirs, 50000};
    const FlowHandle flow = node.asked(listener, peer).flow;
    REQUIRE(node.shim.accept(node.now, flow));
    const SocketId own = node.socket_of(flow);
    REQUIRE(node.shim.deallocate(node.now, flow));
    CHECK(node.out.empty());
    CHECK_FALSE(node.shim.target_for(flow));
    CHECK(node.drops(own, peer) == Drop::closed);
    CHECK(node.drops(listener, peer) == Drop::closed);
    CHECK(node.shim.deallocate(node.now, flow).error().code == ENOENT);
    node.pass(Duration::milliseconds(3999));
    CHECK(node.shim.flows() == 1);
    node.pass(Duration::milliseconds(1));
    CHECK(node.only<CloseSocket>().socket == own);
    CHECK(node.shim.flows() == 0);
    CHECK(node.drops(own, peer) == Drop::unknown_socket);
    CHECK(node.asked(listener, peer).flow != flow);
}

TEST_CASE("a closed flow of ours learns no port") {
    Node node;
    const FlowHandle flow = node.open();
    const SocketId socket = node.socket_of(flow);
    REQUIRE(node.shim.deallocate(node.now, flow));
    CHECK(node.drops(socket, {kTheirs, 40000}) == Drop::closed);
    CHECK(node.drops(socket, {kTheirs, 40001}) == Drop::closed);
    node.pass(Duration::seconds(4));
    CHECK(node.only<CloseSocket>().socket == socket);
}

TEST_CASE("a request that is refused or not answered ends") {
    Node node;
    const SocketId listener = node.listen();
    const Endpoint peer{kTheirs, 50000};
    const FlowHandle flow = node.asked(listener, peer).flow;
    SECTION("refused") {
        REQUIRE(node.shim.refuse(node.now, flow));
        CHECK_FALSE(node.shim.refuse(node.now, flow));
        CHECK(node.out.empty());
    }
    SECTION("not answered") {
        node.pass(Duration::seconds(10));
        const auto failed = node.only<FlowFailed>();
        CHECK(failed.flow == flow);
        CHECK(failed.reason == Reason::timed_out);
    }
    CHECK(node.drops(listener, peer) == Drop::closed);
    node.pass(Duration::seconds(4));
    CHECK(node.shim.flows() == 0);
    CHECK(node.shim.sockets() == 1);
}

TEST_CASE("a name that is unregistered closes its socket and takes its requests along") {
    Node node;
    const SocketId listener = node.listen();
    const FlowHandle kept = node.asked(listener, {kTheirs, 50000}).flow;
    REQUIRE(node.shim.accept(node.now, kept));
    const SocketId own = node.socket_of(kept);
    const FlowHandle waiting = node.asked(listener, {kTheirs, 50001}).flow;
    REQUIRE(node.shim.unregister_app(node.now, named("a.IPCP")));
    REQUIRE(node.taken<FlowFailed>().size() == 1);
    CHECK(node.taken<FlowFailed>()[0].flow == waiting);
    CHECK(node.taken<FlowFailed>()[0].reason == Reason::unregistered);
    CHECK(node.taken<CloseSocket>().size() == 2);
    node.out.clear();
    CHECK(node.drops(listener, {kTheirs, 50000}) == Drop::unknown_socket);
    CHECK(node.gets(own, {kTheirs, 50000}).flow == kept);
    CHECK(node.shim.unregister_app(node.now, named("a.IPCP")).error().code == ENOENT);
    // Registered again, it is a new listener; the flow that was kept ends by itself.
    const SocketId again = node.listen();
    const FlowHandle next = node.asked(again, {kTheirs, 50000}).flow;
    CHECK(next != kept);
    REQUIRE(node.shim.deallocate(node.now, kept));
    node.pass(Duration::seconds(4));
    node.out.clear();
    CHECK(node.gets(again, {kTheirs, 50000}).flow == next);
}

TEST_CASE("a name that cannot be bound is not registered") {
    Node node;
    REQUIRE(node.shim.register_app(node.now, named("a")));
    CHECK(node.shim.register_app(node.now, named("a")).error().code == EEXIST);
    node.out.clear();
    SECTION("no address") {
        node.shim.on_unresolved(node.now, named("a"), "no such host");
        CHECK(node.only<AppFailed>().text == "a has no address: no such host");
    }
    SECTION("no answer") {
        node.pass(Duration::seconds(5));
        CHECK(node.only<AppFailed>().text ==
              "a could not be registered: its address was not found within 5 s");
    }
    SECTION("address in use") {
        node.shim.on_resolved(node.now, named("a"), kOurs);
        const auto socket = node.only<OpenSocket>().socket;
        // Nothing is taken from a socket that is not ready.
        CHECK(node.drops(socket, {kTheirs, 50000}) == Drop::unknown_socket);
        node.shim.on_socket_failed(node.now, socket, "address in use");
        CHECK(node.taken<AppFailed>().at(0).text ==
              "no socket for a on port 3359: address in use");
        CHECK(node.taken<CloseSocket>().at(0).socket == socket);
        node.out.clear();
    }
    CHECK(node.shim.next_deadline().is_never());
    CHECK(node.shim.sockets() == 0);
    node.listen("a");
    // rlite's two names of an IPC process would collide here.
    REQUIRE(node.shim.register_app(node.now, named("x.DIF")));
    node.out.clear();
    node.shim.on_resolved(node.now, named("x.DIF"), kOurs);
    CHECK(node.only<AppFailed>().text ==
          "x.DIF has the address of a, which is registered already; each name needs an address "
          "of its own");
    node.listen("x.DIF", IpAddress::v4(0x0a000009));
}

TEST_CASE("a link that goes down keeps flows") {
    Node node;
    const FlowHandle flow = node.open();
    const SocketId socket = node.socket_of(flow);
    node.shim.set_link(node.now, false);
    CHECK(node.only<FlowDown>().why == Reason::link_down);
    CHECK_FALSE(node.shim.target_for(flow));
    CHECK(node.drops(socket, {kTheirs, 40000}) == Drop::link_down);
    CHECK(node.shim.allocate(node.now, named("a"), named("c"), 1).error().code == ENETDOWN);
    node.shim.set_link(node.now, true);
    CHECK(node.only<FlowUp>().flow == flow);
    CHECK(node.gets(socket, {kTheirs, 40000}).kind == Kind::data);
}

TEST_CASE("silence is nothing by default, and a flow that is down if so configured") {
    Node quiet;
    quiet.open();
    quiet.pass(Duration::seconds(100000));
    CHECK(quiet.out.empty());
    Config config;
    config.inactivity = Duration::seconds(30);
    Node node(config);
    const FlowHandle flow = node.open();
    const SocketId socket = node.socket_of(flow);
    node.pass(Duration::seconds(20));
    CHECK(node.gets(socket, {kTheirs, 40000}).kind == Kind::data);
    node.pass(Duration::seconds(29));
    CHECK(node.out.empty());
    node.pass(Duration::seconds(1));
    const auto down = node.only<FlowDown>();
    CHECK(down.flow == flow);
    CHECK(down.why == Reason::peer_unresponsive);
    CHECK(node.shim.target_for(flow));
    CHECK(node.shim.next_deadline().is_never());
    CHECK(node.gets(socket, {kTheirs, 40000}).kind == Kind::data);
    CHECK(node.only<FlowUp>().flow == flow);
    node.pass(Duration::seconds(30));
    CHECK(node.only<FlowDown>().flow == flow);
}

TEST_CASE("the longest SDU is what rlite's is") {
    Config config;
    Node node(config);
    CHECK(node.shim.max_sdu() == 1452);
    const FlowHandle flow = node.open();
    const SocketId socket = node.socket_of(flow);
    CHECK(node.gets(socket, {kTheirs, 40000}, 1452).kind == Kind::data);
    CHECK(node.drops(socket, {kTheirs, 40000}, 1453) == Drop::too_long);
    CHECK(node.drops(socket, {kTheirs, 40000}, 0) == Drop::empty);
    config.mtu = 9000;
    CHECK(Node(config).shim.max_sdu() == 8952);
    const auto wrong = [](auto change) {
        Config bad;
        change(bad);
        return !Shim::check(bad);
    };
    CHECK(wrong([](Config& c) { c.mtu = 575; }));
    CHECK(wrong([](Config& c) { c.mtu = 65536; }));
    CHECK(wrong([](Config& c) { c.accept_wait = {}; }));
    CHECK(wrong([](Config& c) { c.inactivity = Duration::seconds(-1); }));
}
