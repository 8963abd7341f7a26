#include "base/rng.hpp"
#include "support.hpp"

using namespace sluice;
using namespace sluice::shim_eth;

TEST_CASE("a registered name answers for itself, and by rlite's rule for what begins with it") {
    Node node;
    REQUIRE(node.shim.register_app(named("a")));
    REQUIRE(node.shim.register_app(named("a.IPCP")));
    CHECK(node.drops(request_of(kTheirs, "b", "b")) == Drop::not_registered);
    CHECK(node.shim.peers() == 0);
    node.gets(request_of(kTheirs, "b", "a.IPCP|1"));
    CHECK(node.only<SendFrame>().bytes == reply_of(kOurs, "a.IPCP", "b", kTheirs));
    node.gets(request_of(kTheirs, "b", "a.I"));
    CHECK(node.only<SendFrame>().bytes == reply_of(kOurs, "a", "b", kTheirs));
    // The last name that it asked for counts.
    node.gets(data_of(kTheirs));
    CHECK(node.only<FlowRequested>().local == named("a"));
}

TEST_CASE("a reply by rlite's rule comes in the name that matched") {
    Node node;
    const auto flow = node.shim.allocate(node.now, named("a"), named("b.IPCP|1"), 1);
    const auto exact = node.shim.allocate(node.now, named("a"), named("b.IPCP"), 2);
    node.out.clear();
    node.gets(reply_of(kTheirs, "b.IPCP", "a"));
    CHECK(node.only<FlowAllocated>().flow == *exact);
    node.gets(reply_of(mac_of(3), "b.IPCP", "a"));
    CHECK(node.only<FlowAllocated>().flow == *flow);
}

TEST_CASE("replies that nobody waits for change nothing") {
    Node node;
    CHECK(node.drops(reply_of(kTheirs, "b", "a")) == Drop::unsolicited);
    const auto flow = node.shim.allocate(node.now, named("a"), named("b"), 1);
    node.out.clear();
    CHECK(node.drops(reply_of(kTheirs, "c", "a")) == Drop::unsolicited);
    CHECK(node.drops(reply_of(kTheirs, "bb", "a")) == Drop::unsolicited);
    CHECK(node.drops(reply_of(kTheirs, "b", "x")) == Drop::unsolicited);
    CHECK(node.drops(arp_frame({RinaArp::Operation::reply, kTheirs, "b", mac_of(9), "a"}, kOurs)) ==
          Drop::unsolicited);
    CHECK(node.drops(arp_frame({RinaArp::Operation::reply, kTheirs, "b", kOurs, "a"},
                               rina::kBroadcastMac)) == Drop::unsolicited);
    CHECK(node.shim.cached() == 0);
    CHECK(node.shim.peers() == 0);
    node.gets(reply_of(kTheirs, "b", "a"));
    CHECK(node.only<FlowAllocated>().flow == *flow);
}

TEST_CASE("a second station with the same name is counted and not believed") {
    Node node;
    REQUIRE(node.shim.register_app(named("a.IPCP")));
    const FlowHandle flow = node.open();
    CHECK(node.drops(reply_of(mac_of(3), "b.IPCP", "a.IPCP")) == Drop::conflict);
    CHECK(node.shim.conflicts() == 1);
    node.gets(request_of(mac_of(3), "b.IPCP", "a.IPCP"));
    CHECK(node.shim.conflicts() == 2);
    node.out.clear();
    CHECK(node.shim.header_for(flow).bytes[5] == std::byte{2});
    CHECK(node.gets(data_of(kTheirs)).flow == flow);
}

TEST_CASE("names are forgotten when they are old, and asked for again while in use") {
    Node node;
    const FlowHandle flow = node.open();
    const Instant learned = node.now;
    CHECK(node.shim.next_deadline() == learned + Duration::seconds(120));
    node.pass(Duration::seconds(120));
    CHECK(node.only<SendFrame>().bytes == request_of(kOurs, "a.IPCP", "b.IPCP"));
    CHECK(node.gets(reply_of(kTheirs, "b.IPCP", "a.IPCP")).kind == Kind::control);
    CHECK(node.out.empty());
    CHECK(node.drops(reply_of(kTheirs, "b.IPCP", "a.IPCP")) == Drop::unsolicited);
    node.pass(Duration::seconds(120));
    node.only<SendFrame>();
    CHECK(node.shim.cached() == 1);
    // No answer: the flow stays, the name goes.
    node.pass(Duration::seconds(2));
    CHECK(node.shim.cached() == 0);
    CHECK(node.gets(data_of(kTheirs)).flow == flow);
    REQUIRE(node.shim.deallocate(node.now, flow));
    node.pass(Duration::seconds(4));
    node.open();
    REQUIRE(node.shim.deallocate(node.now, FlowHandle{2}));
    node.pass(Duration::seconds(200));
    CHECK(node.shim.cached() == 0);
    CHECK(node.out.empty());
    CHECK(node.shim.next_deadline().is_never());
}

