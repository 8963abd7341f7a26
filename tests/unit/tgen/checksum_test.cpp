#include <catch2/catch.hpp>
#include <cstring>
#include <string_view>
#include <vector>

#include "base/rng.hpp"
#include "tgen/core/checksum.hpp"

using namespace sluice;
using namespace sluice::tgen;

namespace {

std::uint64_t sum_of(std::string_view text) {
    Checksum c;
    c.update(std::as_bytes(std::span(text)));
    return c.value();
}

}  // namespace

// Values as `xxhsum -H64` prints them.
TEST_CASE("known values of XXH64") {
    CHECK(sum_of("") == 0xef46db3751d8e999ull);
    CHECK(sum_of("a") == 0xd24ec4f1a98c6e5bull);
    CHECK(sum_of("abc") == 0x44bc2cf5ad770999ull);
    CHECK(sum_of("Nobody inspects the spammish repetition") == 0xfbcea83c8a378bf1ull);
}

TEST_CASE("how a stream is cut does not matter") {
    Rng rng(1);
    std::vector<std::byte> data(5000);
    for (auto& b : data) b = static_cast<std::byte>(rng.next());
    Checksum whole;
    whole.update(data);
    for (int round = 0; round < 300; ++round) {
        Checksum cut;
        std::span<const std::byte> rest = data;
        const std::size_t most = rng.between(1, 200);
        while (!rest.empty()) {
            const auto piece = rest.first(std::min<std::size_t>(rng.below(most + 1), rest.size()));
            cut.update(piece);
            rest = rest.subspan(piece.size());
        }
        REQUIRE(cut.value() == whole.value());
    }
}

TEST_CASE("a changed, missing or swapped byte shows") {
    std::vector<std::byte> data(100);
    for (std::size_t i = 0; i < data.size(); ++i) data[i] = static_cast<std::byte>(i);
    const auto sum = [](std::span<const std::byte> d) {
        Checksum c;
        c.update(d);
        return c.value();
    };
    const std::uint64_t good = sum(data);
    for (std::size_t i = 0; i < data.size(); ++i) {
        std::vector<std::byte> bad = data;
        bad[i] ^= std::byte{1};
        CHECK(sum(bad) != good);
        bad = data;
        bad.erase(bad.begin() + static_cast<std::ptrdiff_t>(i));
        CHECK(sum(bad) != good);
        bad = data;
        std::swap(bad[i], bad[(i + 1) % bad.size()]);
        CHECK(sum(bad) != good);
    }
}

TEST_CASE("value() does not end the stream, reset() does") {
    Checksum c;
    c.update(std::as_bytes(std::span("abc", 2)));
    static_cast<void>(c.value());
    c.update(std::as_bytes(std::span("c", 1)));
    CHECK(c.value() == 0x44bc2cf5ad770999ull);
    c.reset();
    CHECK(c.value() == 0xef46db3751d8e999ull);
}
