// Flows of profile sluice, and each weakness of the older shim as a sequence that must not end
// the way it did there.

#include <catch2/catch.hpp>

#include "pair.hpp"

using namespace sluice;
using namespace sluice::test;
using Events = std::vector<std::string>;
using vmpi::Type;

namespace {

struct Ready : Pair {
    Ready() {
        REQUIRE(a.shim.register_app(*AppName::parse("host")));
        REQUIRE(b.shim.register_app(*AppName::parse("guest")));
        link_up();
        a.take_events();
        b.take_events();
    }
    std::uint32_t channel_of_first(End& end) { return end.channel_of.begin()->second; }
    vmpi::Message last(const End& end, std::size_t back = 0) {
        vmpi::Message m;
        const Bytes& frame = end.wire.at(end.wire.size() - 1 - back);
        REQUIRE(vmpi::parse(std::span(frame).subspan(4), m) == vmpi::ParseError::none);
        return m;
    }
    // A message that the peer of `to` might have sent, with epochs that are right.
    void say(End& to, vmpi::Message m) {
        m.epoch = to.shim.info().peer_epoch;
        m.peer_epoch = to.shim.info().own_epoch;
        std::array<std::byte, 600> bytes{};
        const std::size_t size = vmpi::encode(m, bytes);
        REQUIRE(size > 0);
        to.shim.on_control(now, std::span(bytes).first(size), to.out);
        to.carry_out();
    }
};

}  // namespace

TEST_CASE("a flow is allocated, carries data both ways and ends", "[flow]") {
    Ready t;
    const auto flow = t.allocate(t.a, "client/1", "guest", 7);
    REQUIRE(flow);
    t.settle();
    CHECK(t.b.take_events() == Events{"requested client/1 guest"});
    t.accept(t.b, t.b.requested.back(), 8);
    t.settle();
    CHECK(t.a.take_events() == Events{"allocated"});
    CHECK(t.b.take_events() == Events{"allocated"});
    for (std::size_t size : {0, 1, 9, 10, 11, 9000}) {
        REQUIRE(t.send(t.a, *flow, Bytes(size, std::byte{1})) == VmpiData::Submit::ok);
        REQUIRE(t.send(t.b, t.b.requested.back(), Bytes(size, std::byte{2})) ==
                VmpiData::Submit::ok);
        t.settle();
        CHECK(t.b.received.back() == std::make_pair(8u, Bytes(size, std::byte{1})));
        CHECK(t.a.received.back() == std::make_pair(7u, Bytes(size, std::byte{2})));
    }
    t.deallocate(t.b, t.b.requested.back());
    t.settle();
    CHECK(t.a.take_events() == Events{"deallocated: closed by the peer"});
    CHECK(t.a.shim.info().flows.empty());
    CHECK(t.b.shim.info().flows.empty());
    CHECK(t.a.channel_of.empty());
    CHECK(t.b.channel_of.empty());
    CHECK(t.a.drops.empty());
    CHECK(t.b.drops.empty());
}

TEST_CASE("each single loss of an allocation and its end is healed", "[flow]") {
    for (int lost = 0; lost < 8; ++lost) {
        Ready t;
        int seen = 0;
        t.lose = [&](const Bytes& frame) {
            return vmpi::load_le32(frame.data()) == 0 && seen++ == lost;
        };
        const auto flow = t.allocate(t.a, "client", "guest", 7);
        REQUIRE(flow);
        t.advance(Duration::milliseconds(300));
        REQUIRE(t.b.requested.size() == 1);
        t.accept(t.b, t.b.requested.back(), 8);
        t.advance(Duration::seconds(3));
        CHECK(t.a.take_events() == Events{"allocated"});
        t.send(t.a, *flow, Bytes(50));
        t.advance(Duration::seconds(1));
        t.deallocate(t.a, *flow);
        t.advance(Duration::seconds(3));
        CHECK(t.a.shim.info().flows.empty());
        CHECK(t.b.shim.info().flows.empty());
        CHECK(t.b.requested.size() == 1);
    }
}

