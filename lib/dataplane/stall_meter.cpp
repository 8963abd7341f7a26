#include "dataplane/stall_meter.hpp"

#include <rte_cycles.h>
#include <sys/resource.h>
#include <time.h>

#include <algorithm>

namespace sluice::dp {
namespace {

constexpr std::int64_t kLookNs = 1'000'000;

std::uint64_t cycles_of(std::int64_t ns) {
    return rte_get_tsc_hz() / 1000 * static_cast<std::uint64_t>(ns) / 1'000'000;
}

std::int64_t ns_of(clockid_t clock) noexcept {
    timespec t{};
    ::clock_gettime(clock, &t);
    return t.tv_sec * std::int64_t{1'000'000'000} + t.tv_nsec;
}

}  // namespace

StallMeter::StallMeter() : stall_cycles_(cycles_of(kStallNs)), look_cycles_(cycles_of(kLookNs)) {}

StallMeter::Usage StallMeter::usage() noexcept {
    Usage u;
    u.wall_ns = ns_of(CLOCK_MONOTONIC);
    u.cpu_ns = ns_of(CLOCK_THREAD_CPUTIME_ID);
    rusage r{};
    ::getrusage(RUSAGE_THREAD, &r);
    u.switches = r.ru_nivcsw;
    return u;
}

void StallMeter::begin() noexcept {
    base_ = usage();
    look_at_ = rte_rdtsc() + look_cycles_;
}

StallKind StallMeter::kind_of(std::int64_t gap_ns, std::int64_t off_ns,
                              std::int64_t switches) noexcept {
    if (off_ns < gap_ns / 2) return StallKind::own;
    return switches != 0 ? StallKind::preempted : StallKind::stolen;
}

void StallMeter::note(std::uint64_t cycles) noexcept {
    const auto gap_ns = static_cast<std::int64_t>(
        static_cast<double>(cycles) * 1e9 / static_cast<double>(rte_get_tsc_hz()));
    const Usage now = usage();
    const std::int64_t off_ns = now.wall_ns - base_.wall_ns - (now.cpu_ns - base_.cpu_ns);
    const StallKind kind = kind_of(gap_ns, off_ns, now.switches - base_.switches);
    StallCounters& c = counters_[static_cast<std::size_t>(kind)];
    c.count.add(1);
    c.ns.add(static_cast<std::uint64_t>(gap_ns));
    c.longest_ns.set(std::max(c.longest_ns.get(), static_cast<std::uint64_t>(gap_ns)));
    begin();
}

}  // namespace sluice::dp
