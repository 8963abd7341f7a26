#include "capture/wall_clock.hpp"

#include <time.h>

#include <catch2/catch.hpp>
#include <cstdlib>

#include "base/rng.hpp"
#include "dataplane/clock.hpp"

using namespace sluice;
using capture::WallClock;

namespace {

constexpr std::int64_t kSecond = 1'000'000'000;
constexpr std::int64_t kStart = 1'700'000'000 * kSecond;

WallClock::Reading reading(std::int64_t mono, std::int64_t wall) { return {Instant{mono}, wall}; }

}  // namespace

TEST_CASE("time of day is monotonic time with an offset") {
    const WallClock clock(reading(5 * kSecond, kStart));
    CHECK(clock.wall_ns(Instant{5 * kSecond}) == kStart);
    CHECK(clock.wall_ns(Instant{9 * kSecond + 7}) == kStart + 4 * kSecond + 7);
    CHECK(clock.wall_ns(Instant{4 * kSecond}) == kStart - kSecond);
}

TEST_CASE("a clock that is a little fast or slow is followed closely") {
    // A TSC frequency that was rounded is off by up to a few parts in a thousand.
    for (const double skew : {-2.4e-3, -1e-5, 0.0, 3e-6, 2.4e-3}) {
        WallClock clock(reading(0, kStart));
        const auto true_wall = [skew](std::int64_t mono) {
            return kStart + mono + static_cast<std::int64_t>(static_cast<double>(mono) * skew);
        };
        for (std::int64_t t = kSecond; t < 20 * kSecond; t += kSecond) {
            CHECK(clock.adjust(reading(t, true_wall(t))) == WallClock::Verdict::steady);
            if (t < 5 * kSecond) continue;
            for (std::int64_t within = 0; within <= kSecond; within += kSecond / 8) {
                const std::int64_t error = clock.wall_ns(Instant{t + within}) -
                                           true_wall(t + within);
                CHECK(std::abs(error) < 10'000);
            }
        }
    }
}

TEST_CASE("time of day never runs backwards, whatever the system's clock does") {
    Rng rng(7);
    WallClock clock(reading(0, kStart));
    std::int64_t wall_offset = kStart;
    std::int64_t before = 0;
    std::int64_t next_adjust = kSecond;
    for (std::int64_t t = 0; t < 300 * kSecond; t += static_cast<std::int64_t>(
             rng.between(1, 50'000'000))) {
        const std::int64_t wall = clock.wall_ns(Instant{t});
        CHECK(wall >= before);
        before = wall;
        if (t < next_adjust) continue;
        next_adjust = t + static_cast<std::int64_t>(rng.between(1, 2 * kSecond));
        if (rng.chance(0.3))
            wall_offset += static_cast<std::int64_t>(rng.below(7200 * kSecond)) - 3600 * kSecond;
        else if (rng.chance(0.5))
            wall_offset += static_cast<std::int64_t>(rng.below(kSecond)) - kSecond / 2;
        clock.adjust(reading(t, t + wall_offset));
    }
}

TEST_CASE("a clock set forward is followed at once, one set back is waited for") {
    WallClock clock(reading(0, kStart));
    CHECK(clock.adjust(reading(kSecond, kStart + kSecond)) == WallClock::Verdict::steady);
    CHECK(clock.adjust(reading(2 * kSecond, kStart + 3602 * kSecond)) ==
          WallClock::Verdict::stepped);
    CHECK(clock.wall_ns(Instant{3 * kSecond}) == kStart + 3603 * kSecond);
    CHECK(clock.adjust(reading(3 * kSecond, kStart + 3600 * kSecond)) ==
          WallClock::Verdict::ahead);
    CHECK(clock.wall_ns(Instant{4 * kSecond}) == kStart + 3604 * kSecond - kSecond / 100);
    std::int64_t t = 4 * kSecond;
    for (; t < 400 * kSecond; t += kSecond) clock.adjust(reading(t, kStart + 3597 * kSecond + t));
    CHECK(std::abs(clock.wall_ns(Instant{t}) - (kStart + 3597 * kSecond + t)) < 10'000);
}

TEST_CASE("both clocks are read at the same moment") {
    const Instant before = dp::TscClock::instance().now();
    timespec t{};
    ::clock_gettime(CLOCK_REALTIME, &t);
    const WallClock::Reading r = WallClock::read_clocks();
    CHECK(r.mono >= before);
    CHECK(r.mono <= dp::TscClock::instance().now());
    CHECK(r.wall_ns >= std::int64_t{t.tv_sec} * kSecond + t.tv_nsec);
}
