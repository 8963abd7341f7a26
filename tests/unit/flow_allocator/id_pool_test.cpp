#include <catch2/catch.hpp>
#include <set>

#include "base/rng.hpp"
#include "normal_dif/core/mgmt/id_pool.hpp"

using namespace sluice;
using namespace sluice::mgmt;

namespace {
Instant at(std::int64_t ms) { return Instant::zero() + Duration::milliseconds(ms); }
}  // namespace

TEST_CASE("numbers start at 0 and are not used again at once") {
    IdPool pool(100, Duration::seconds(5));
    CHECK(pool.acquire(at(0)) == 0u);
    CHECK(pool.acquire(at(0)) == 1u);
    CHECK(pool.release(at(1000), 0));
    CHECK(pool.acquire(at(5999)) == 2u);
    CHECK(pool.acquire(at(6000)) == 0u);
    CHECK(pool.in_use() == 3);
    CHECK(pool.resting() == 0);
}

TEST_CASE("a pool runs out, and recovers when numbers have rested") {
    IdPool pool(2, Duration::seconds(5));
    REQUIRE(pool.acquire(at(0)));
    REQUIRE(pool.acquire(at(0)));
    CHECK_FALSE(pool.acquire(at(0)));
    REQUIRE(pool.release(at(0), 1));
    CHECK_FALSE(pool.acquire(at(4999)));
    CHECK(pool.acquire(at(5000)) == 1u);
}

TEST_CASE("what is not in use is not given back") {
    IdPool pool(10, Duration::seconds(5));
    CHECK_FALSE(pool.release(at(0), 0));
    CHECK_FALSE(pool.release(at(0), 1000000));
    REQUIRE(pool.acquire(at(0)));
    CHECK(pool.release(at(0), 0));
    CHECK_FALSE(pool.release(at(0), 0));
    CHECK(pool.in_use() == 0);
    CHECK(pool.resting() == 1);
}

TEST_CASE("pools as wide as the format") {
    CHECK(IdPool::of_width(1, Duration{}).count() == 256);
    CHECK(IdPool::of_width(2, Duration{}).count() == 65536);
    CHECK(IdPool::of_width(4, Duration{}).count() >= 1'000'000);
    CHECK(IdPool::of_width(8, Duration{}).count() >= 1'000'000);
    IdPool pool = IdPool::of_width(4, Duration::seconds(5));
    for (std::uint32_t i = 0; i < 1'000'000; ++i)
        if (pool.acquire(at(0)) != i) FAIL("number " << i);
    CHECK(pool.in_use() == 1'000'000);
}

TEST_CASE("no number is handed out twice, nor before its rest is over") {
    Rng rng(5);
    IdPool pool(64, Duration::milliseconds(100));
    std::vector<std::uint32_t> used;
    std::vector<std::int64_t> released(64, -1000);
    std::set<std::uint32_t> in_use;
    for (std::int64_t ms = 0; ms < 20000; ms += static_cast<std::int64_t>(rng.below(8))) {
        if (rng.chance(0.5)) {
            const auto id = pool.acquire(at(ms));
            if (!id) continue;
            REQUIRE(in_use.insert(*id).second);
            REQUIRE(ms - released[*id] >= 100);
            used.push_back(*id);
        } else if (!used.empty()) {
            const std::size_t i = rng.below(used.size());
            const std::uint32_t id = used[i];
            used.erase(used.begin() + static_cast<std::ptrdiff_t>(i));
            REQUIRE(pool.release(at(ms), id));
            released[id] = ms;
            in_use.erase(id);
        }
        REQUIRE(pool.in_use() == in_use.size());
    }
}