TEST_CASE("the name of a station that was silent when its flow ended is asked for again") {
    Node node;
    const FlowHandle first = node.open();
    node.pass(Duration::seconds(9));
    CHECK(node.gets(data_of(kTheirs)).flow == first);
    node.pass(Duration::seconds(9));
    REQUIRE(node.shim.deallocate(node.now, first));
    node.pass(Duration::seconds(4));
    const auto second = node.shim.allocate(node.now, named("a.IPCP"), named("b.IPCP"), 1);
    REQUIRE(second);
    CHECK(node.only<FlowAllocated>().flow == *second);
    node.pass(Duration::seconds(10));
    REQUIRE(node.shim.deallocate(node.now, *second));
    CHECK(node.shim.cached() == 0);
    node.pass(Duration::seconds(4));
    // It has come back with another address.
    const FlowHandle third = node.open("b.IPCP", mac_of(3));
    CHECK(node.shim.header_for(third).bytes[5] == std::byte{3});
}

TEST_CASE("frames on a VLAN have its tag, and only those are taken") {
    Config config = config_of(kOurs);
    config.vlan = 110;
    config.priority = 5;
    Node node(config);
    REQUIRE(node.shim.register_app(named("a")));
    const auto tagged = [](Bytes frame, std::uint16_t tag) {
        const Bytes bytes = {std::byte{0x81}, std::byte{0}, static_cast<std::byte>(tag >> 8),
                             static_cast<std::byte>(tag & 0xff)};
        frame.insert(frame.begin() + 12, bytes.begin(), bytes.end());
        return frame;
    };
    const Bytes asks = request_of(kTheirs, "b", "a");
    CHECK(node.drops(asks) == Drop::other_vlan);
    CHECK(node.drops(tagged(asks, 111)) == Drop::other_vlan);
    CHECK(node.drops(tagged(asks, 0)) == Drop::other_vlan);
    CHECK(node.gets(tagged(asks, 0xe000 | 110)).kind == Kind::control);
    CHECK(node.only<SendFrame>().bytes ==
          tagged(reply_of(kOurs, "a", "b", kTheirs), (5 << 13) | 110));
    const Verdict verdict = node.gets(tagged(data_of(kTheirs), 110));
    CHECK(verdict.offset == 18);
    CHECK(verdict.length == 10);
    REQUIRE(node.shim.accept(node.now, verdict.flow));
    CHECK(node.shim.header_for(verdict.flow).size == 18);
    // Two tags: the inner one is nothing that we know.
    CHECK(node.gets(tagged(tagged(asks, 110), 110)).drop == Drop::other_type);
    Node plain;
    REQUIRE(plain.shim.register_app(named("a")));
    CHECK(plain.drops(tagged(asks, 110)) == Drop::other_vlan);
    CHECK(plain.gets(tagged(asks, 0xe000)).kind == Kind::control);
}

