#include <catch2/catch.hpp>
#include <utility>

#include "harness.hpp"
#include "stages/gen_frame.hpp"
#include "stages/txgen.hpp"

using namespace sluice;
using namespace sluice::stages;

namespace {

std::unique_ptr<dp::Stage> txgen(dp::Params params) {
    auto made = make_stage(node("txgen", std::move(params)), {pool().get()});
    REQUIRE(made);
    return std::move(*made);
}

// What goes until `end`, when asked every `step` or at the deadline.
std::uint64_t sent_until(Harness& h, Instant start, Instant end, Duration step) {
    std::uint64_t sent = 0;
    for (Instant now = start; now < end; now = now + step) {
        while (h.poll(now)) {
            sent += h.out[0].packets.size();
            h.out[0].clear();
        }
    }
    return sent;
}

}  // namespace

TEST_CASE("frames look as the header says") {
    auto stage = txgen({{"size", "100"}, {"count", "3"}, {"stream", "7"},
                        {"src", "02:00:00:00:00:55"}, {"dst", "02:00:00:00:00:66"}});
    Harness h(*stage);
    CHECK(h.poll(Instant{1}));
    CHECK_FALSE(h.poll(Instant{2}));
    REQUIRE(h.out[0].packets.size() == 3);
    for (std::size_t i = 0; i < 3; ++i) {
        const auto frame = bytes_of(h.out[0].packets[i]);
        REQUIRE(frame.size() == 100);
        CHECK(get_be(frame.data(), 6) == 0x020000000066ull);
        CHECK(get_be(frame.data() + 6, 6) == 0x020000000055ull);
        CHECK(get_be(frame.data() + 12, 2) == kGenEtherType);
        const auto header = read_gen(frame.data());
        REQUIRE(header);
        CHECK(header->stream == 7);
        CHECK(header->seq == i);
        CHECK(frame[99] == std::byte{99});
    }
    CHECK(h.own(TxGen::kBytes) == 300);
    CHECK(h.counters.packets_in.get() == 3);
    CHECK(h.counters.packets_out.get() == 3);
}

TEST_CASE("a count ends, and each start sends it again with new numbers") {
    auto stage = txgen({{"count", "70"}});
    Harness h(*stage);
    CHECK(sent_until(h, Instant{0}, Instant{100}, Duration{1}) == 70);
    CHECK(h.wait() == dp::Wait::armed);
    h.stop();
    h.poll(Instant{200});
    REQUIRE(h.out[0].packets.size() == 32);
    CHECK(read_gen(bytes_of(h.out[0].packets[0]).data())->seq == 70);
}

TEST_CASE("a packet rate is exact over time") {
    const std::pair<const char*, std::uint64_t> cases[] = {
        {"3pps", 3}, {"999pps", 999}, {"1.234567Mpps", 1'234'567}};
    for (const auto& [rate, expected] : cases) {
        auto stage = txgen({{"rate", rate}});
        Harness h(*stage);
        const Instant start{12'345};
        const Instant end = start + Duration::seconds(1);
        // Just short of the frame that begins the next second.
        std::uint64_t sent = sent_until(h, start, end - Duration{1}, Duration::microseconds(10));
        sent += sent_until(h, end - Duration{1}, end, Duration{1});
        CHECK(sent == expected);
    }
}

TEST_CASE("a bit rate counts the bits of frames") {
    auto stage = txgen({{"rate", "8Mbps"}, {"size", "1000"}});
    Harness h(*stage);
    const Instant end = Instant{0} + Duration::seconds(2);
    CHECK(sent_until(h, Instant{0}, end, Duration::microseconds(50)) == 2000);
}

TEST_CASE("between two frames the deadline is the time of the next") {
    auto stage = txgen({{"rate", "1kpps"}});
    Harness h(*stage);
    CHECK(h.poll(Instant{0}));
    CHECK_FALSE(h.poll(Instant{10}));
    CHECK(h.deadline() == Instant{1'000'000});
    CHECK(h.wait() == dp::Wait::armed);
    CHECK_FALSE(h.poll(Instant{999'999}));
    CHECK(h.poll(Instant{1'000'000}));
}

TEST_CASE("a pause is not followed by a flood") {
    auto stage = txgen({{"rate", "1Mpps"}});
    Harness h(*stage);
    CHECK(h.poll(Instant{0}));
    h.out[0].clear();
    const Instant late = Instant{0} + Duration::seconds(60);
    CHECK(sent_until(h, late, late + Duration{1}, Duration{1}) == 1024);
}

TEST_CASE("no more than the next stage has room for") {
    auto stage = txgen({});
    Harness h(*stage);
    h.out[0].space = 5;
    CHECK(h.poll(Instant{0}));
    CHECK(h.out[0].packets.size() == 5);
    h.out[0].space = 0;
    CHECK_FALSE(h.poll(Instant{0}));
    CHECK(h.wait() == dp::Wait::poll_only);
}

TEST_CASE("an empty pool is counted and survived") {
    auto stage = txgen({});
    Harness h(*stage);
    int polls = 0;
    while (h.poll(Instant{0}) && polls < 10'000) ++polls;
    CHECK(h.own(TxGen::kPoolEmpty) == 1);
    h.out[0].clear();
    CHECK(h.poll(Instant{0}));
    h.out[0].clear();
    CHECK(pool().in_use() == 0);
}
