#include <rte_cycles.h>
#include <time.h>

#include <algorithm>
#include <catch2/catch.hpp>

#include "dataplane/stall_meter.hpp"

namespace sluice::dp {
namespace {

std::uint64_t total(const StallMeter& meter) {
    std::uint64_t n = 0;
    for (const StallCounters& c : meter.counters()) n += c.count.get();
    return n;
}

TEST_CASE("A stall is blamed on who had the CPU", "[stalls]") {
    CHECK(StallMeter::kind_of(100'000, 0, 0) == StallKind::own);
    CHECK(StallMeter::kind_of(100'000, 49'000, 3) == StallKind::own);
    CHECK(StallMeter::kind_of(100'000, 90'000, 1) == StallKind::preempted);
    CHECK(StallMeter::kind_of(100'000, 90'000, 0) == StallKind::stolen);
    // More than the iteration was lost since the last look.
    CHECK(StallMeter::kind_of(100'000, 400'000, 0) == StallKind::stolen);
}

TEST_CASE("Only long iterations count", "[stalls]") {
    StallMeter meter;
    meter.begin();
    const std::uint64_t now = rte_rdtsc();
    meter.iteration(now, now + rte_get_tsc_hz() / 1'000'000);
    CHECK(total(meter) == 0);
    meter.iteration(now, now + rte_get_tsc_hz() / 10'000);
    CHECK(total(meter) == 1);
}

TEST_CASE("Time without the CPU is not the stages' own", "[stalls]") {
    StallMeter meter;
    meter.begin();
    const std::uint64_t begin = rte_rdtsc();
    const timespec t{0, 20'000'000};
    ::nanosleep(&t, nullptr);
    meter.iteration(begin, rte_rdtsc());
    CHECK(total(meter) == 1);
    CHECK(meter.counters()[0].count.get() == 0);
    std::uint64_t longest = 0;
    for (const StallCounters& c : meter.counters())
        longest = std::max(longest, c.longest_ns.get());
    CHECK(longest >= 20'000'000);
}

TEST_CASE("Work of an iteration is its own", "[stalls]") {
    StallMeter meter;
    // On a busy machine any single try may be preempted.
    for (int i = 0; i < 1000 && meter.counters()[0].count.get() == 0; ++i) {
        meter.begin();
        const std::uint64_t begin = rte_rdtsc();
        const std::uint64_t end = begin + rte_get_tsc_hz() / 10'000;
        while (rte_rdtsc() < end) {}
        meter.iteration(begin, rte_rdtsc());
    }
    CHECK(meter.counters()[0].count.get() == 1);
    CHECK(meter.counters()[0].ns.get() >= 99'000);
}

}  // namespace
}  // namespace sluice::dp