TEST_CASE("frames that are none of ours are dropped, each for its reason") {
    Node node;
    REQUIRE(node.shim.register_app(named("a")));
    const Bytes data = data_of(kTheirs);
    for (std::size_t size = 0; size < 14; ++size)
        CHECK(node.drops(Bytes(data.begin(), data.begin() + static_cast<long>(size))) ==
              Drop::too_short);
    CHECK(node.drops(data) == Drop::unknown_station);
    CHECK(node.drops(frame_of(kOurs, kTheirs, 0x0800, Bytes(40))) == Drop::other_type);
    CHECK(node.drops(frame_of(mac_of(8), kTheirs, 0xd1f0, Bytes(40))) == Drop::not_for_us);
    CHECK(node.drops(frame_of(rina::kBroadcastMac, kTheirs, 0xd1f0, Bytes(40))) ==
          Drop::not_for_us);
    CHECK(node.drops(data_of(kOurs)) == Drop::bad_source);
    CHECK(node.drops(data_of(rina::kBroadcastMac)) == Drop::bad_source);
    CHECK(node.drops(request_of(kOurs, "b", "a")) == Drop::bad_source);
    Bytes forged = request_of(kTheirs, "b", "a");
    forged[11] = std::byte{9};
    CHECK(node.drops(forged) == Drop::forged_arp);
    Bytes ipv4 = request_of(kTheirs, "b", "a");
    ipv4[16] = std::byte{8};
    ipv4[17] = std::byte{0};
    CHECK(node.drops(ipv4) == Drop::other_type);
    CHECK(node.drops(request_of(kTheirs, "b\n", "a")) == Drop::bad_arp);
    CHECK(node.drops(request_of(kTheirs, "b|1|2|3|4", "a")) == Drop::bad_arp);
    CHECK(node.drops(request_of(kTheirs, "|1", "a")) == Drop::bad_arp);
    const Bytes whole = request_of(kTheirs, "b", "a");
    for (std::size_t size = 14; size < whole.size(); ++size)
        CHECK(node.drops(Bytes(whole.begin(), whole.begin() + static_cast<long>(size))) !=
              Drop::none);
    CHECK(node.shim.peers() == 0);
    CHECK(node.gets(whole).kind == Kind::control);
    node.out.clear();
    CHECK(node.drops(data_of(kTheirs, 0)) == Drop::empty);
}

TEST_CASE("one station cannot ask faster than the limit, and others are not concerned") {
    Node node;
    REQUIRE(node.shim.register_app(named("a")));
    unsigned answered = 0;
    for (int i = 0; i < 1000; ++i)
        answered += node.gets(request_of(kTheirs, "b", "a")).kind == Kind::control ? 1 : 0;
    // The first one of all was a stranger's.
    CHECK(answered == kAskBurst + 1);
    CHECK(node.shim.dropped(Drop::ask_rate) == 1000 - answered);
    CHECK(node.gets(request_of(mac_of(3), "c", "a")).kind == Kind::control);
    node.pass(kAskGap);
    CHECK(node.gets(request_of(kTheirs, "b", "a")).kind == Kind::control);
    CHECK(node.gets(request_of(kTheirs, "b", "a")).drop == Drop::ask_rate);
}

TEST_CASE("a flood of requests from forged stations has bounds, and flows outlive it") {
    Node node;
    REQUIRE(node.shim.register_app(named("a.IPCP")));
    const FlowHandle flow = node.open();
    unsigned answered = 0;
    for (std::uint32_t i = 0; i < 100000; ++i) {
        answered +=
            node.gets(request_of(mac_of(100 + i), "x", "a.IPCP")).kind == Kind::control ? 1 : 0;
        node.out.clear();
        node.pass(Duration::microseconds(100));
    }
    // 10 s of it.
    CHECK(answered <= 1000 + kStrangerBurst);
    CHECK(answered >= 1000);
    CHECK(node.shim.peers() <= kPeersMax);
    CHECK(node.gets(data_of(kTheirs)).flow == flow);
}

TEST_CASE("only so many flows wait for being accepted") {
    Node node;
    REQUIRE(node.shim.register_app(named("a")));
    for (std::uint32_t i = 0; i < kRequestsMax; ++i) {
        node.asked(mac_of(100 + i), "x" + std::to_string(i), "a");
        node.pass(kStrangerGap);
    }
    node.gets(request_of(kTheirs, "b", "a"));
    node.out.clear();
    CHECK(node.drops(data_of(kTheirs)) == Drop::request_limit);
    REQUIRE(node.shim.refuse(node.now, FlowHandle{1}));
    CHECK(node.gets(data_of(kTheirs)).kind == Kind::hold);
    // A refused one counts no longer; the others end by themselves.
    node.pass(Duration::seconds(14));
    CHECK(node.shim.flows() == 0);
}

TEST_CASE("a full table gives the place of the one that was silent the longest") {
    Node node;
    REQUIRE(node.shim.register_app(named("a")));
    for (std::uint32_t i = 0; i < kPeersMax; ++i) {
        node.gets(request_of(mac_of(100 + i), "x", "a"));
        node.pass(kStrangerGap);
    }
    CHECK(node.shim.peers() == kPeersMax);
    node.gets(request_of(mac_of(100), "x", "a"));
    node.gets(request_of(kTheirs, "b", "a"));
    node.out.clear();
    CHECK(node.shim.peers() == kPeersMax);
    CHECK(node.drops(data_of(mac_of(101))) == Drop::unknown_station);
    CHECK(node.gets(data_of(mac_of(100))).kind == Kind::hold);
    CHECK(node.gets(data_of(kTheirs)).kind == Kind::hold);
}
