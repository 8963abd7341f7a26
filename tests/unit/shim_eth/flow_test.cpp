#include "support.hpp"

using namespace sluice;
using namespace sluice::shim_eth;

namespace {

rina::AppName process(std::string text) {
    rina::AppName name;
    name.process = std::move(text);
    return name;
}

}  // namespace

TEST_CASE("a flow is allocated when the name is resolved, and carries SDUs both ways") {
    Node node;
    const FlowHandle flow = node.open();
    const Header header = node.shim.header_for(flow);
    const Bytes expected = frame_of(kTheirs, kOurs, 0xd1f0, {});
    CHECK(Bytes(header.view().begin(), header.view().end()) == expected);
    const Verdict verdict = node.gets(data_of(kTheirs, 28));
    CHECK(verdict.kind == Kind::data);
    CHECK(verdict.flow == flow);
    CHECK(verdict.offset == 14);
    CHECK(verdict.length == 28);
    CHECK(node.out.empty());
}

TEST_CASE("no header before the name is resolved, after the flow is closed, or for a stranger") {
    Node node;
    const auto flow = node.shim.allocate(node.now, named("a"), named("b"), 1);
    CHECK(node.shim.header_for(*flow).size == 0);
    CHECK(node.shim.header_for(FlowHandle{99}).size == 0);
    node.out.clear();
    node.gets(reply_of(kTheirs, "b", "a"));
    CHECK(node.shim.header_for(*flow).size == 14);
    REQUIRE(node.shim.deallocate(node.now, *flow));
    CHECK(node.shim.header_for(*flow).size == 0);
}

TEST_CASE("asking is repeated every two seconds and has an end") {
    Node node;
    const auto flow = node.shim.allocate(node.now, named("a"), named("b"), 5);
    REQUIRE(flow);
    for (int i = 0; i < 5; ++i) {
        CHECK(node.only<SendFrame>().bytes == request_of(kOurs, "a", "b"));
        CHECK(node.shim.next_deadline() == node.now + Duration::seconds(2));
        node.shim.on_timeout(node.shim.next_deadline() - Duration::nanoseconds(1));
        CHECK(node.out.empty());
        node.now = node.shim.next_deadline();
        node.shim.on_timeout(node.now);
    }
    const auto failed = node.only<FlowFailed>();
    CHECK(failed.flow == *flow);
    CHECK(failed.cookie == 5);
    CHECK(failed.reason == Reason::timed_out);
    CHECK(failed.text == "nobody on this link has the name b: asked 5 times, 2 s apart");
    CHECK(node.shim.flows() == 0);
    CHECK(node.shim.next_deadline().is_never());
    // A reply that comes now is one that nobody waits for.
    CHECK(node.drops(reply_of(kTheirs, "b", "a")) == Drop::unsolicited);
}

TEST_CASE("a shim that was not called for a while does not catch up in a burst") {
    Node node;
    REQUIRE(node.shim.allocate(node.now, named("a"), named("b"), 5));
    node.out.clear();
    node.now = node.now + Duration::seconds(7);
    node.shim.on_timeout(node.now);
    node.only<SendFrame>();
    CHECK(node.shim.next_deadline() == node.now + Duration::seconds(2));
}

TEST_CASE("two stations have one flow between them") {
    Node node;
    const FlowHandle flow = node.open("b.IPCP");
    const auto second = node.shim.allocate(node.now, named("c"), named("b.IPCP"), 1);
    REQUIRE_FALSE(second);
    CHECK(second.error().code == EBUSY);
    CHECK(node.out.empty());
    // The same station under another name: known when it answers.
    const auto third = node.shim.allocate(node.now, named("a.IPCP"), named("x.DIF"), 9);
    REQUIRE(third);
    node.out.clear();
    node.gets(reply_of(kTheirs, "x.DIF", "a.IPCP"));
    const auto failed = node.only<FlowFailed>();
    CHECK(failed.flow == *third);
    CHECK(failed.reason == Reason::busy);
    // By now it is known beforehand.
    const auto fourth = node.shim.allocate(node.now, named("a.IPCP"), named("x.DIF"), 9);
    REQUIRE_FALSE(fourth);
    CHECK(fourth.error().code == EBUSY);
    CHECK(node.gets(data_of(kTheirs)).flow == flow);
    // Other stations are not concerned.
    node.open("c.IPCP", mac_of(3));
    CHECK(node.shim.flows() == 2);
}

TEST_CASE("a closed flow keeps its station busy for a while, and says nothing on the wire") {
    Node node;
    const FlowHandle flow = node.open();
    REQUIRE(node.shim.deallocate(node.now, flow));
    CHECK(node.out.empty());
    CHECK(node.drops(data_of(kTheirs)) == Drop::closed);
    CHECK(node.shim.deallocate(node.now, flow).error().code == ENOENT);
    node.pass(Duration::milliseconds(3999));
    CHECK(node.shim.allocate(node.now, named("a"), named("b.IPCP"), 1).error().code == EBUSY);
    node.pass(Duration::milliseconds(1));
    CHECK(node.shim.flows() == 0);
    // The name is still known: the next flow is there at once, and no frame is sent.
    const auto next = node.shim.allocate(node.now, named("a.IPCP"), named("b.IPCP"), 3);
    REQUIRE(next);
    CHECK(node.only<FlowAllocated>().flow == *next);
    CHECK(node.gets(data_of(kTheirs)).flow == *next);
}