TEST_CASE("refusals say why", "[flow]") {
    Ready t;
    REQUIRE(t.allocate(t.a, "client", "nobody", 7));
    t.settle();
    CHECK(t.a.take_events() == Events{"failed: no such application"});
    REQUIRE(t.allocate(t.a, "client", "guest", 7));
    t.settle();
    REQUIRE(t.b.shim.refuse(t.now, t.b.requested.back(), Reason::refused, t.b.out));
    CHECK_FALSE(t.b.shim.refuse(t.now, t.b.requested.back(), Reason::refused, t.b.out));
    t.settle();
    CHECK(t.a.take_events() == Events{"failed: refused by the application"});
    CHECK(t.a.channel_of.empty());
    const auto info = t.b.shim.info();
    CHECK(info.counters.refused_to_peer[1] == 1);
    CHECK(info.counters.refused_to_peer[2] == 1);
}

TEST_CASE("an application that does not answer refuses in the end", "[flow]") {
    Ready t;
    REQUIRE(t.allocate(t.a, "client", "guest", 7));
    t.advance(Duration::seconds(6));
    CHECK(t.a.take_events().back() == "failed: timed out");
    CHECK(t.b.take_events() == Events{"requested client guest", "failed: timed out"});
    CHECK(t.a.shim.info().flows.empty());
    CHECK(t.b.shim.info().flows.empty());
}

TEST_CASE("at most max_pending requests wait", "[flow]") {
    Params pa = Pair::params(vmpi::Role::backend, 1);
    Params pb = Pair::params(vmpi::Role::frontend, 2);
    pb.max_pending = 2;
    Pair t(pa, pb);
    REQUIRE(t.b.shim.register_app(*AppName::parse("guest")));
    t.link_up();
    t.a.take_events();
    for (int i = 0; i < 3; ++i) REQUIRE(t.allocate(t.a, "client", "guest", 7));
    t.settle();
    CHECK(t.b.requested.size() == 2);
    CHECK(t.a.take_events() == Events{"failed: busy"});
}

TEST_CASE("unregistering ends the flows of the name and of no other", "[flow]") {
    Ready t;
    REQUIRE(t.b.shim.register_app(*AppName::parse("other")));
    t.open(t.a, t.b, "guest", 1);
    const auto other = t.open(t.a, t.b, "other", 2);
    REQUIRE(t.allocate(t.a, "client", "guest", 3));
    t.settle();
    t.a.take_events();
    t.b.take_events();
    REQUIRE(t.b.shim.unregister_app(t.now, *AppName::parse("guest"), t.b.out));
    CHECK_FALSE(t.b.shim.unregister_app(t.now, *AppName::parse("guest"), t.b.out));
    t.settle();
    CHECK(t.a.take_events() == Events{"deallocated: unregistered", "failed: no such application"});
    CHECK(t.b.take_events() == Events{"deallocated: unregistered", "failed: unregistered"});
    CHECK(t.send(t.a, other.first, Bytes(9)) == VmpiData::Submit::ok);
}

// ---- the weaknesses, one by one -----------------------------------------------------------------

TEST_CASE("1: simultaneous allocations do not collide", "[weakness]") {
    Ready t;
    for (int i = 0; i < 7; ++i) {
        REQUIRE(t.allocate(t.a, "client", "guest", 1));
        REQUIRE(t.allocate(t.b, "client", "host", 1));
    }
    t.settle();
    for (const FlowHandle flow : t.a.requested) t.accept(t.a, flow, 2);
    for (const FlowHandle flow : t.b.requested) t.accept(t.b, flow, 2);
    t.settle();
    CHECK(t.a.channel_of.size() == 14);
    CHECK(t.b.channel_of.size() == 14);
    CHECK(t.b.shim.info().flows.size() == 14);
}

