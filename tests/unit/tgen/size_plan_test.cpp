#include <catch2/catch.hpp>
#include <vector>

#include "tgen/core/size_plan.hpp"

using namespace sluice::tgen;

namespace {

std::vector<std::uint32_t> first(SizeRange range, std::size_t n) {
    SizePlan plan(range);
    std::vector<std::uint32_t> sizes;
    for (; sizes.size() < n; plan.advance()) sizes.push_back(plan.peek());
    return sizes;
}

}  // namespace

TEST_CASE("a constant size stays") {
    CHECK(first(SizeRange::constant(0), 3) == std::vector<std::uint32_t>{0, 0, 0});
    CHECK(first(SizeRange::constant(65000), 2) == std::vector<std::uint32_t>{65000, 65000});
}

TEST_CASE("a sweep goes up to its end and starts again") {
    CHECK(first({0, 4, 2}, 5) == std::vector<std::uint32_t>{0, 2, 4, 0, 2});
    CHECK(first({0, 5, 2}, 5) == std::vector<std::uint32_t>{0, 2, 4, 0, 2});
    CHECK(first({3, 5, 10}, 3) == std::vector<std::uint32_t>{3, 3, 3});
    CHECK(first({7, 8, 1}, 3) == std::vector<std::uint32_t>{7, 8, 7});
    CHECK(first({0, 65000, 65000}, 3) == std::vector<std::uint32_t>{0, 65000, 0});
    CHECK(first({0, 10, ~std::uint32_t{0}}, 2) == std::vector<std::uint32_t>{0, 0});
}

TEST_CASE("a sweep by one meets every size once a round") {
    SizePlan plan({0, 65000, 1});
    for (std::uint32_t size = 0; size <= 65000; ++size, plan.advance()) {
        REQUIRE(plan.peek() == size);
    }
    CHECK(plan.peek() == 0);
}

TEST_CASE("which ranges are valid") {
    CHECK(SizeRange{0, 0, 1}.valid());
    CHECK_FALSE(SizeRange{1, 0, 1}.valid());
    CHECK_FALSE(SizeRange{0, 1, 0}.valid());
    CHECK_FALSE(SizeRange{0, 65001, 1}.valid());
}

TEST_CASE("chunks put together are the whole") {
    std::vector<std::byte> data(1000);
    for (std::size_t i = 0; i < data.size(); ++i) data[i] = static_cast<std::byte>(i * 7);
    for (std::size_t size = 1; size <= 1001; ++size) {
        Chunker chunks{data};
        std::vector<std::byte> back;
        while (!chunks.at_end()) {
            const auto piece = chunks.peek(size);
            REQUIRE(piece.size() == std::min(size, data.size() - back.size()));
            back.insert(back.end(), piece.begin(), piece.end());
            chunks.advance(piece.size());
        }
        REQUIRE(back == data);
    }
    Chunker none;
    CHECK(none.at_end());
    CHECK(none.peek(5).empty());
    none.advance(5);
    CHECK(none.left() == 0);
}
