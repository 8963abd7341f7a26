#include <catch2/catch.hpp>

#include "pair.hpp"

// Limits, and what comes at the wrong time, in both profiles.

using namespace sluice;
using namespace sluice::test;
using Events = std::vector<std::string>;

namespace {

std::uint64_t drops(const End& end, VmpiDrop reason) {
    return end.shim.counters().drops[static_cast<std::size_t>(reason)];
}

// A guest that speaks irati, and what its host says by hand.
struct Guest {
    explicit Guest(std::uint32_t max_pending = 16) : end(params(max_pending)) {
        REQUIRE(end.shim.register_app(*AppName::parse("guest")));
        end.shim.link_up(now, end.out);
        end.carry_out();
        end.take_events();
    }
    static Params params(std::uint32_t max_pending) {
        Params p = Pair::params(vmpi::Role::frontend, 2, vmpi::Profile::irati);
        p.max_pending = max_pending;
        return p;
    }
    void feed(const std::string& hex) {
        const Bytes bytes = from_hex(hex);
        end.shim.on_control(now, bytes, end.out);
        end.carry_out();
    }
    void wait(Duration time) {
        now = now + time;
        end.shim.on_timeout(now, end.out);
        end.carry_out();
    }
    Result<FlowHandle> allocate() {
        auto flow = end.shim.allocate(now, *AppName::parse("client"), *AppName::parse("x"), 1,
                                      end.out);
        end.carry_out();
        return flow;
    }
    // The message that was sent last, without its channel word and padding of an answer.
    std::string last() const {
        REQUIRE_FALSE(end.wire.empty());
        return to_hex(end.wire.back()).substr(8, 12);
    }

    Instant now{1000000000};
    End end;
};

const char* const kFromPeer = "6100" "67756573742f2f2f00";  // "a" to "guest"

}  // namespace

TEST_CASE("irati: a link that is up or down already changes nothing", "[irati]") {
    Guest g;
    REQUIRE(g.allocate());
    g.end.shim.link_up(g.now, g.end.out);
    g.end.carry_out();
    CHECK(g.end.take_events().empty());
    CHECK(g.end.channel_of.size() == 1);
    for (int i = 0; i < 2; ++i) g.end.shim.link_down(g.now, g.end.out);
    g.end.carry_out();
    CHECK(g.end.take_events() == Events{"failed: link down", "down: link down"});
    g.feed(std::string("0007000000") + kFromPeer);
    CHECK(g.end.take_events().empty());
    CHECK(drops(g.end, VmpiDrop::device_down) == 1);
    const auto flow = g.allocate();
    REQUIRE_FALSE(flow);
    CHECK(flow.error().code == ENETDOWN);
}

TEST_CASE("irati: there are as many flows as channels", "[irati]") {
    Guest g;
    for (int i = 0; i < 8; ++i) REQUIRE(g.allocate());
    const auto flow = g.allocate();
    REQUIRE_FALSE(flow);
    CHECK(flow.error().code == EBUSY);
    CHECK(flow.error().message ==
          "no channel is free: the device has 8, 8 flows use or used them last");
}

TEST_CASE("irati: names that are none make no flow", "[irati]") {
    Guest g;
    g.feed("0007000000" "0100" "67756573742f2f2f00");  // a control character
    CHECK(g.last() == "010700000001");
    CHECK(g.end.shim.counters().refused_to_peer[static_cast<std::size_t>(Reason::refused)] == 1);
    g.feed("0006000000" "6100" "2f677565737400");  // "/guest": no process
    CHECK(g.last() == "010600000001");
    CHECK(g.end.shim.counters().refused_to_peer[static_cast<std::size_t>(
              Reason::no_such_application)] == 1);
    CHECK(g.end.take_events().empty());
}

TEST_CASE("irati: only so many requests wait, and not for ever", "[irati]") {
    Guest g(1);
    g.feed(std::string("0007000000") + kFromPeer);
    CHECK(g.end.take_events() == Events{"requested a guest"});
    g.feed(std::string("0006000000") + kFromPeer);
    CHECK(g.last() == "010600000001");
    CHECK(g.end.take_events().empty());
    g.wait(Duration::seconds(5));
    CHECK(g.last() == "010700000001");
    CHECK(g.end.take_events() == Events{"failed: timed out"});
    const auto late = g.end.shim.accept(g.now, g.end.requested.back(), 5, g.end.out);
    REQUIRE_FALSE(late);
    CHECK(late.error().code == ESRCH);
}