TEST_CASE("2: late messages do not hit the next user of a channel", "[weakness]") {
    Params pa = Pair::params(vmpi::Role::backend, 1);
    Params pb = Pair::params(vmpi::Role::frontend, 2);
    pa.max_channels = pb.max_channels = 2;  // one channel for each end
    Pair t(pa, pb);
    REQUIRE(t.b.shim.register_app(*AppName::parse("guest")));
    t.link_up();
    std::vector<Bytes> old;
    t.lose = [&](const Bytes& frame) {
        old.push_back(frame);
        return false;
    };
    const auto first = t.open(t.a, t.b, "guest", 1);
    t.send(t.a, first.first, Bytes(100, std::byte{1}));
    t.deallocate(t.a, first.first);
    t.settle();
    t.lose = nullptr;
    CHECK_FALSE(t.allocate(t.a, "client", "guest", 3));  // quarantine
    t.advance(Duration::seconds(1));
    const auto second = t.open(t.a, t.b, "guest", 3);
    t.a.take_events();
    t.b.take_events();
    t.a.received.clear();
    t.b.received.clear();
    const std::size_t requests = t.b.requested.size();
    for (const Bytes& frame : old) {
        if (is_control(frame, Type::hello)) continue;
        t.inject(t.a, frame);
        t.inject(t.b, frame);
        t.settle();
    }
    CHECK(t.a.take_events().empty());
    CHECK(t.b.take_events().empty());
    CHECK(t.b.received.empty());
    CHECK(t.b.requested.size() == requests);
    CHECK(t.b.channel_of.size() == 1);
    t.send(t.a, second.first, Bytes(5, std::byte{9}));
    t.settle();
    CHECK(t.b.received.size() == 1);
}

TEST_CASE("3: a restarted peer leaves nothing behind", "[weakness]") {
    Ready t;
    t.open(t.a, t.b, "guest", 1);
    t.open(t.b, t.a, "host", 2);
    t.a.take_events();
    // The guest starts anew: same device, nothing known.
    t.b = End(Pair::params(vmpi::Role::frontend, 77));
    REQUIRE(t.b.shim.register_app(*AppName::parse("guest")));
    t.b.shim.link_up(t.now, t.b.out);
    t.settle();
    CHECK(t.a.take_events() == Events{"deallocated: peer restarted", "deallocated: peer restarted",
                                      "down: peer restarted", "up"});
    CHECK(t.a.channel_of.empty());
    t.open(t.a, t.b, "guest", 3);
}

TEST_CASE("3: an allocation that nobody answers ends", "[weakness]") {
    Ready t;
    REQUIRE(t.allocate(t.a, "client", "guest", 1));
    t.lose = [](const Bytes& frame) {
        return is_control(frame, Type::allocate_req) || is_control(frame, Type::deallocate);
    };
    t.advance(Duration::seconds(6));
    CHECK(t.a.take_events() == Events{"failed: timed out"});
    CHECK(t.a.shim.info().flows.size() == 1);  // not used again before the peer knows
    CHECK(t.a.shim.info().flows[0].state == FlowState::closing);
    t.lose = nullptr;
    t.advance(Duration::seconds(2));
    CHECK(t.a.shim.info().flows.empty());
}

TEST_CASE("4: channels that cannot be are refused and touch nothing", "[weakness]") {
    Ready t;
    const auto flow = t.open(t.a, t.b, "guest", 1);
    t.a.take_events();
    t.b.take_events();
    const std::uint32_t used = t.channel_of_first(t.b);
    for (const std::uint32_t channel : {0u, 17u, 1u, 0xffffffu, 0xffffffffu, 0x80000000u}) {
        vmpi::Message m;
        m.type = Type::allocate_req;
        m.channel = channel;
        m.source = "x";
        m.destination = "guest";
        m.transaction = 5;
        t.say(t.b, m);
        CHECK(t.last(t.b).type == Type::allocate_resp);
        CHECK(t.last(t.b).code == static_cast<std::uint8_t>(Reason::bad_channel));
        for (const Type type : {Type::allocate_pending, Type::allocate_resp, Type::deallocate,
                                Type::deallocate_ack, Type::credit}) {
            m.type = type;
            t.say(t.b, m);
        }
        CHECK(t.last(t.b).type == Type::deallocate_ack);
    }
    // The channel of a living flow, by another transaction.
    vmpi::Message m;
    m.type = Type::allocate_req;
    m.channel = used;
    m.generation = static_cast<std::uint8_t>((t.b.shim.info().flows[0].generation + 1) & 0x7f);
    m.source = "x";
    m.destination = "guest";
    m.transaction = 5;
    t.say(t.b, m);
    CHECK(t.last(t.b).code == static_cast<std::uint8_t>(Reason::channel_in_use));
    t.b.wire.clear();
    CHECK(t.b.take_events().empty());
    t.send(t.a, flow.first, Bytes(20));
    t.settle();
    CHECK(t.b.received.size() == 1);
}

