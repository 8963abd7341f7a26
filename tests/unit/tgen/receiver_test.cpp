#include <algorithm>
#include <catch2/catch.hpp>
#include <numeric>
#include <vector>

#include "base/rng.hpp"
#include "tgen/core/receiver.hpp"

using namespace sluice;
using namespace sluice::tgen;

namespace {

SequenceTracker tracked(const std::vector<std::uint64_t>& seqs) {
    SequenceTracker t;
    for (const std::uint64_t s : seqs) t.on_seq(s);
    return t;
}

void check(const SequenceTracker& t, std::uint64_t missing, std::uint64_t reordered,
           std::uint64_t duplicates) {
    CHECK(t.missing() == missing);
    CHECK(t.reordered() == reordered);
    CHECK(t.duplicates() == duplicates);
}

Receiver receiver(bool latency = true, Mode mode = Mode::stamped) {
    Receiver r;
    r.start({42, mode, 2'000'000'000, latency}, 1000);
    return r;
}

}  // namespace

TEST_CASE("in order there is nothing to say") { check(tracked({0, 1, 2, 3}), 0, 0, 0); }

TEST_CASE("gaps are losses until they are filled") {
    check(tracked({0, 2}), 1, 0, 0);
    check(tracked({0, 2, 1}), 0, 1, 0);
    check(tracked({3}), 3, 0, 0);
    check(tracked({3, 0, 1, 2}), 0, 3, 0);
    check(tracked({0, 1, 1}), 0, 0, 1);
    check(tracked({0, 2, 1, 1, 2, 0}), 0, 1, 3);
}

TEST_CASE("the window knows 64 numbers") {
    for (const std::uint64_t gap : {1ull, 61ull, 62ull, 63ull, 64ull, 65ull, 1000ull}) {
        SequenceTracker t;
        t.on_seq(0);
        t.on_seq(gap + 1);
        CHECK(t.missing() == gap);
        for (std::uint64_t s = gap; s > 0; --s) t.on_seq(s);
        check(t, 0, gap, 0);
        t.on_seq(1);
        check(t, 0, gap, 1);
        t.on_seq(gap + 2);
        CHECK(t.expected() == gap + 3);
    }
}

TEST_CASE("beyond the window a number is a duplicate unless one that old is missing") {
    std::vector<std::uint64_t> seqs(200);
    std::iota(seqs.begin(), seqs.end(), std::uint64_t{0});
    seqs.push_back(5);
    check(tracked(seqs), 0, 0, 1);
    seqs.pop_back();
    seqs.erase(seqs.begin() + 7);
    check(tracked(seqs), 1, 0, 0);
    seqs.push_back(7);
    check(tracked(seqs), 0, 1, 0);
    // Only recent numbers are missing: 5 must have been here.
    seqs.push_back(202);
    seqs.push_back(5);
    check(tracked(seqs), 2, 1, 1);
}

TEST_CASE("a shuffle within the window is counted exactly") {
    Rng rng(2);
    for (int round = 0; round < 100; ++round) {
        std::vector<std::uint64_t> seqs;
        std::uint64_t lost = 0;
        std::uint64_t doubled = 0;
        for (std::uint64_t s = 0; s < 1000; ++s) {
            // The last one stays, or its loss could not be seen.
            if (s != 999 && rng.chance(0.1)) {
                ++lost;
                continue;
            }
            seqs.push_back(s);
            if (rng.chance(0.1)) {
                seqs.push_back(s);
                ++doubled;
            }
        }
        for (std::size_t i = 0; i + 16 < seqs.size(); i += 16) {
            for (std::size_t k = 15; k > 0; --k) std::swap(seqs[i + k], seqs[i + rng.below(k + 1)]);
        }
        const SequenceTracker t = tracked(seqs);
        REQUIRE(t.missing() == lost);
        REQUIRE(t.duplicates() == doubled);
        REQUIRE(t.expected() == 1000);
    }
}

TEST_CASE("counts, times and latency of a stamped run") {
    Receiver r = receiver();
    CHECK(r.tag() == tag_of(42));
    r.on_stamped(3000, 0, 2000, 100);
    r.on_stamped(5000, 1, 2000, 200);
    r.on_stamped(9000, 3, 8000, 300);
    r.on_unstamped(9000, 1, 7);
    r.on_foreign();
    const Report p = r.report();
    CHECK(p.nonce == 42);
    CHECK(p.sdus == 4);
    CHECK(p.bytes == 607);
    CHECK(p.lost == 1);
    CHECK(p.unstamped == 1);
    CHECK(p.foreign == 1);
    CHECK(p.first_ns == 1000);
    CHECK(p.last_ns == 4000);
    CHECK(p.latency_count == 3);
    CHECK(p.latency_min_ns == 500);
    CHECK(p.latency_max_ns == 1500);
    CHECK(p.latency_mean_ns == 833);
    CHECK(p.checksum == 0);
    CHECK(goodput_bps(p) == Approx(607 * 8 / 3e-6));
}

TEST_CASE("a stamp from a core that is ahead is no huge latency") {
    Receiver r = receiver();
    r.on_stamped(3000, 0, 3005, 100);
    CHECK(r.report().latency_max_ns == 0);
}

TEST_CASE("clocks of two machines give no latency") {
    Receiver r = receiver(false);
    r.on_stamped(3000, 0, 2000, 100);
    CHECK(r.report().latency_count == 0);
}

TEST_CASE("FIN's total shows what is lost at the end") {
    Receiver r = receiver();
    CHECK(r.report(5).lost == 5);
    r.on_stamped(1, 0, 0, 30);
    r.on_stamped(1, 1, 0, 30);
    r.on_stamped(1, 1, 0, 30);
    r.on_unstamped(1, 1, 3);
    CHECK(r.report().lost == 0);
    CHECK(r.report(10).lost == 7);
    CHECK(r.report(3).lost == 0);
    CHECK(r.report(2).lost == 0);
}

TEST_CASE("an empty run is reported as such") {
    const Report p = receiver().report(0);
    CHECK(p.sdus == 0);
    CHECK(p.lost == 0);
    CHECK(p.first_ns == 0);
    CHECK(p.last_ns == 0);
    CHECK(p.latency_count == 0);
    CHECK(goodput_bps(p) == 0);
}

TEST_CASE("raw mode sums the payload") {
    Receiver r = receiver(false, Mode::raw);
    r.on_raw(2000, 2);
    r.on_payload(std::as_bytes(std::span("ab", 2)));
    r.on_raw(4000, 1);
    r.on_payload(std::as_bytes(std::span("c", 1)));
    CHECK(r.report(2).checksum == 0x44bc2cf5ad770999ull);
    CHECK(r.report(2).sdus == 2);
    CHECK(r.report(3).lost == 1);
}

TEST_CASE("a new START forgets the run before") {
    Receiver r = receiver();
    r.on_stamped(3000, 5, 2000, 100);
    r.start({43, Mode::stamped, 1'000'000'000, true}, 5000);
    CHECK(r.report().sdus == 0);
    CHECK(r.report().lost == 0);
    CHECK(r.report().latency_count == 0);
    CHECK(r.tag() == tag_of(43));
}

TEST_CASE("days of ticks become nanoseconds without overflow") {
    Receiver r = receiver();
    r.on_stamped(1000, 0, 0, 24);
    r.on_stamped(1000 + 2'000'000'000ull * 86400 * 365, 1, 0, 24);
    CHECK(r.report().last_ns == 86400ull * 365 * 1'000'000'000);
}
