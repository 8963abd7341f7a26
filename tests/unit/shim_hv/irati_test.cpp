#include <catch2/catch.hpp>

#include "pair.hpp"

using namespace sluice;
using namespace sluice::test;
using Events = std::vector<std::string>;

namespace {

struct Ready : Pair {
    Ready() : Pair(vmpi::Profile::irati) {
        REQUIRE(a.shim.register_app(*AppName::parse("host")));
        REQUIRE(b.shim.register_app(*AppName::parse("guest")));
        link_up();
        a.take_events();
        b.take_events();
    }
    void feed(End& to, const std::string& hex) {
        const Bytes bytes = from_hex(hex);
        to.shim.on_control(now, bytes, to.out);
        to.carry_out();
    }
};

}  // namespace

TEST_CASE("irati: the older shim would understand us and we it", "[irati]") {
    Ready t;
    REQUIRE(t.allocate(t.b, "client", "x/1", 5));
    CHECK(to_hex(t.b.wire.back()) ==
          "00000000" "00" "01000000" "636c69656e742f2f2f00" "782f312f2f00");
    t.b.wire.clear();
    t.feed(t.b, "0101000000" "00");
    CHECK(t.b.take_events() == Events{"allocated"});
    t.feed(t.b, "0201000000");
    CHECK(t.b.take_events() == Events{"deallocated: closed by the peer"});
    CHECK(t.b.wire.empty());  // it knows no acknowledgement

    t.feed(t.b, "0007000000" "612f622f632f6400" "67756573742f2f2f00");
    CHECK(t.b.take_events() == Events{"requested a/b/c/d guest"});
    t.accept(t.b, t.b.requested.back(), 6);
    CHECK(to_hex(t.b.wire.back()) == "00000000" "01" "07000000" "00" "00000000");  // 14 bytes
    t.deallocate(t.b, t.b.requested.back());
    CHECK(to_hex(t.b.wire.back()) == "00000000" "02" "07000000" "0000000000");
}

TEST_CASE("irati: both ends at once use both ends of the numbering", "[irati]") {
    Ready t;
    REQUIRE(t.allocate(t.a, "client", "guest", 1));
    REQUIRE(t.allocate(t.b, "client", "host", 1));
    CHECK(t.a.channel_of.begin()->second == 8);
    CHECK(t.b.channel_of.begin()->second == 1);
    t.settle();
    t.accept(t.a, t.a.requested.back(), 2);
    t.accept(t.b, t.b.requested.back(), 2);
    t.settle();
    CHECK(t.a.channel_of.size() == 2);
    CHECK(t.b.channel_of.size() == 2);
}

TEST_CASE("irati: a collision gets a second try on another channel", "[irati]") {
    Ready t;
    const auto flow = t.allocate(t.b, "client", "x", 1);
    REQUIRE(flow);
    t.b.wire.clear();
    t.feed(t.b, "0001000000" "6100" "67756573742f2f2f00");  // the peer chose channel 1 as well
    CHECK(to_hex(t.b.wire.back()).substr(8, 12) == "010100000001");
    t.feed(t.b, "0101000000" "01");
    CHECK(t.b.take_events().empty());
    CHECK(t.b.channel_of.at(flow->value) == 2);
    CHECK(to_hex(t.b.wire.back()).substr(8, 10) == "0002000000");
    t.feed(t.b, "0102000000" "01");
    CHECK(t.b.take_events() == Events{"failed: refused by the application"});
    CHECK(t.b.channel_of.empty());
}

TEST_CASE("irati: no answer ends in a timeout, and a late one finds nobody", "[irati]") {
    Ready t;
    t.lose = [](const Bytes&) { return true; };
    REQUIRE(t.allocate(t.b, "client", "host", 1));
    t.advance(Duration::seconds(6));
    CHECK(t.b.take_events() == Events{"failed: timed out"});
    t.feed(t.b, "0101000000" "00");
    CHECK(t.b.take_events().empty());
    REQUIRE(t.allocate(t.b, "client", "host", 1));
    CHECK(t.b.channel_of.begin()->second == 1);  // its second of rest is over
    const FlowHandle again{t.b.channel_of.begin()->first};
    t.deallocate(t.b, again);
    REQUIRE(t.allocate(t.b, "client", "host", 1));
    CHECK(t.b.channel_of.begin()->second == 2);
}

TEST_CASE("irati: every field of the peer is checked", "[irati]") {
    Ready t;
    t.open(t.a, t.b, "guest", 1);
    t.a.take_events();
    t.b.take_events();
    for (const char* hex :
         {"0000000000" "6100" "67756573742f2f2f00", "0009000000" "6100" "67756573742f2f2f00",
          "00ffffffff" "6100" "67756573742f2f2f00", "0200000000", "02ffffffff", "0209000000",
          "0100000000" "00", "01ffffffff" "00", "00", "", "0001000000", "0001000000" "61",
          "05" "01000000"})
        t.feed(t.b, hex);
    CHECK(t.b.take_events().empty());
    CHECK(t.b.wire.empty());
    CHECK(t.b.channel_of.size() == 1);
    t.feed(t.b, "0008000000" "6100" "67756573742f2f2f00");  // in use: KO, nobody is disturbed
    CHECK(to_hex(t.b.wire.back()).substr(8, 12) == "010800000001");
    t.feed(t.b, "0002000000" "6100" "686f73742f2f2f00");  // registered at the other end only
    CHECK(to_hex(t.b.wire.back()).substr(8, 12) == "010200000001");
    CHECK(t.b.take_events().empty());
}

TEST_CASE("irati: the link going down ends everything", "[irati]") {
    Ready t;
    t.open(t.a, t.b, "guest", 1);
    t.a.take_events();
    t.a.shim.link_down(t.now, t.a.out);
    t.a.carry_out();
    CHECK(t.a.take_events() == Events{"deallocated: link down", "down: link down"});
    CHECK(t.a.channel_of.empty());
}