TEST_CASE("6: an SDU that is too long is refused by the sender, at once", "[weakness]") {
    Params pa = Pair::params(vmpi::Role::backend, 1);
    Params pb = Pair::params(vmpi::Role::frontend, 2);
    pa.max_sdu_tx = 9000;
    pb.max_sdu_rx = 4092;
    Pair t(pa, pb);
    REQUIRE(t.b.shim.register_app(*AppName::parse("guest")));
    t.link_up();
    const auto flow = t.open(t.a, t.b, "guest", 1);
    CHECK(t.send(t.a, flow.first, Bytes(4093)) == VmpiData::Submit::too_long);
    CHECK(t.send(t.a, flow.first, Bytes(4092)) == VmpiData::Submit::ok);
    t.settle();
    CHECK(t.b.received.size() == 1);
}

TEST_CASE("7: a full window stops the sender instead of losing", "[weakness]") {
    Ready t;
    const auto flow = t.open(t.a, t.b, "guest", 1);
    int sent = 0;
    while (t.send(t.a, flow.first, Bytes(100)) == VmpiData::Submit::ok) ++sent;
    CHECK(sent == 16);
    t.settle();
    CHECK(t.b.received.size() == 16);
    CHECK(t.send(t.a, flow.first, Bytes(100)) == VmpiData::Submit::ok);
}

TEST_CASE("9: what was not granted is dropped and counted", "[weakness]") {
    Ready t;
    t.open(t.a, t.b, "guest", 1);
    const std::uint32_t channel = t.channel_of_first(t.a);
    Bytes frame(100);
    t.a.data.seal(frame.data(), channel, 96);
    std::size_t accepted = 0;
    for (int i = 0; i < 100; ++i)
        accepted += t.b.data.classify(frame.data(), 100).kind == VerdictKind::data ? 1 : 0;
    CHECK(accepted == 16);
    CHECK(t.b.data.entry(channel).receiver.overrun() == 84);
}

TEST_CASE("10: names that are registered elsewhere are not reachable", "[weakness]") {
    Ready t;
    REQUIRE(t.allocate(t.a, "client", "host", 1));  // known at a, not at b
    t.settle();
    CHECK(t.a.take_events() == Events{"failed: no such application"});
    CHECK(t.b.requested.empty());
}

TEST_CASE("names are limited in number, and must fit", "[flow]") {
    Params p = Pair::params(vmpi::Role::backend, 1);
    p.max_apps = 1;
    Pair t(p, Pair::params(vmpi::Role::frontend, 2));
    REQUIRE(t.a.shim.register_app(*AppName::parse("one")));
    CHECK(t.a.shim.register_app(*AppName::parse("one")).error().code == EEXIST);
    CHECK(t.a.shim.register_app(*AppName::parse("two")).error().code == ENOSPC);
    CHECK(t.allocate(t.a, "x", "y", 0).error().code == ENETDOWN);
    t.link_up();
    AppName long_name;
    long_name.process = std::string(300, 'x');
    CHECK_FALSE(t.a.shim.allocate(t.now, long_name, long_name, 0, t.a.out));
    CHECK(t.a.shim.info().flows.empty());
    CHECK_FALSE(t.a.shim.deallocate(t.now, FlowHandle(9), t.a.out));
    CHECK_FALSE(t.a.shim.accept(t.now, FlowHandle(9), 0, t.a.out));
}

TEST_CASE("a request that is withdrawn while the application thinks", "[flow]") {
    Ready t;
    const auto flow = t.allocate(t.a, "client", "guest", 1);
    t.settle();
    t.deallocate(t.a, *flow);
    t.settle();
    CHECK(t.b.take_events() == Events{"requested client guest", "failed: closed by the peer"});
    CHECK_FALSE(t.b.shim.accept(t.now, t.b.requested.back(), 0, t.b.out));
    CHECK(t.a.shim.info().flows.empty());
}