TEST_CASE("the first frame asks for a flow to the name that the peer resolved") {
    Node node;
    REQUIRE(node.shim.register_app(named("first")));
    REQUIRE(node.shim.register_app(named("a.IPCP")));
    CHECK(node.gets(request_of(kTheirs, "b.IPCP", "a.IPCP")).kind == Kind::control);
    CHECK(node.only<SendFrame>().bytes == reply_of(kOurs, "a.IPCP", "b.IPCP", kTheirs));
    CHECK(node.shim.flows() == 0);
    const Verdict first = node.gets(data_of(kTheirs));
    CHECK(first.kind == Kind::hold);
    CHECK(first.offset == 14);
    CHECK(first.length == 10);
    const auto requested = node.only<FlowRequested>();
    CHECK(requested.flow == first.flow);
    CHECK(requested.local == named("a.IPCP"));
    CHECK(requested.remote == named("b.IPCP"));
    CHECK(node.shim.header_for(first.flow).size == 0);
    REQUIRE(node.shim.accept(node.now, first.flow));
    CHECK_FALSE(node.shim.accept(node.now, first.flow));
    CHECK(node.gets(data_of(kTheirs)).kind == Kind::data);
    CHECK(node.shim.header_for(first.flow).size == 14);
    CHECK(node.shim.next_deadline().is_never());
    CHECK(node.shim.allocate(node.now, named("a"), named("b.IPCP"), 1).error().code == EBUSY);
}

TEST_CASE("only so many frames wait for accept()") {
    Node node;
    REQUIRE(node.shim.register_app(named("a.IPCP")));
    const FlowHandle flow = node.asked().flow;
    for (unsigned i = 1; i < kHoldMax; ++i) CHECK(node.gets(data_of(kTheirs)).kind == Kind::hold);
    CHECK(node.drops(data_of(kTheirs)) == Drop::hold_full);
    REQUIRE(node.shim.accept(node.now, flow));
    CHECK(node.gets(data_of(kTheirs)).kind == Kind::data);
}

TEST_CASE("a refused flow stays away for a while, then may be asked for again") {
    Node node;
    REQUIRE(node.shim.register_app(named("a.IPCP")));
    const FlowHandle flow = node.asked().flow;
    REQUIRE(node.shim.refuse(node.now, flow));
    CHECK_FALSE(node.shim.refuse(node.now, flow));
    CHECK(node.drops(data_of(kTheirs)) == Drop::closed);
    node.pass(Duration::seconds(4));
    // rlite asks no second time for a name that it has resolved.
    CHECK(node.gets(data_of(kTheirs)).kind == Kind::hold);
    CHECK(node.only<FlowRequested>().flow != flow);
}

TEST_CASE("a request that nobody answers is withdrawn") {
    Node node;
    REQUIRE(node.shim.register_app(named("a.IPCP")));
    const FlowHandle flow = node.asked().flow;
    node.pass(Duration::seconds(10));
    const auto failed = node.only<FlowFailed>();
    CHECK(failed.flow == flow);
    CHECK(failed.reason == Reason::timed_out);
    CHECK_FALSE(node.shim.accept(node.now, flow));
    node.pass(Duration::seconds(4));
    CHECK(node.shim.flows() == 0);
}

TEST_CASE("a name that is unregistered takes its requests along, but not its flows") {
    Node node;
    REQUIRE(node.shim.register_app(named("a.IPCP")));
    const FlowHandle flow = node.asked().flow;
    REQUIRE(node.shim.accept(node.now, flow));
    const FlowHandle waiting = node.asked(mac_of(3), "c.IPCP").flow;
    REQUIRE(node.shim.unregister_app(node.now, named("a.IPCP")));
    const auto failed = node.only<FlowFailed>();
    CHECK(failed.flow == waiting);
    CHECK(failed.reason == Reason::unregistered);
    CHECK(node.gets(data_of(kTheirs)).flow == flow);
    CHECK(node.drops(request_of(mac_of(4), "d", "a.IPCP")) == Drop::not_registered);
    node.pass(Duration::seconds(4));
    CHECK(node.drops(data_of(mac_of(3))) == Drop::unregistered);
}

TEST_CASE("the peer that we asked may begin the next flow, if our name is registered") {
    Node node;
    REQUIRE(node.shim.register_app(named("a.IPCP")));
    REQUIRE(node.shim.deallocate(node.now, node.open()));
    node.pass(Duration::seconds(4));
    CHECK(node.gets(data_of(kTheirs)).kind == Kind::hold);
    const auto requested = node.only<FlowRequested>();
    CHECK(requested.local == named("a.IPCP"));
    CHECK(requested.remote == named("b.IPCP"));
}

