#include <algorithm>
#include <catch2/catch.hpp>
#include <vector>

#include "base/rng.hpp"
#include "tgen/core/histogram.hpp"

using namespace sluice;
using namespace sluice::tgen;

TEST_CASE("buckets follow on each other without gaps") {
    for (std::size_t i = 0; i + 1 < Histogram::kBuckets; ++i) {
        const std::uint64_t top = Histogram::top_of(i);
        REQUIRE(Histogram::index_of(top) == i);
        REQUIRE(Histogram::index_of(top + 1) == i + 1);
    }
    CHECK(Histogram::top_of(Histogram::kBuckets - 1) == (1ull << Histogram::kValueBits) - 1);
    CHECK(Histogram::index_of(0) == 0);
    CHECK(Histogram::index_of(~std::uint64_t{0}) == Histogram::kBuckets - 1);
}

TEST_CASE("an empty histogram says zero") {
    const Histogram h;
    CHECK(h.count() == 0);
    CHECK(h.min() == 0);
    CHECK(h.max() == 0);
    CHECK(h.mean() == 0);
    CHECK(h.quantile(500) == 0);
}

TEST_CASE("one value is every quantile") {
    for (const std::uint64_t v : {0ull, 1ull, 127ull, 128ull, 1'000'003ull, ~0ull}) {
        Histogram h;
        h.add(v);
        CHECK(h.min() == v);
        CHECK(h.max() == v);
        CHECK(h.mean() == v);
        for (const unsigned q : {0u, 1u, 500u, 990u, 1000u}) CHECK(h.quantile(q) == v);
    }
}

TEST_CASE("quantiles are within 1.6 % of sorting") {
    Rng rng(4);
    for (const unsigned bits : {4u, 8u, 20u, 39u}) {
        Histogram h;
        std::vector<std::uint64_t> values;
        for (int i = 0; i < 20000; ++i) {
            const std::uint64_t v = rng.next() >> (64 - rng.between(1, bits));
            values.push_back(v);
            h.add(v);
        }
        std::sort(values.begin(), values.end());
        for (const unsigned q : {1u, 100u, 500u, 900u, 990u, 999u, 1000u}) {
            const std::uint64_t exact = values[(values.size() * q + 999) / 1000 - 1];
            const std::uint64_t said = h.quantile(q);
            REQUIRE(said >= exact);
            REQUIRE(said <= exact + exact / 64);
        }
        CHECK(h.min() == values.front());
        CHECK(h.max() == values.back());
    }
}

TEST_CASE("what is off the scale keeps its extremes") {
    Histogram h;
    h.add(5);
    h.add(1ull << 50);
    CHECK(h.quantile(500) == 5);
    CHECK(h.quantile(990) == 1ull << 50);
    CHECK(h.max() == 1ull << 50);
    CHECK(h.mean() == ((1ull << 50) + 5) / 2);
}
