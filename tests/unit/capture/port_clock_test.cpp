#include <catch2/catch.hpp>
#include <cstdlib>

#include "capture/port_clock.hpp"

namespace sluice::capture {
namespace {

constexpr std::int64_t kWall = 1'700'000'000'000'000'000;
constexpr std::int64_t kSecond = 1'000'000'000;

TEST_CASE("A clock is no time of day before its second reading", "[port_clock]") {
    ClockLine line;
    CHECK(line.wall_ns(5) == 0);
    line.add(1000, kWall);
    CHECK(line.wall_ns(1000) == 0);
    // Nor from two readings that do not differ.
    line.add(1000, kWall + 1);
    line.add(2000, kWall + 1);
    CHECK(line.wall_ns(2000) == 0);
    line.add(3000, kWall + 1001);
    CHECK(line.wall_ns(3000) == kWall + 1001);
}

TEST_CASE("Ticks of any length lie on the line, before and behind the last reading",
          "[port_clock]") {
    ClockLine line;
    line.add(7'000'000, kWall);
    line.add(7'000'000 + 125'000'000, kWall + kSecond);  // 8 ns each
    CHECK(line.wall_ns(7'000'000 + 125'000'000) == kWall + kSecond);
    CHECK(line.wall_ns(7'000'000 + 125'000'001) == kWall + kSecond + 8);
    CHECK(line.wall_ns(7'000'000 + 124'999'000) == kWall + kSecond - 8000);
    CHECK(line.wall_ns(7'000'000 + 250'000'000) == kWall + 2 * kSecond);
}

TEST_CASE("A clock that drifts is followed", "[port_clock]") {
    ClockLine line;
    std::uint64_t ticks = ~std::uint64_t{0} - 1'500'000'000;  // and that comes round
    std::int64_t wall = kWall;
    line.add(ticks, wall);
    for (int i = 0; i < 20; ++i) {
        // From 50 ppm too slow to 50 too fast.
        ticks += static_cast<std::uint64_t>(kSecond - 50'000 + 5'000 * i);
        wall += kSecond;
        line.add(ticks, wall);
        CHECK(line.wall_ns(ticks) == wall);
        // Half a second on, it is wrong by what the drift changed since.
        const std::int64_t ahead = line.wall_ns(ticks + 500'000'000);
        CHECK(std::abs(ahead - (wall + kSecond / 2)) < 30'000);
    }
}

}  // namespace
}  // namespace sluice::capture
