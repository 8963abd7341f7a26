#include <catch2/catch.hpp>

#include <set>

#include "base/rng.hpp"
#include "normal_dif/core/efcp/pacer.hpp"
#include "normal_dif/core/efcp/policies.hpp"
#include "normal_dif/core/efcp/rtt.hpp"
#include "normal_dif/core/efcp/seq.hpp"
#include "normal_dif/core/efcp/seq_ring.hpp"

using namespace sluice;
using namespace sluice::efcp;

TEST_CASE("numbers are compared over their rollover", "[seq]") {
    CHECK(before(1, 2));
    CHECK_FALSE(before(2, 2));
    CHECK_FALSE(before(3, 2));
    CHECK(before(~std::uint64_t{0}, 0));
    CHECK(later(~std::uint64_t{0}, 3) == 3);
    CHECK(sooner(~std::uint64_t{0}, 3) == ~std::uint64_t{0});
}

TEST_CASE("wire numbers become the nearest number", "[seq]") {
    const SeqSpace one(1);
    CHECK(one.mask() == 0xff);
    CHECK(one.half() == 128);
    CHECK(one.unwrap(5, 0) == 5);
    CHECK(one.unwrap(0, 255) == 256);
    CHECK(one.unwrap(250, 256) == 250);
    CHECK(one.unwrap(0x7f, 0x3e8) == 0x37f);
    CHECK(one.unwrap(0xff, 0) == ~std::uint64_t{0});
    CHECK(one.unwrap(128, 0) == std::uint64_t{0} - 128);  // as far both ways: the one before
    const SeqSpace four(4);
    CHECK(four.unwrap(3, 0xffff'fffe) == 0x1'0000'0003);
    const SeqSpace eight(8);
    CHECK(eight.half() == std::uint64_t{1} << 63);
    CHECK(eight.unwrap(2, ~std::uint64_t{0}) == 2);
}

TEST_CASE("a ring keeps its entries as it grows", "[ring]") {
    SeqRing<std::uint64_t> ring;
    CHECK(ring.capacity() == 0);
    const std::uint64_t first = ~std::uint64_t{0} - 10;  // rolls over on the way
    for (std::uint64_t i = 0; i < 1000; ++i) {
        REQUIRE(ring.reserve(first, i, i + 1));
        ring[first + i] = i;
        for (std::uint64_t j = 0; j <= i; j += 37) REQUIRE(ring[first + j] == j);
    }
    CHECK(ring.capacity() == 1024);
    ring.release();
    CHECK(ring.capacity() == 0);
}

TEST_CASE("bits of a moving range are those that were set", "[ring]") {
    SeqBits bits;
    std::set<std::uint64_t> model;
    Rng rng(7);
    std::uint64_t first = 1000;
    std::uint64_t top = 1000;
    CHECK_FALSE(bits.test(5));
    for (int round = 0; round < 20000; ++round) {
        const std::uint64_t seq = first + rng.below(round < 5000 ? 100 : 3000);
        REQUIRE(bits.reserve(first, top - first, std::max(top, seq + 1) - first));
        top = std::max(top, seq + 1);
        bits.set(seq);
        model.insert(seq);
        if (rng.chance(0.3)) {
            const std::uint64_t most = std::min<std::uint64_t>(top - first, 50);
            const std::uint64_t to = first + rng.below(most + 1);
            bits.clear_range(first, to);
            model.erase(model.begin(), model.lower_bound(to));
            first = to;
        }
        const std::uint64_t from = first + rng.below(top - first + 1);
        const auto at = model.lower_bound(from);
        REQUIRE(bits.find(true, from, top) == (at == model.end() ? top : *at));
        std::uint64_t hole = from;
        while (hole != top && model.count(hole) != 0) ++hole;
        REQUIRE(bits.find(false, from, top) == hole);
    }
}

TEST_CASE("bits for which there was no room before are clear", "[ring]") {
    SeqBits bits;
    REQUIRE(bits.reserve(100, 0, 10));
    bits.set(105);
    REQUIRE(bits.reserve(100, 5000, 5000));
    CHECK(bits.find(true, 100, 5100) == 105);
    CHECK(bits.find(true, 106, 5100) == 5100);
}

TEST_CASE("the retransmission timeout follows the round trips", "[rtt]") {
    RttEstimator rtt(Duration::seconds(1), Duration::milliseconds(40));
    CHECK(rtt.timeout() == Duration::seconds(1));
    Instant now{0};
    rtt.sample(now, Duration::milliseconds(100));
    CHECK(rtt.smoothed() == Duration::milliseconds(100));
    CHECK(rtt.timeout() == Duration::milliseconds(300));  // RFC 6298, 2.2
    rtt.sample(now, Duration::milliseconds(100));
    CHECK(rtt.timeout() == Duration::milliseconds(250));
    for (int i = 0; i < 100; ++i) rtt.sample(now, Duration::milliseconds(100));
    CHECK(rtt.timeout() >= Duration::milliseconds(100));
    CHECK(rtt.timeout() < Duration::milliseconds(102));
    const Duration base = rtt.timeout();
    rtt.back_off();
    rtt.back_off();
    CHECK(rtt.timeout() == base * 4);
    for (int i = 0; i < 100; ++i) rtt.back_off();
    CHECK(rtt.timeout() == Duration::seconds(8));
    rtt.on_progress();
    CHECK(rtt.timeout() == base);
    for (int i = 0; i < 100; ++i) rtt.sample(now, Duration::milliseconds(1));
    CHECK(rtt.timeout() == Duration::milliseconds(40));
    CHECK(rtt.least() == Duration::milliseconds(1));
    // A path that became longer is noticed after one or two windows.
    for (int i = 0; i < 30; ++i) {
        now = now + Duration::seconds(1);
        rtt.sample(now, Duration::milliseconds(50));
    }
    CHECK(rtt.least() == Duration::milliseconds(50));
}

TEST_CASE("a pacer keeps its rate and forgives lateness up to its tolerance", "[pacer]") {
    Pacer pacer;
    CHECK(pacer.room(Instant{0}) > 1000000);
    pacer.set_rate(1000, Duration::milliseconds(4));  // one each millisecond
    Instant now = Instant{0} + Duration::seconds(5);
    CHECK(pacer.room(now) == 5);
    pacer.on_sent(now, 5);
    CHECK(pacer.room(now) == 0);
    CHECK(pacer.next() == now + Duration::milliseconds(3));
    CHECK(pacer.room(now + Duration::milliseconds(1)) == 1);
    std::uint64_t sent = 0;
    for (int ms = 0; ms < 10000; ++ms) {
        now = now + Duration::milliseconds(1);
        const std::uint32_t n = pacer.room(now);
        pacer.on_sent(now, n);
        sent += n;
    }
    CHECK(sent >= 9999);
    CHECK(sent <= 10005);
}

TEST_CASE("a pacer loses no fractions of time", "[pacer]") {
    Pacer pacer;
    pacer.set_rate(3e6, Duration::microseconds(2));
    Instant now{1000};
    std::uint64_t sent = 0;
    for (int us = 0; us < 300000; ++us) {
        now = now + Duration::microseconds(1);
        for (std::uint32_t n = pacer.room(now); n > 0; --n, ++sent) pacer.on_sent(now, 1);
    }
    CHECK(sent >= 899990);
    CHECK(sent <= 900010);
}

namespace {

std::string refusal(void (*change)(EfcpPolicies&), rina::PciFormat format = {}) {
    EfcpPolicies policies = EfcpPolicies::sluice_reliable(100);
    change(policies);
    const Result<> checked = check(policies, format);
    return checked ? "" : checked.error().message;
}

bool has(const std::string& text, const char* part) {
    return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("policies that do not go together are refused with a reason", "[policies]") {
    const rina::PciFormat f;
    CHECK(check(EfcpPolicies::best_effort(), f));
    CHECK(check(EfcpPolicies::rlite_reliable(), f));
    CHECK(check(EfcpPolicies::rlite_flow_control(16), f));
    CHECK(check(EfcpPolicies::sluice_reliable(100000), f));
    CHECK(EfcpPolicies::rlite_reliable().delta_t() == Duration::milliseconds(11020));

    CHECK(has(refusal([](auto& p) { p.window->initial_credit = 0; }), "credit 0"));
    CHECK(has(refusal([](auto& p) { p.window->initial_credit = 1u << 25; }), "at most"));
    rina::PciFormat narrow;
    narrow.sequence = 1;
    CHECK(refusal([](auto& p) { p.window->initial_credit = 126; }, narrow).empty());
    CHECK(has(refusal([](auto& p) { p.window->initial_credit = 127; }, narrow), "at most 126"));
    CHECK(has(refusal([](auto& p) { p.initial_sequence = 256; }, narrow), "at most 255"));
    CHECK(has(refusal([](auto& p) { p.window->closed_queue_max = 0; }), "send queue"));
    CHECK(has(refusal([](auto& p) { p.dtcp_present = false; }), "dtcp_present"));
    CHECK(has(refusal([](auto& p) { p.max_sdu_gap = -2; }), "-1 (any)"));
    CHECK(has(refusal([](auto& p) { p.a_timer = Duration{-1}; }), "A-timer"));
    CHECK(has(refusal([](auto& p) { p.mpl = Duration{0}; }), "lifetime"));
    CHECK(has(refusal([](auto& p) { p.rate = RatePolicy{0, Duration::seconds(1)}; }), "0 PDUs"));
    CHECK(has(refusal([](auto& p) { p.rate = RatePolicy{1, Duration{0}}; }), "1 PDUs in"));
    CHECK(has(refusal([](auto& p) { p.retransmission->retries_max = 0; }), "0 retries"));
    CHECK(has(refusal([](auto& p) { p.retransmission->initial_timeout = Duration{0}; }),
              "initial timeout"));
    CHECK(has(refusal([](auto& p) { p.retransmission.reset(); }), "selective"));
    CHECK(has(refusal([](auto& p) {
                  p.retransmission.reset();
                  p.sack = false;
              }),
              "congestion control"));
    CHECK(has(refusal([](auto& p) { p.dialect = Dialect::rlite; }), "unknown to rlite"));
    CHECK(has(refusal([](auto& p) {
                  p.delimiting = true;
                  p.in_order = false;
              }),
              "delimiting"));
}
