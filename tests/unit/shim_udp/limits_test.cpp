#include "support.hpp"

// Limits, and calls and answers about what there is not.

namespace sluice::shim_udp {

TEST_CASE("names that are none of an application") {
    Node node;
    rina::AppName bar = named("a");
    bar.instance = "x|y";
    rina::AppName control = named("a");
    control.entity = "x\ny";
    rina::AppName longest = named("a");
    longest.process = std::string(256, 'a');
    for (const rina::AppName& wrong : {rina::AppName{}, bar, control, longest}) {
        CHECK_FALSE(node.shim.register_app(node.now, wrong));
        CHECK_FALSE(node.shim.allocate(node.now, wrong, named("b"), 1));
        CHECK_FALSE(node.shim.allocate(node.now, named("b"), wrong, 1));
    }
    CHECK(node.shim.register_app(node.now, longest).error().code == ENAMETOOLONG);
    CHECK(node.out.empty());
    longest.process.pop_back();
    CHECK(node.shim.register_app(node.now, longest));
}

TEST_CASE("a shim takes so many names") {
    Node node;
    for (std::size_t i = 0; i < kAppsMax; ++i)
        REQUIRE(node.shim.register_app(node.now, named("app" + std::to_string(i))));
    const auto more = node.shim.register_app(node.now, named("one-more"));
    REQUIRE_FALSE(more);
    CHECK(more.error().code == ENOSPC);
    REQUIRE(node.shim.unregister_app(node.now, named("app7")));
    CHECK(node.shim.register_app(node.now, named("one-more")));
}

TEST_CASE("a shim has so many flows") {
    Node node;
    for (std::size_t i = 0; i < kFlowsMax; ++i)
        REQUIRE(node.shim.allocate(node.now, named("a"), named("b"), 1));
    CHECK(node.only<Resolve>().name == named("b"));  // one question for all of them
    const auto more = node.shim.allocate(node.now, named("a"), named("b"), 1);
    REQUIRE_FALSE(more);
    CHECK(more.error().code == ENOSPC);
    node.pass(Duration::seconds(5));
    CHECK(node.taken<FlowFailed>().size() == kFlowsMax);
    CHECK(node.shim.allocate(node.now, named("a"), named("b"), 1));
}

TEST_CASE("calls about flows that there are not") {
    Node node;
    const FlowHandle nobody{99};
    CHECK(node.shim.accept(node.now, nobody).error().code == ENOENT);
    CHECK(node.shim.refuse(node.now, nobody).error().code == ENOENT);
    CHECK(node.shim.deallocate(node.now, nobody).error().code == ENOENT);
    CHECK_FALSE(node.shim.target_for(nobody));
    const FlowHandle ours = node.open();
    CHECK(node.shim.accept(node.now, ours).error().code == ENOENT);
    CHECK(node.shim.refuse(node.now, ours).error().code == ENOENT);
    REQUIRE(node.shim.deallocate(node.now, ours));
    CHECK(node.shim.deallocate(node.now, ours).error().code == ENOENT);
    CHECK_FALSE(node.shim.target_for(ours));
    CHECK(node.out.empty());
}

TEST_CASE("answers are for those that asked, and for no other name") {
    Node node;
    REQUIRE(node.shim.register_app(node.now, named("a")));
    REQUIRE(node.shim.allocate(node.now, named("x"), named("b"), 1));
    node.out.clear();
    node.shim.on_resolved(node.now, named("c"), kTheirs);
    node.shim.on_unresolved(node.now, named("c"), "no such host");
    node.shim.on_named(node.now, kTheirs, named("c"));
    CHECK(node.out.empty());
    // A flow to a name that is being registered here asks for it no second time.
    REQUIRE(node.shim.allocate(node.now, named("x"), named("a"), 2));
    CHECK(node.out.empty());
    node.shim.on_unresolved(node.now, named("a"), "no such host");
    CHECK(node.taken<AppFailed>().size() == 1);
    REQUIRE(node.taken<FlowFailed>().size() == 1);
    CHECK(node.taken<FlowFailed>()[0].cookie == 2);
}

TEST_CASE("a name is registered while a flow to it is looked for: one question") {
    Node node;
    REQUIRE(node.shim.allocate(node.now, named("x"), named("a"), 1));
    CHECK(node.only<Resolve>().name == named("a"));
    REQUIRE(node.shim.register_app(node.now, named("a")));
    CHECK(node.out.empty());
    node.shim.on_resolved(node.now, named("a"), kOurs);
    CHECK(node.taken<OpenSocket>().size() == 2);
}

TEST_CASE("the peers that wait at one address, named at once, and those at another") {
    Node node;
    const SocketId listener = node.listen();
    const IpAddress other = IpAddress::v4(0x0a000003);
    REQUIRE(node.gets(listener, {kTheirs, 50000}).kind == Kind::hold);
    REQUIRE(node.gets(listener, {kTheirs, 50001}).kind == Kind::hold);
    REQUIRE(node.gets(listener, {other, 50000}).kind == Kind::hold);
    CHECK(node.taken<ResolveAddress>().size() == 2);
    const auto opened = node.taken<OpenSocket>();
    REQUIRE(opened.size() == 3);
    node.out.clear();
    node.shim.on_named(node.now, kTheirs, named("b"));
    node.shim.on_named(node.now, kTheirs, named("c"));  // the first answer counts
    for (const OpenSocket& one : opened) node.shim.on_socket(node.now, one.socket);
    const auto asked = node.taken<FlowRequested>();
    REQUIRE(asked.size() == 2);
    CHECK(asked[0].remote == named("b"));
    CHECK(asked[1].remote == named("b"));
    node.shim.on_unnamed(node.now, other);
    CHECK(node.taken<FlowRequested>().size() == 3);
}

TEST_CASE("a link that goes down ends what is looked for, in each step") {
    Node node;
    REQUIRE(node.shim.allocate(node.now, named("a"), named("b"), 1));
    REQUIRE(node.shim.allocate(node.now, named("a"), named("c"), 2));
    node.shim.on_resolved(node.now, named("c"), kTheirs);
    node.out.clear();
    node.shim.set_link(node.now, true);  // as it was
    CHECK(node.out.empty());
    node.shim.set_link(node.now, false);
    REQUIRE(node.taken<FlowFailed>().size() == 2);
    CHECK(node.taken<FlowFailed>()[0].text == "the link went down while b was looked for");
    CHECK(node.taken<FlowFailed>()[1].reason == Reason::link_down);
    CHECK(node.taken<CloseSocket>().size() == 1);
    CHECK(node.shim.next_deadline().is_never());
}

TEST_CASE("a flow that is silent is told of once, whatever the link does") {
    Config config;
    config.inactivity = Duration::seconds(30);
    Node node(config);
    node.open();
    node.pass(Duration::seconds(30));
    CHECK(node.only<FlowDown>().why == Reason::peer_unresponsive);
    node.shim.set_link(node.now, false);
    node.shim.set_link(node.now, true);
    CHECK(node.out.empty());
    Node down(config);
    down.open();
    down.shim.set_link(down.now, false);
    CHECK(down.only<FlowDown>().why == Reason::link_down);
    down.pass(Duration::seconds(30));
    CHECK(down.out.empty());
}

TEST_CASE("a socket that is not opened in time registers no name") {
    Node node;
    REQUIRE(node.shim.register_app(node.now, named("a")));
    node.shim.on_resolved(node.now, named("a"), kOurs);
    node.out.clear();
    node.pass(Duration::seconds(5));
    REQUIRE(node.taken<AppFailed>().size() == 1);
    CHECK(node.taken<AppFailed>()[0].text ==
          "a could not be registered: its socket was not opened within 5 s");
    CHECK(node.taken<CloseSocket>().size() == 1);
    CHECK(node.shim.sockets() == 0);
}

TEST_CASE("a socket that opens twice, fails after it was open, or is nobody's") {
    Node node;
    const SocketId listener = node.listen();
    node.shim.on_socket(node.now, listener);
    node.shim.on_socket(node.now, SocketId{99});
    node.shim.on_socket_failed(node.now, SocketId{99}, "no such socket");
    CHECK(node.out.empty());
    const FlowHandle flow = node.open();
    node.shim.on_socket_failed(node.now, node.socket_of(flow), "unreachable");
    CHECK(node.out.empty());
    CHECK(node.shim.target_for(flow));
}

TEST_CASE("times that no shim can wait") {
    const auto wrong = [](auto change) {
        Config config;
        change(config);
        const auto checked = Shim::check(config);
        return checked ? "" : checked.error().message;
    };
    CHECK(wrong([](Config&) {}).empty());
    CHECK(wrong([](Config& c) { c.flow_del_wait = c.inactivity = {}; }).empty());
    for (const auto change :
         {+[](Config& c) { c.flow_del_wait = Duration{-1}; },
          +[](Config& c) { c.answer_wait = {}; }, +[](Config& c) { c.accept_wait = {}; },
          +[](Config& c) { c.inactivity = Duration{-1}; }})
        CHECK(wrong(change) == "the shim's waiting times must be positive");
}

}  // namespace sluice::shim_udp