TEST_CASE("when both ends allocate, they get one flow") {
    Node node;
    REQUIRE(node.shim.register_app(named("a.IPCP")));
    const auto flow = node.shim.allocate(node.now, named("a.IPCP"), named("b.IPCP"), 4);
    node.gets(request_of(kTheirs, "b.IPCP", "a.IPCP"));
    node.out.clear();
    // Theirs is allocated first, and data overtakes our reply.
    const Verdict verdict = node.gets(data_of(kTheirs));
    CHECK(verdict.kind == Kind::data);
    CHECK(verdict.flow == *flow);
    CHECK(node.only<FlowAllocated>().cookie == 4);
    CHECK(node.drops(reply_of(kTheirs, "b.IPCP", "a.IPCP")) == Drop::unsolicited);
    CHECK(node.drops(reply_of(mac_of(3), "b.IPCP", "a.IPCP")) == Drop::conflict);
}

TEST_CASE("a link that goes down keeps flows and fails what is under way") {
    Node node;
    const FlowHandle flow = node.open();
    const auto other = node.shim.allocate(node.now, named("a"), named("c"), 8);
    node.out.clear();
    node.shim.set_link(node.now, false);
    REQUIRE(node.taken<FlowDown>().size() == 1);
    CHECK(node.taken<FlowDown>()[0].flow == flow);
    REQUIRE(node.taken<FlowFailed>().size() == 1);
    CHECK(node.taken<FlowFailed>()[0].flow == *other);
    CHECK(node.taken<FlowFailed>()[0].reason == Reason::link_down);
    node.out.clear();
    CHECK(node.shim.header_for(flow).size == 0);
    CHECK(node.drops(data_of(kTheirs)) == Drop::link_down);
    CHECK(node.shim.allocate(node.now, named("a"), named("d"), 1).error().code == ENETDOWN);
    node.shim.set_link(node.now, false);
    CHECK(node.out.empty());
    node.shim.set_link(node.now, true);
    CHECK(node.only<FlowUp>().flow == flow);
    CHECK(node.gets(data_of(kTheirs)).flow == flow);
    CHECK(node.shim.header_for(flow).size == 14);
}

TEST_CASE("an allocation may be given up while the name is looked for") {
    Node node;
    const auto flow = node.shim.allocate(node.now, named("a"), named("b"), 1);
    node.out.clear();
    REQUIRE(node.shim.deallocate(node.now, *flow));
    CHECK(node.shim.flows() == 0);
    CHECK(node.drops(reply_of(kTheirs, "b", "a")) == Drop::unsolicited);
}

TEST_CASE("SDUs are as long as the MTU says, jumbo frames too") {
    Config config = config_of(kOurs);
    config.mtu = 9000;
    Node node(config);
    node.open();
    CHECK(node.shim.max_sdu() == 9000);
    CHECK(node.gets(data_of(kTheirs, 9000)).length == 9000);
    CHECK(node.drops(data_of(kTheirs, 9001)) == Drop::too_long);
    Node small;
    small.open();
    CHECK(small.gets(data_of(kTheirs, 1500)).length == 1500);
    CHECK(small.drops(data_of(kTheirs, 1501)) == Drop::too_long);
}

TEST_CASE("names and configurations that are not possible are refused in one sentence") {
    Node node;
    CHECK_FALSE(node.shim.register_app({}));
    CHECK_FALSE(node.shim.register_app(process("a|b")));
    CHECK_FALSE(node.shim.register_app(process(std::string(256, 'x'))));
    CHECK(node.shim.register_app(process(std::string(255, 'x'))));
    CHECK(node.shim.register_app(named(std::string(255, 'x'))).error().code == EEXIST);
    for (std::size_t i = 1; i < kAppsMax; ++i)
        CHECK(node.shim.register_app(named("app" + std::to_string(i))));
    CHECK(node.shim.register_app(named("more")).error().code == ENOSPC);
    CHECK(node.shim.unregister_app(node.now, named("other")).error().code == ENOENT);
    CHECK_FALSE(node.shim.allocate(node.now, {}, named("b"), 1));
    CHECK_FALSE(node.shim.allocate(node.now, named("b"), process("a\n"), 1));
    const auto wrong = [](auto change) {
        Config config = config_of(kOurs);
        change(config);
        const auto result = Shim::check(config);
        return !result && !result.error().message.empty();
    };
    CHECK(wrong([](Config& c) { c.mac = {}; }));
    CHECK(wrong([](Config& c) { c.mac = rina::kBroadcastMac; }));
    CHECK(wrong([](Config& c) { c.mtu = 67; }));
    CHECK(wrong([](Config& c) { c.vlan = 4095; }));
    CHECK(wrong([](Config& c) { c.priority = 8; }));
    CHECK(wrong([](Config& c) { c.ask_tries = 0; }));
    CHECK(wrong([](Config& c) { c.cache_age = {}; }));
}
