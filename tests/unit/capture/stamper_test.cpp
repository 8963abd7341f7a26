#include "capture/stamper.hpp"

#include <catch2/catch.hpp>

#include "base/rng.hpp"

using namespace sluice;
using capture::Stamper;

namespace {

Instant at(std::int64_t ns) { return Instant{ns}; }

}  // namespace

TEST_CASE("A burst is spread evenly over the time since the poll before", "[stamper]") {
    Stamper stamper;
    stamper.nothing(at(1000));
    const Stamper::Run run = stamper.burst(at(2000), 4, false);
    CHECK(run.at(0) == 1250);
    CHECK(run.at(1) == 1500);
    CHECK(run.at(2) == 1750);
    CHECK(run.at(3) == 2000);
    CHECK(stamper.error_ns() == 1000);
    CHECK(stamper.error_max_ns() == 1000);
}

TEST_CASE("The first burst of all has nothing to be spread over", "[stamper]") {
    Stamper stamper;
    const Stamper::Run run = stamper.burst(at(5000), 3, false);
    for (unsigned i = 0; i < 3; ++i) CHECK(run.at(i) == 5000);
    // The next one has.
    CHECK(stamper.burst(at(5300), 3, false).at(0) == 5100);
}

TEST_CASE("Full bursts let the bound grow until the queue is seen empty", "[stamper]") {
    Stamper stamper;
    stamper.nothing(at(0));
    for (int i = 1; i <= 5; ++i) {
        stamper.burst(at(i * 100), 64, true);
        CHECK(stamper.error_ns() == i * 100);
    }
    SECTION("by a burst that is not full") {
        // Its own packets may have waited as long; the next ones cannot.
        stamper.burst(at(600), 10, false);
        CHECK(stamper.error_ns() == 600);
        stamper.burst(at(650), 10, false);
        CHECK(stamper.error_ns() == 50);
    }
    SECTION("by a poll that finds nothing") {
        stamper.nothing(at(600));
        stamper.burst(at(630), 64, true);
        CHECK(stamper.error_ns() == 30);
    }
    // What was, was.
    CHECK(stamper.error_max_ns() >= 500);
}

TEST_CASE("A clock that stands or runs back a little gives no stamps out of order", "[stamper]") {
    Stamper stamper;
    stamper.nothing(at(1000));
    stamper.burst(at(2000), 8, true);
    const Stamper::Run same = stamper.burst(at(2000), 8, true);
    CHECK(same.at(0) == 2000);
    CHECK(same.at(7) == 2000);
    const Stamper::Run back = stamper.burst(at(1990), 8, true);
    CHECK(back.at(7) <= 1990);
    CHECK(stamper.error_ns() >= 0);
}

TEST_CASE("Stamps lie between the polls, in order, whatever comes", "[stamper]") {
    for (std::uint64_t seed = 0; seed < 200; ++seed) {
        Rng rng(seed);
        Stamper stamper;
        std::int64_t now = static_cast<std::int64_t>(rng.below(1'000'000'000'000));
        std::int64_t before = now;
        std::int64_t empty_at = now;
        std::int64_t last = 0;
        std::int64_t longest = 0;
        stamper.nothing(at(now));
        for (int i = 0; i < 200; ++i) {
            now += static_cast<std::int64_t>(rng.chance(0.1) ? rng.below(3'600'000'000'000)
                                                             : rng.below(5000));
            if (rng.chance(0.2)) {
                stamper.nothing(at(now));
                before = empty_at = now;
                continue;
            }
            const auto count = static_cast<unsigned>(rng.between(1, 64));
            const bool full = rng.chance(0.5);
            const Stamper::Run run = stamper.burst(at(now), count, full);
            bool good = true;
            for (unsigned k = 0; k < count; ++k) {
                good &= run.at(k) >= last && run.at(k) >= before && run.at(k) <= now;
                // In its own place: a packet of a burst is one share of the time after the other.
                good &= std::abs(run.at(k) - (before + (now - before) * (k + 1) / count)) <= 2;
                last = run.at(k);
            }
            longest = std::max(longest, now - empty_at);
            good &= stamper.error_ns() == now - empty_at;
            good &= stamper.error_max_ns() == longest;
            INFO("seed " << seed << " burst " << i);
            REQUIRE(good);
            before = now;
            if (!full) empty_at = now;
        }
    }
}
