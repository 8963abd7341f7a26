#include <catch2/catch.hpp>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "normal_dif/core/ipcp/ipcp.hpp"

// Callers that never say who they are.
namespace sluice::mgmt {
namespace {

constexpr rmt::N1PortId kFirst{0}, kSecond{1};

std::unique_ptr<Ipcp> node(const char* name, std::uint64_t address, bool is_first) {
    IpcpConfig config;
    config.name = name;
    config.dif = "n.DIF";
    config.lower_difs = {"lower"};
    config.address = rina::Address{address};
    config.addresses.policy = AddressPolicy::static_;
    config.first = is_first;
    auto made = Ipcp::create(Instant{1}, std::move(config));
    REQUIRE(made);
    return std::move(*made);
}

// What one says to its neighbour reaches the other; whom it wants to call is returned.
std::vector<std::string> pass(Instant now, Ipcp& from, Ipcp& to) {
    std::vector<std::string> called;
    for (const IpcpAction& action : from.take_actions()) {
        if (const auto* send = std::get_if<SendToNeighbor>(&action))
            to.received(now, send->port, send->pci, send->payload);
        if (const auto* call = std::get_if<AllocateLowerFlow>(&action))
            called.push_back(call->peer);
    }
    return called;
}

TEST_CASE("Who hung up before it said its name is not called back", "[ipcp]") {
    const auto a = node("a.IPCP", 1, true);
    const auto b = node("b.IPCP", 2, false);
    Instant now{1'000'000'000};
    a->flow_accepted(now, kFirst, "lower");
    b->flow_up(now, kFirst, "lower", "a.IPCP");
    for (int i = 0; i < 20; ++i) {
        pass(now, *b, *a);
        pass(now, *a, *b);
    }
    REQUIRE(b->is_member());
    b->flow_down(now, kFirst);
    b->flow_accepted(now, kSecond, "lower");
    b->flow_down(now, kSecond);
    std::vector<std::string> called;
    for (int i = 0; i < 30; ++i) {
        now = now + Duration::seconds(1);
        b->on_timeout(now);
        for (std::string& peer : pass(now, *b, *a)) called.push_back(std::move(peer));
    }
    CHECK(called == std::vector<std::string>(called.size(), "a.IPCP"));
    CHECK(called.size() >= 2);
}

TEST_CASE("An operator names whom to enroll with", "[ipcp]") {
    const auto a = node("a.IPCP", 1, true);
    for (const char* const peer : {"", "two\nlines", "a.IPCP"}) {
        const auto done = a->enroll(Instant{1}, "lower", peer);
        REQUIRE_FALSE(done);
        CHECK(done.error().code == EINVAL);
    }
    CHECK(a->take_actions().empty());
    CHECK(a->enroll(Instant{1}, "lower", "n.DIF"));
    CHECK(a->enroll(Instant{1}, "upper", "b.IPCP").error().code == ENOENT);
    CHECK(a->disconnect(Instant{1}, "b.IPCP").error().code == ENOENT);
}

}  // namespace
}  // namespace sluice::mgmt
