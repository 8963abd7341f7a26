#include <catch2/catch.hpp>
#include <limits>

#include "base/rng.hpp"
#include "tgen/core/pacer.hpp"

using namespace sluice;
using namespace sluice::tgen;

namespace {

constexpr Rate kPps(std::uint64_t n) { return {Rate::Unit::packets, n}; }
constexpr Rate kBps(std::uint64_t n) { return {Rate::Unit::bits, n}; }

// What goes in `time` when asked at random moments.
std::uint64_t sent_in(Pacer& pacer, Duration time, std::int64_t step_max, std::uint32_t size) {
    Rng rng(5);
    Instant now{1'000'000'007};
    const Instant end = now + time;
    pacer.start(now);
    std::uint64_t sent = 0;
    for (;;) {
        const unsigned n = pacer.due(now, size, 1u << 30);
        pacer.spend(n, std::uint64_t{n} * size);
        sent += n;
        if (now == end) return sent;
        const auto step = static_cast<std::int64_t>(
            rng.between(1, static_cast<std::uint64_t>(step_max)));
        now = earlier(end, now + Duration{step});
    }
}

}  // namespace

TEST_CASE("a packet rate is exact in the long run, however odd") {
    for (const std::uint64_t rate : {1ull, 3ull, 7ull, 999ull, 14'880'952ull, 333'333'333ull}) {
        Pacer pacer(kPps(rate), 1'000'000'000);
        // One token is there from the start.
        CHECK(sent_in(pacer, Duration::seconds(3), 5000, 1500) == 3 * rate + 1);
    }
}

TEST_CASE("a bit rate is exact to within one SDU") {
    for (const std::uint64_t rate : {9'999'999ull, 10'000'000'000ull, 400'000'000'000ull}) {
        for (const std::uint32_t size : {1u, 64u, 1500u, 65000u}) {
            Pacer pacer(kBps(rate), 1'000'000'000'000ull);
            const std::uint64_t sent = sent_in(pacer, Duration::seconds(1), 20000, size);
            const std::uint64_t cost = 8 * size;
            CHECK(sent == (rate + 1 + cost - 1) / cost);
        }
    }
}

TEST_CASE("an idle time saves up no more than the burst") {
    Pacer pacer(kPps(1'000'000), 10);
    pacer.start(Instant{0});
    CHECK(pacer.due(Instant{0}, 64, 100) == 1);
    CHECK(pacer.due(Instant{1'000'000'000}, 64, 100) == 10);
    pacer.spend(10, 640);
    CHECK(pacer.due(Instant{1'000'000'000}, 64, 100) == 0);
    CHECK(pacer.due(Instant{1'000'003'000}, 64, 100) == 3);
    CHECK(pacer.due(Instant{1'000'003'000}, 64, 2) == 2);
}

TEST_CASE("an SDU larger than the burst goes and is paid for") {
    Pacer pacer(kBps(8'000'000), 100);  // a byte a microsecond
    pacer.start(Instant{0});
    CHECK(pacer.due(Instant{0}, 1500, 9) == 1);
    pacer.spend(1, 1500);
    CHECK_FALSE(pacer.ready());
    const Instant next = pacer.next(Instant{0});
    // 12000 bits, less the one the bucket had, and one more to be above zero.
    CHECK(next == Instant{1'500'000});
    CHECK(pacer.due(next - Duration{1}, 1500, 9) == 0);
    CHECK(pacer.due(next, 1500, 9) == 1);
}

TEST_CASE("next() is the first instant at which something is due") {
    Rng rng(9);
    for (int round = 0; round < 200; ++round) {
        const Rate rate{rng.chance(0.5) ? Rate::Unit::packets : Rate::Unit::bits,
                        rng.between(1, 1'000'000'000'000)};
        Pacer pacer(rate, rng.between(1, 1'000'000));
        Instant now{static_cast<std::int64_t>(rng.below(1'000'000'000))};
        pacer.start(now);
        for (int i = 0; i < 50; ++i) {
            const auto size = static_cast<std::uint32_t>(rng.below(65001));
            if (pacer.due(now, size, 1) == 1) pacer.spend(1, size);
            const Instant next = pacer.next(now);
            REQUIRE(next >= now);
            if (next > now) {
                Pacer before = pacer;
                REQUIRE(before.due(next - Duration{1}, size, 1) == 0);
            }
            Pacer then = pacer;
            REQUIRE(then.due(next, size, 1) == 1);
            now = next;
        }
    }
}

TEST_CASE("no rate is no limit") {
    Pacer pacer(Rate{}, 1);
    pacer.start(Instant{5});
    CHECK(pacer.due(Instant{5}, 1500, 64) == 64);
    pacer.spend(64, 64 * 1500);
    CHECK(pacer.ready());
    CHECK(pacer.next(Instant{6}) == Instant{6});
}

TEST_CASE("empty SDUs cost a byte each") {
    Pacer pacer(kBps(8000), 1);
    pacer.start(Instant{0});
    CHECK(pacer.due(Instant{0}, 0, 100) == 1);
    pacer.spend(1, 0);
    CHECK(pacer.next(Instant{0}) == Instant{1'000'000});
}

TEST_CASE("time that stands still or goes back brings nothing") {
    Pacer pacer(kPps(1'000'000'000), 1000);
    pacer.start(Instant{1000});
    pacer.spend(1, 1);
    CHECK(pacer.due(Instant{1000}, 1, 9) == 0);
    CHECK(pacer.due(Instant{10}, 1, 9) == 0);
    CHECK(pacer.due(Instant{1002}, 1, 9) == 2);
}

TEST_CASE("extremes do not overflow") {
    Pacer pacer(kBps(~std::uint64_t{0}), ~std::uint64_t{0});
    CHECK(pacer.rate().per_second == Pacer::kPerSecondMax);
    pacer.start(Instant{0});
    CHECK(pacer.due(Instant{std::numeric_limits<std::int64_t>::max() - 1}, 65000, 7) == 7);
    Pacer slow(kPps(1), 1);
    slow.start(Instant{0});
    slow.spend(std::uint64_t{1} << 40, 0);
    CHECK(slow.next(Instant{0}).is_never());
}

TEST_CASE("the default burst covers a millisecond or 64 SDUs") {
    CHECK(Pacer::default_burst(kPps(1000), 1500) == 64);
    CHECK(Pacer::default_burst(kPps(10'000'000), 1500) == 10'000);
    CHECK(Pacer::default_burst(kBps(1'000'000), 1500) == 64 * 1500 * 8);
    CHECK(Pacer::default_burst(kBps(10'000'000'000), 0) == 10'000'000);
}