TEST_CASE("irati: answers that nobody waits for, from either side", "[irati]") {
    Guest g;
    g.feed(std::string("0007000000") + kFromPeer);
    const FlowHandle flow = g.end.requested.back();
    g.end.take_events();
    g.feed("0107000000" "00");  // it asked itself
    CHECK(drops(g.end, VmpiDrop::stale_control) == 1);
    REQUIRE(g.end.shim.accept(g.now, flow, 5, g.end.out));
    g.end.carry_out();
    CHECK(g.end.take_events() == Events{"allocated"});
    CHECK_FALSE(g.end.shim.accept(g.now, flow, 6, g.end.out));
    CHECK_FALSE(g.end.shim.refuse(g.now, flow, Reason::refused, g.end.out));
    g.feed("0206000000");  // an end of what is not there
    CHECK(drops(g.end, VmpiDrop::stale_control) == 2);
    const auto ours = g.allocate();
    REQUIRE(ours);
    g.feed("0101000000" "00");
    CHECK(g.end.take_events() == Events{"allocated"});
    g.feed("0101000000" "01");  // too late to say no
    CHECK(g.end.take_events().empty());
    CHECK(drops(g.end, VmpiDrop::stale_control) == 3);
    CHECK(g.end.channel_of.size() == 2);
}

TEST_CASE("irati: two collisions in a row are an answer", "[irati]") {
    Guest g;
    REQUIRE(g.allocate());
    g.feed(std::string("0001000000") + kFromPeer);
    g.feed("0101000000" "01");
    CHECK(g.end.take_events().empty());
    g.feed(std::string("0002000000") + kFromPeer);
    CHECK(g.end.shim.counters().collisions == 2);
    g.feed("0102000000" "01");
    CHECK(g.end.take_events() == Events{"failed: channel in use"});
    CHECK(g.end.channel_of.empty());
}

TEST_CASE("irati: a request on the channel of a flow that is there is refused", "[irati]") {
    Guest g;
    REQUIRE(g.allocate());
    g.feed("0101000000" "00");
    g.feed(std::string("0001000000") + kFromPeer);
    CHECK(g.last() == "010100000001");
    CHECK(g.end.shim.counters().collisions == 0);
    CHECK(g.end.channel_of.size() == 1);
}

TEST_CASE("a link that is down already changes nothing", "[session]") {
    Pair pair;
    pair.a.shim.link_down(pair.now, pair.a.out);
    CHECK(pair.a.out.empty());
    CHECK(pair.a.shim.next_deadline().is_never());
    pair.a.shim.on_timeout(pair.now, pair.a.out);
    pair.a.shim.on_control(pair.now, from_hex("0101"), pair.a.out);
    CHECK(pair.a.out.empty());
    CHECK(drops(pair.a, VmpiDrop::device_down) == 1);
    pair.link_up();
    pair.a.take_events();
    pair.a.shim.link_up(pair.now, pair.a.out);
    CHECK(pair.a.out.empty());
    CHECK(pair.a.shim.state() == DeviceState::up);
}

TEST_CASE("there are as many flows as channels of our parity", "[flow]") {
    Pair pair;
    REQUIRE(pair.b.shim.register_app(*AppName::parse("server")));
    pair.link_up();
    std::size_t flows = 0;
    while (pair.allocate(pair.a, "client", "server", 1)) ++flows;
    CHECK(flows == 8);
    CHECK(pair.allocate(pair.a, "client", "server", 1).error().code == EBUSY);
    CHECK(pair.allocate(pair.b, "client", "server", 1));  // the others are its
}

TEST_CASE("a channel that was given up rests before its next flow", "[flow]") {
    Params pa = Pair::params(vmpi::Role::backend, 1);
    Params pb = Pair::params(vmpi::Role::frontend, 2);
    pa.max_channels = pb.max_channels = 2;
    Pair pair(pa, pb);
    REQUIRE(pair.b.shim.register_app(*AppName::parse("server")));
    pair.link_up();
    const auto [flow, offered] = pair.open(pair.a, pair.b, "server", 1);
    pair.deallocate(pair.a, flow);
    pair.settle();
    CHECK(pair.allocate(pair.a, "client", "server", 1).error().code == EBUSY);
    pair.advance(Duration::seconds(1));
    CHECK(pair.allocate(pair.a, "client", "server", 1));
}

