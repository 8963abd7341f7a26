#include <catch2/catch.hpp>

#include <algorithm>
#include <cstdlib>

#include "pair.hpp"

using namespace sluice;
using namespace sluice::efcp;
using namespace sluice::efcp::test;

namespace {

Instant after(const Pair& pair, Duration d) { return pair.now() + d; }

link_model::Config bad_link(Rng& rng) {
    link_model::Config link;
    const std::uint64_t us = rng.between(10, 20000);
    link.delay = rng.chance(0.5) ? link_model::Delay::fixed(
                                       Duration::microseconds(static_cast<std::int64_t>(us)))
                                 : link_model::Delay::uniform(
                                       Duration::microseconds(static_cast<std::int64_t>(us / 2)),
                                       Duration::microseconds(static_cast<std::int64_t>(us)));
    if (rng.chance(0.8))
        link.loss = link_model::Loss::uniform(0.003 * static_cast<double>(rng.below(100)));
    if (rng.chance(0.2)) link.loss = link_model::Loss::burst(0.01, 0.2);
    if (rng.chance(0.5)) link.duplicate = 0.1;
    if (rng.chance(0.5))
        link.reorder = link_model::Reorder::late(
            0.1, Duration::microseconds(static_cast<std::int64_t>(us)));
    return link;
}

EfcpPolicies reliable_policies(Rng& rng, unsigned width) {
    EfcpPolicies policies = rng.chance(0.7) ? EfcpPolicies::sluice_reliable(512)
                                            : EfcpPolicies::rlite_reliable();
    const std::uint64_t credit_max = width == 1 ? 100 : 3000;
    policies.window->initial_credit = static_cast<std::uint32_t>(rng.between(1, credit_max));
    policies.window->closed_queue_max = static_cast<std::uint32_t>(rng.between(1, 200));
    policies.retransmission->retries_max = 100;
    policies.retransmission->time_max = Duration::seconds(500);
    policies.retransmission->initial_timeout = Duration::milliseconds(200);
    if (rng.chance(0.2)) policies.a_timer = Duration{};
    if (policies.dialect == Dialect::sluice && rng.chance(0.3)) policies.in_order = false;
    if (policies.dialect == Dialect::sluice && rng.chance(0.2)) policies.sack = false;
    if (rng.chance(0.2)) policies.rate = RatePolicy{100, Duration::milliseconds(10)};
    const Congestion kinds[] = {Congestion::none, Congestion::aimd, Congestion::rate_estimate};
    policies.congestion = kinds[rng.below(3)];
    policies.initial_sequence = rng.chance(0.5) ? 0 : rng.next() & SeqSpace(width).mask();
    return policies;
}

void check_reliable(std::uint64_t seed) {
    Rng rng(seed);
    PairConfig config;
    const unsigned widths[] = {1, 2, 4, 8};
    config.format.sequence = static_cast<std::uint8_t>(widths[rng.below(4)]);
    config.policies = reliable_policies(rng, config.format.sequence);
    config.link = bad_link(rng);
    config.seed = rng.next();
    if (rng.chance(0.3))
        config.read_after = Duration::microseconds(static_cast<std::int64_t>(rng.below(30000)));
    if (rng.chance(0.3)) config.gather = Duration::microseconds(200);
    INFO("seed " << seed);
    REQUIRE(check(config.policies, config.format));
    Pair pair(config);
    pair.offer(0, rng.between(1, 1500));
    if (rng.chance(0.5)) pair.offer(1, rng.between(1, 500));
    pair.run(after(pair, Duration::seconds(5)));
    pair.heal();
    const bool is_complete = pair.run_until_delivered(after(pair, Duration::seconds(600)));
    CHECK(is_complete);
    for (int i = 0; i < 2; ++i) {
        const auto& got = pair.end(i).got;
        const auto& sent = pair.end(1 - i).to_send;
        if (config.policies.in_order) {
            CHECK(got.size() == sent.size());
            const bool is_equal = got == sent;
            CHECK(is_equal);
        } else {
            auto a = got;
            auto b = sent;
            std::sort(a.begin(), a.end());
            std::sort(b.begin(), b.end());
            const bool is_equal = a == b;
            CHECK(is_equal);
        }
        CHECK(pair.connection(i).state() == Connection::State::open);
    }
    pair.finish();
    for (const std::string& fault : pair.faults()) FAIL_CHECK(fault);
}

}  // namespace

TEST_CASE("reliable flows deliver all, once and in order, when the link heals", "[pair]") {
    // EFCP_SEED=n runs one seed: what a failure names.
    const char* const one = std::getenv("EFCP_SEED");
    if (one != nullptr) {
        check_reliable(std::strtoull(one, nullptr, 10));
        return;
    }
    for (std::uint64_t seed = 1; seed <= 300; ++seed) check_reliable(seed);
}
