#include <array>
#include <catch2/catch.hpp>
#include <vector>

#include "base/rng.hpp"
#include "tgen/core/wire.hpp"

using namespace sluice;
using namespace sluice::tgen;

namespace {

Start a_start() {
    Start m;
    m.nonce = 0x0123456789abcdefull;
    m.mode = Mode::raw;
    m.sizes = {10, 4000, 250};
    m.count = 7;
    m.duration_ns = 8;
    m.bytes = 9;
    m.clock = {0xfeedull, 2'100'000'000};
    return m;
}

Report a_report() {
    Report r;
    std::uint64_t v = 1;
    for (std::uint64_t* p :
         {&r.nonce, &r.sdus, &r.bytes, &r.lost, &r.reordered, &r.duplicates, &r.unstamped,
          &r.foreign, &r.first_ns, &r.last_ns, &r.latency_count, &r.latency_min_ns,
          &r.latency_p50_ns, &r.latency_p99_ns, &r.latency_max_ns, &r.latency_mean_ns,
          &r.checksum}) {
        *p = v++ << 40;
    }
    return r;
}

}  // namespace

TEST_CASE("control messages survive the way there and back") {
    std::array<std::byte, kStartSize> s;
    encode(a_start(), s);
    CHECK(parse_start(s, s.size()) == a_start());

    const Fin fin{1, 2, 3, 4};
    std::array<std::byte, kFinSize> f;
    encode(fin, f);
    CHECK(parse_fin(f, f.size()) == fin);

    std::array<std::byte, kReportSize> r;
    encode(a_report(), r);
    CHECK(parse_report(r, r.size()) == a_report());
}

TEST_CASE("messages are little-endian bytes at fixed places") {
    std::array<std::byte, kStartSize> s;
    encode(a_start(), s);
    const auto at = [&s](std::size_t i) { return std::to_integer<unsigned>(s[i]); };
    CHECK(at(0) == 'S');
    CHECK(at(7) == '1');
    CHECK(at(8) == kVersion);
    CHECK(at(9) == 1);
    CHECK(at(10) == 1);
    CHECK(at(12) == kStartSize);
    CHECK(at(16) == 0xef);
    CHECK(at(23) == 0x01);
    CHECK(at(24) == 10);
    CHECK(at(28) == 0xa0);
    CHECK(at(29) == 0x0f);
}

TEST_CASE("only the exact length is a control message") {
    std::vector<std::byte> s(200);
    encode(a_start(), std::span<std::byte, kStartSize>(s.data(), kStartSize));
    for (std::size_t size = 0; size <= s.size(); ++size) {
        CHECK(parse_start(std::span(s).first(size), size).has_value() == (size == kStartSize));
        CHECK_FALSE(parse_fin(std::span(s).first(size), size));
        CHECK_FALSE(parse_report(std::span(s).first(size), size));
    }
    // The SDU is as long as a START, but only a part of it is in sight.
    CHECK_FALSE(parse_start(std::span(s).first(40), kStartSize));
}

TEST_CASE("a changed header byte is no control message, save version and nonce") {
    std::array<std::byte, kStartSize> s;
    for (std::size_t i = 0; i < kControlHeaderSize; ++i) {
        encode(a_start(), s);
        s[i] ^= std::byte{0x80};
        const bool still = i == 8 || i >= 16;
        CHECK(parse_start(s, s.size()).has_value() == still);
    }
    encode(a_start(), s);
    s[8] = std::byte{9};
    CHECK(parse_start(s, s.size())->version == 9);

    std::array<std::byte, kFinSize> f;
    for (std::size_t i = 0; i < 16; ++i) {
        encode(Fin{1, 2, 3, 4}, f);
        f[i] ^= std::byte{0x80};
        // The mode means nothing in a FIN.
        CHECK(parse_fin(f, f.size()).has_value() == (i == 10));
    }
}

TEST_CASE("a START with impossible sizes is none") {
    std::array<std::byte, kStartSize> s;
    Start m = a_start();
    m.sizes = {5, 4, 1};
    encode(m, s);
    CHECK_FALSE(parse_start(s, s.size()));
    m.sizes = {0, kSduSizeMax + 1, 1};
    encode(m, s);
    CHECK_FALSE(parse_start(s, s.size()));
    m.sizes = {0, 10, 0};
    encode(m, s);
    CHECK_FALSE(parse_start(s, s.size()));
}

TEST_CASE("random bytes never parse nor read beyond their end") {
    Rng rng(1);
    for (int i = 0; i < 20000; ++i) {
        const std::size_t size = rng.below(200);
        const std::vector<std::byte> noise = [&] {
            std::vector<std::byte> v(size);
            for (auto& b : v) b = static_cast<std::byte>(rng.next());
            return v;
        }();
        CHECK_FALSE(parse_start(noise, size));
        CHECK_FALSE(parse_fin(noise, size));
        CHECK_FALSE(parse_report(noise, size));
    }
}

TEST_CASE("the tag differs from the magic and between runs") {
    CHECK(tag_of(1) != tag_of(2));
    CHECK(tag_of(1) == tag_of(1));
    Rng rng(3);
    for (int i = 0; i < 1000; ++i) CHECK(tag_of(rng.next()) != kMagic);
}

TEST_CASE("a stamped header is read as it was written") {
    std::array<std::byte, kStampedHeaderSize> p;
    write_stamped(p.data(), {1, 2, 0xff00000000000003ull});
    CHECK(p[0] == std::byte{1});
    CHECK(p[8] == std::byte{2});
    CHECK(p[23] == std::byte{0xff});
    const StampedHeader h = read_stamped(p.data());
    CHECK(h.tag == 1);
    CHECK(h.seq == 2);
    CHECK(h.stamp == 0xff00000000000003ull);
}

TEST_CASE("stamps compare within one boot only") {
    const ClockId a{7, 2'000'000'000};
    CHECK(same_clock(a, a));
    CHECK(same_clock(a, {7, 2'001'000'000}));
    CHECK_FALSE(same_clock(a, {8, 2'000'000'000}));
    CHECK_FALSE(same_clock(a, {7, 2'100'000'000}));
    CHECK_FALSE(same_clock(a, {7, 0}));
    CHECK_FALSE(same_clock({7, 0}, {7, 0}));
    CHECK_FALSE(same_clock({0, 1}, {0, 1}));
}
