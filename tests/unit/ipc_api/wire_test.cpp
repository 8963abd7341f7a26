#include "ipc_api/wire.hpp"

#include <catch2/catch.hpp>
#include <cstring>
#include <string>
#include <vector>

#include "base/rng.hpp"

using namespace sluice;
using namespace sluice::ipc_api;

namespace {

constexpr Kind kKinds[] = {Kind::open,    Kind::register_app, Kind::unregister_app, Kind::allocate,
                           Kind::respond, Kind::result,       Kind::incoming};

std::string random_name(Rng& rng) {
    std::string name(rng.below(kNameMax + 1), 'x');
    for (char& c : name) c = static_cast<char>(1 + rng.below(255));
    return name;
}

struct Owned {
    std::string dif, local, remote;
    Message message;
};

void fill(Rng& rng, Owned& out) {
    Message& m = out.message;
    m.kind = kKinds[rng.below(std::size(kKinds))];
    const bool flow = m.kind == Kind::allocate || m.kind == Kind::incoming;
    if (m.kind == Kind::respond || m.kind == Kind::incoming)
        m.number = static_cast<std::uint32_t>(rng.next());
    if (m.kind == Kind::respond || m.kind == Kind::result)
        m.code = static_cast<std::int32_t>(rng.next());
    if (flow) {
        m.spec.version = static_cast<std::uint32_t>(rng.next());
        m.spec.max_delay = static_cast<std::uint32_t>(rng.next());
        m.spec.max_sdu_gap = rng.next();
        m.spec.avg_bandwidth = rng.next();
        m.spec.max_loss = static_cast<std::uint16_t>(rng.next());
        m.spec.in_order_delivery = static_cast<std::uint8_t>(rng.next());
        m.spec.msg_boundaries = static_cast<std::uint8_t>(rng.next());
        m.spec.max_jitter = static_cast<std::uint32_t>(rng.next());
        m.remote = out.remote = random_name(rng);
    }
    if (flow || m.kind == Kind::register_app || m.kind == Kind::unregister_app) {
        m.local = out.local = random_name(rng);
        m.dif = out.dif = random_name(rng);
    }
}

bool same(const rina_flow_spec& a, const rina_flow_spec& b) {
    return a.version == b.version && a.max_delay == b.max_delay &&
           a.max_sdu_gap == b.max_sdu_gap && a.avg_bandwidth == b.avg_bandwidth &&
           a.max_loss == b.max_loss && a.in_order_delivery == b.in_order_delivery &&
           a.msg_boundaries == b.msg_boundaries && a.max_jitter == b.max_jitter;
}

// What is understood is written as the same bytes.
bool stable(std::span<const std::byte> bytes) {
    const auto message = decode(bytes);
    if (!message) return false;
    MessageBuffer again;
    const std::size_t size = encode(*message, again);
    REQUIRE(size == bytes.size());
    REQUIRE(std::memcmp(again.data(), bytes.data(), size) == 0);
    return true;
}

}  // namespace

TEST_CASE("what is written is read again") {
    Rng rng(1);
    for (int i = 0; i < 20000; ++i) {
        Owned sent;
        fill(rng, sent);
        MessageBuffer buffer;
        const std::size_t size = encode(sent.message, buffer);
        REQUIRE(size != 0);
        const auto read = decode({buffer.data(), size});
        REQUIRE(read);
        CHECK(read->kind == sent.message.kind);
        CHECK(read->number == sent.message.number);
        CHECK(read->code == sent.message.code);
        CHECK(same(read->spec, sent.message.spec));
        CHECK(read->dif == sent.dif);
        CHECK(read->local == sent.local);
        CHECK(read->remote == sent.remote);
        CHECK(version_of({buffer.data(), size}) == kWireVersion);
        // Neither less nor more of it.
        CHECK_FALSE(decode({buffer.data(), rng.below(size)}));
        std::vector<std::byte> longer(buffer.begin(),
                                      buffer.begin() + static_cast<std::ptrdiff_t>(size));
        longer.push_back(std::byte{0});
        CHECK_FALSE(decode(longer));
    }
}

TEST_CASE("changed bytes are refused, or mean what they say") {
    Rng rng(2);
    int understood = 0;
    for (int i = 0; i < 100000; ++i) {
        Owned sent;
        fill(rng, sent);
        MessageBuffer buffer;
        const std::size_t size = encode(sent.message, buffer);
        for (std::uint64_t n = 1 + rng.below(3); n > 0; --n)
            buffer[rng.below(size)] = static_cast<std::byte>(rng.next());
        understood += stable({buffer.data(), size}) ? 1 : 0;
    }
    CHECK(understood > 1000);
    CHECK(understood < 99000);
    for (int i = 0; i < 100000; ++i) {
        std::vector<std::byte> noise(rng.below(kMessageBytesMax + 10));
        for (std::byte& b : noise) b = static_cast<std::byte>(rng.next());
        CHECK_FALSE(stable(noise));
    }
}

TEST_CASE("a message has what its kind has and nothing else") {
    Message m;
    MessageBuffer buffer;
    m.kind = Kind::register_app;
    m.local = "a";
    CHECK(decode({buffer.data(), encode(m, buffer)}));
    m.remote = "b";
    CHECK_FALSE(decode({buffer.data(), encode(m, buffer)}));
    m.remote = {};
    m.code = 1;
    CHECK_FALSE(decode({buffer.data(), encode(m, buffer)}));
    m.code = 0;
    m.spec.max_jitter = 1;
    CHECK_FALSE(decode({buffer.data(), encode(m, buffer)}));
    m.spec = {};
    for (const int kind : {0, 6, 63, 66, 255}) {
        Message unknown;
        unknown.kind = static_cast<Kind>(kind);
        CHECK_FALSE(decode({buffer.data(), encode(unknown, buffer)}));
    }
    CHECK(to_server(Kind::respond));
    CHECK_FALSE(to_server(Kind::incoming));
}

TEST_CASE("names that cannot be sent") {
    Message m;
    m.kind = Kind::register_app;
    MessageBuffer buffer;
    const std::string longest(kNameMax, 'n');
    m.local = longest;
    CHECK(encode(m, buffer) != 0);
    const std::string longer(kNameMax + 1, 'n');
    m.local = longer;
    CHECK(encode(m, buffer) == 0);
    m.local = std::string_view("a\0b", 3);
    CHECK(encode(m, buffer) == 0);
}

TEST_CASE("the name of a flow's other end") {
    CHECK(max_sdu_of_flow_name("sluice-flow/1400/1-2") == 1400);
    CHECK(max_sdu_of_flow_name("sluice-flow/4294967295/") == 4294967295u);
    CHECK(max_sdu_of_flow_name("sluice-flow/4294967296/") == 0);
    CHECK(max_sdu_of_flow_name("sluice-flow/99999999999/") == 0);
    CHECK(max_sdu_of_flow_name("sluice-flow/1400") == 0);
    CHECK(max_sdu_of_flow_name("sluice-flow//1") == 0);
    CHECK(max_sdu_of_flow_name("sluice-flow/x/1") == 0);
    CHECK(max_sdu_of_flow_name("sluice-flo/1400/1") == 0);
    CHECK(max_sdu_of_flow_name("") == 0);
}