TEST_CASE("answers that nobody waits for", "[flow]") {
    Pair pair;
    REQUIRE(pair.b.shim.register_app(*AppName::parse("server")));
    pair.link_up();
    const auto [flow, offered] = pair.open(pair.a, pair.b, "server", 1);
    CHECK(pair.b.shim.accept(pair.now, offered, 5, pair.b.out).error().code == ESRCH);
    CHECK(pair.b.shim.refuse(pair.now, offered, Reason::busy, pair.b.out).error().code == ESRCH);
    CHECK(pair.b.shim.accept(pair.now, FlowHandle(99), 5, pair.b.out).error().code == ESRCH);
    CHECK(pair.b.shim.refuse(pair.now, FlowHandle(99), Reason::ok, pair.b.out).error().code ==
          ESRCH);
    pair.deallocate(pair.a, flow);
    CHECK(pair.a.shim.deallocate(pair.now, flow, pair.a.out).error().code == ESRCH);
    CHECK(pair.a.shim.deallocate(pair.now, FlowHandle(99), pair.a.out).error().code == ESRCH);
    CHECK(pair.b.shim.unregister_app(pair.now, *AppName::parse("nobody"), pair.b.out)
              .error()
              .message == "application \"nobody\" is not registered on this device");
}

TEST_CASE("a refusal for no reason is one of the application", "[flow]") {
    Pair pair;
    REQUIRE(pair.b.shim.register_app(*AppName::parse("server")));
    pair.link_up();
    REQUIRE(pair.allocate(pair.a, "client", "server", 1));
    pair.settle();
    pair.a.take_events();
    REQUIRE(pair.b.shim.refuse(pair.now, pair.b.requested.back(), Reason::ok, pair.b.out));
    pair.settle();
    CHECK(pair.a.take_events() == Events{"failed: refused by the application"});
}

TEST_CASE("names made by hand must fit the wire", "[flow]") {
    Pair pair;
    pair.link_up();
    AppName longest;
    longest.process = std::string(300, 'a');
    CHECK_FALSE(pair.a.shim.allocate(pair.now, longest, *AppName::parse("x"), 1, pair.a.out));
    CHECK_FALSE(pair.a.shim.allocate(pair.now, *AppName::parse("x"), AppName{}, 1, pair.a.out));
    CHECK(pair.a.shim.info().flows.empty());
}

TEST_CASE("each bound of the parameters, and one beyond it", "[session]") {
    struct Case {
        void (*change)(Params&);
        const char* message;  // nothing: that is possible
    };
    const Case cases[] = {
        {[](Params& p) { p.max_channels = 65535; }, ""},
        {[](Params& p) { p.max_sdu_tx = 0; },
         "max_sdu is 9000 received and 0 sent, expected 1..16777216"},
        {[](Params& p) { p.max_sdu_rx = p.max_sdu_tx = 1u << 24; }, ""},
        {[](Params& p) { p.max_sdu_rx = (1u << 24) + 1; },
         "max_sdu is 16777217 received and 9000 sent, expected 1..16777216"},
        {[](Params& p) { p.max_sdu_tx = (1u << 24) + 1; },
         "max_sdu is 9000 received and 16777217 sent, expected 1..16777216"},
        {[](Params& p) { p.min_frame_tx = 64; }, ""},
        {[](Params& p) { p.window = 1u << 30; }, ""},
        {[](Params& p) { p.window = (1u << 30) + 1; },
         "window is 1073741825 credit units, expected 1..1073741824"},
        {[](Params& p) { p.max_pending = 0; },
         "max_pending is 0 and max_apps is 256, expected at least 1"},
        {[](Params& p) { p.max_apps = 0; },
         "max_pending is 16 and max_apps is 0, expected at least 1"},
        {[](Params& p) { p.credit_unit = 64; }, ""},
        {[](Params& p) { p.credit_unit = 32; },
         "credit_unit is 32, expected a power of two in 64..1048576"},
        {[](Params& p) { p.credit_unit = 1u << 21; },
         "credit_unit is 2097152, expected a power of two in 64..1048576"},
    };
    for (const Case& c : cases) {
        Params params;
        c.change(params);
        const auto result = check(params);
        CHECK((result ? "" : result.error().message) == c.message);
    }
}
