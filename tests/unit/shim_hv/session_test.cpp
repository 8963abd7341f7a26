#include <catch2/catch.hpp>

#include "pair.hpp"

using namespace sluice;
using namespace sluice::test;
using Events = std::vector<std::string>;

namespace {

std::size_t hellos(const End& end) {
    return end.shim.counters().sent[static_cast<std::size_t>(vmpi::Type::hello)];
}

}  // namespace

TEST_CASE("two ends greet, agree and fall silent", "[session]") {
    Params pa = Pair::params(vmpi::Role::backend, 1);
    Params pb = Pair::params(vmpi::Role::frontend, 2);
    pa.max_sdu_rx = 1000;
    pa.max_sdu_tx = 3000;
    pb.max_sdu_rx = 2000;
    pb.max_channels = 5;
    pb.credit_unit = 4096;
    pa.features = 6;
    pb.features = 3;
    Pair pair(pa, pb);
    pair.link_up();
    CHECK(pair.a.take_events() == Events{"up"});
    CHECK(pair.b.take_events() == Events{"up"});
    const AgreedLimits& a = pair.a.shim.limits();
    const AgreedLimits& b = pair.b.shim.limits();
    CHECK(a.max_sdu_rx == 1000);
    CHECK(a.max_sdu_tx == 2000);
    CHECK(b.max_sdu_tx == 1000);
    CHECK(a.max_channels == 5);
    CHECK(b.max_channels == 5);
    CHECK(a.credit_unit == 4096);
    CHECK(b.credit_unit == 4096);
    CHECK(a.features == 2);
    CHECK(a.we_take_odd == false);
    CHECK(b.we_take_odd == true);
    CHECK(hellos(pair.a) + hellos(pair.b) <= 8);
    const std::size_t before = hellos(pair.a) + hellos(pair.b);
    pair.advance(Duration::seconds(30));
    CHECK(hellos(pair.a) + hellos(pair.b) == before);
    CHECK(pair.a.take_events().empty());
}

TEST_CASE("a HELLO is repeated at growing distances until the peer is there", "[session]") {
    Pair pair;
    pair.lose = [](const Bytes&) { return true; };
    pair.link_up();
    CHECK(hellos(pair.a) == 1);
    pair.advance(Duration::milliseconds(50 + 100 + 200 + 400));
    CHECK(hellos(pair.a) == 5);
    pair.advance(Duration::seconds(10));
    CHECK(hellos(pair.a) == 15);
    CHECK(pair.a.shim.state() == DeviceState::greeting);
    pair.lose = nullptr;
    pair.advance(Duration::seconds(2));
    CHECK(pair.a.shim.state() == DeviceState::up);
    CHECK(pair.b.shim.state() == DeviceState::up);
}

TEST_CASE("each single loss of the greeting is healed", "[session]") {
    for (int lost = 0; lost < 8; ++lost) {
        Pair pair;
        int seen = 0;
        pair.lose = [&](const Bytes&) { return seen++ == lost; };
        pair.link_up();
        pair.advance(Duration::seconds(3));
        CHECK(pair.a.shim.state() == DeviceState::up);
        CHECK(pair.b.shim.state() == DeviceState::up);
    }
}

TEST_CASE("equal roles: the lower nonce takes odd", "[session]") {
    for (std::uint64_t seed = 1; seed < 20; ++seed) {
        Pair pair(Pair::params(vmpi::Role::alike, seed),
                  Pair::params(vmpi::Role::alike, seed + 100));
        pair.link_up();
        CHECK(pair.a.shim.limits().we_take_odd != pair.b.shim.limits().we_take_odd);
    }
}

TEST_CASE("equal nonces start the greeting over", "[session]") {
    // A scripted peer that copies whatever nonce it is shown, once.
    Params p = Pair::params(vmpi::Role::alike, 1);
    End a(p);
    const Instant now{1000};
    a.shim.link_up(now, a.out);
    vmpi::Message ours;
    const auto read_last = [&] {
        a.carry_out();
        REQUIRE(!a.wire.empty());
        REQUIRE(vmpi::parse(std::span<const std::byte>(a.wire.back()).subspan(4), ours) ==
                vmpi::ParseError::none);
    };
    const auto say = [&](std::uint64_t nonce, std::uint64_t echo) {
        vmpi::Message m;
        m.type = vmpi::Type::hello;
        m.epoch = 99;
        m.hello.nonce = nonce;
        m.hello.echo = echo;
        m.hello.challenge = 5;
        m.hello.max_channels = 4;
        m.hello.max_sdu = 100;
        m.hello.credit_unit = 2048;
        std::array<std::byte, 72> bytes{};
        REQUIRE(vmpi::encode(m, bytes) == 72);
        a.shim.on_control(now, bytes, a.out);
    };
    read_last();
    const std::uint64_t first_epoch = ours.epoch;
    const std::uint64_t nonce = ours.hello.nonce;
    say(nonce, 0);
    read_last();
    say(nonce, ours.hello.challenge);
    read_last();
    CHECK(a.shim.state() == DeviceState::greeting);
    CHECK(ours.epoch != first_epoch);
    CHECK(ours.hello.nonce != nonce);
    say(nonce, 0);
    read_last();
    say(nonce, ours.hello.challenge);
    CHECK(a.shim.state() == DeviceState::up);
    CHECK(a.shim.limits().we_take_odd == (ours.hello.nonce < nonce));
}

TEST_CASE("a repeated HELLO of an earlier life does not confirm it", "[session]") {
    Pair pair;
    std::vector<Bytes> recorded;
    pair.lose = [&](const Bytes& frame) {
        recorded.push_back(frame);
        return false;
    };
    pair.b.shim.register_app(*AppName::parse("server"));
    pair.link_up();
    const std::vector<Bytes> first_life = recorded;
    pair.a.shim.link_down(pair.now, pair.a.out);
    pair.a.carry_out();
    pair.link_up();
    const auto epoch = pair.b.shim.info().peer_epoch;
    CHECK(pair.b.take_events() == Events{"up", "down: peer restarted", "up"});
    for (const Bytes& frame : first_life) {
        pair.inject(pair.b, frame);
        pair.settle();
    }
    CHECK(pair.b.shim.info().peer_epoch == epoch);
    CHECK(pair.b.take_events().empty());
    const auto flow = pair.open(pair.a, pair.b, "server", 1);
    CHECK(pair.send(pair.a, flow.first, Bytes(100)) == VmpiData::Submit::ok);
}

TEST_CASE("a dead peer is noticed, and back again", "[session]") {
    Pair pair;
    pair.b.shim.register_app(*AppName::parse("server"));
    pair.link_up();
    pair.open(pair.a, pair.b, "server", 1);
    pair.a.take_events();
    pair.lose = [](const Bytes&) { return true; };
    pair.advance(Duration::milliseconds(9900));
    CHECK(pair.a.take_events().empty());
    pair.advance(Duration::milliseconds(1200));
    CHECK(pair.a.take_events() ==
          Events{"deallocated: peer unresponsive", "down: peer unresponsive"});
    CHECK(pair.a.channel_of.empty());
    pair.lose = nullptr;
    pair.advance(Duration::seconds(3));
    CHECK(pair.a.shim.state() == DeviceState::up);
    CHECK(pair.a.shim.info().peer_epoch == pair.b.shim.info().own_epoch);
}

TEST_CASE("no version in common: no flow, and it says why", "[session]") {
    End a(Pair::params(vmpi::Role::backend, 1));
    a.shim.link_up(Instant{0}, a.out);
    vmpi::Message m;
    m.type = vmpi::Type::hello;
    m.version = 3;
    m.epoch = 9;
    m.hello.min_version = 2;
    m.hello.max_version = 3;
    m.hello.max_channels = 9;
    m.hello.credit_unit = 2048;
    std::array<std::byte, 72> bytes{};
    vmpi::encode(m, bytes);
    a.shim.on_control(Instant{1}, bytes, a.out);
    a.carry_out();
    vmpi::Message answer;
    REQUIRE(vmpi::parse(std::span<const std::byte>(a.wire.back()).subspan(4), answer) ==
            vmpi::ParseError::none);
    m.hello.echo = answer.hello.challenge;
    vmpi::encode(m, bytes);
    a.shim.on_control(Instant{2}, bytes, a.out);
    a.carry_out();
    CHECK(a.shim.state() == DeviceState::incompatible);
    CHECK(a.take_events() == Events{"down: no common version"});
    const AppName name = *AppName::parse("a");
    const auto flow = a.shim.allocate(Instant{3}, name, name, 0, a.out);
    REQUIRE_FALSE(flow);
    CHECK(flow.error().code == EPROTONOSUPPORT);
}

TEST_CASE("parameters that cannot work are refused with one sentence", "[session]") {
    const auto bad = [](auto change) {
        Params p;
        change(p);
        const auto result = check(p);
        return !result && !result.error().message.empty();
    };
    CHECK(check(Params{}));
    CHECK(bad([](Params& p) { p.max_channels = 0; }));
    CHECK(bad([](Params& p) { p.max_channels = 65536; }));
    CHECK(bad([](Params& p) { p.profile = vmpi::Profile::irati; }));  // 255 channels
    CHECK(bad([](Params& p) { p.credit_unit = 3000; }));
    CHECK(bad([](Params& p) { p.max_sdu_rx = 0; }));
    CHECK(bad([](Params& p) { p.min_frame_tx = 65; }));
    CHECK(bad([](Params& p) { p.window = 0; }));
    CHECK(bad([](Params& p) { p.timers.keepalive = Duration{0}; }));
}
