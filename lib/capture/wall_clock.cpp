#include "capture/wall_clock.hpp"

#include <time.h>

#include <algorithm>

#include "dataplane/clock.hpp"

namespace sluice::capture {
namespace {

constexpr std::int64_t kSecondNs = 1'000'000'000;
constexpr std::int64_t kChangeMax = WallClock::kInterval.ns / WallClock::kSlewMax;

}  // namespace

WallClock::Reading WallClock::read_clocks() noexcept {
    // The attempt that was interrupted least knows the moment best.
    Reading best;
    Duration best_gap = Duration::seconds(3600);
    for (int i = 0; i < 5; ++i) {
        const Instant before = dp::TscClock::instance().now();
        timespec t{};
        ::clock_gettime(CLOCK_REALTIME, &t);
        const Duration gap = dp::TscClock::instance().now() - before;
        if (gap >= best_gap) continue;
        best_gap = gap;
        best = {before + gap / 2, std::int64_t{t.tv_sec} * kSecondNs + t.tv_nsec};
    }
    return best;
}

WallClock::WallClock(const Reading& first) noexcept : last_(first) {
    publish(first.mono.ns, first.wall_ns - first.mono.ns, 0);
}

std::int64_t WallClock::offset_at(Instant now) const noexcept {
    for (;;) {
        const std::uint64_t current = current_.load(std::memory_order_acquire);
        const Segment& s = segments_[current % kSegments];
        // Acquire, so that the second look at current_ comes after these.
        const std::int64_t start = s.start.load(std::memory_order_acquire);
        const std::int64_t offset = s.offset.load(std::memory_order_acquire);
        const std::int64_t change = s.change.load(std::memory_order_acquire);
        if (current_.load(std::memory_order_relaxed) - current >= kSegments - 1) continue;
        const std::int64_t into = std::clamp<std::int64_t>(now.ns - start, 0, kInterval.ns);
        return offset + change * into / kInterval.ns;
    }
}

std::int64_t WallClock::wall_ns(Instant now) const noexcept { return now.ns + offset_at(now); }

void WallClock::publish(std::int64_t start, std::int64_t offset, std::int64_t change) noexcept {
    const std::uint64_t next = current_.load(std::memory_order_relaxed) + 1;
    Segment& s = segments_[next % kSegments];
    // Release, so that who sees one of these also sees that current_ has come this far.
    s.start.store(start, std::memory_order_release);
    s.offset.store(offset, std::memory_order_release);
    s.change.store(change, std::memory_order_release);
    current_.store(next, std::memory_order_release);
}

WallClock::Verdict WallClock::adjust(const Reading& reading) noexcept {
    const std::int64_t wanted = reading.wall_ns - reading.mono.ns;
    const std::int64_t moved = wanted - (last_.wall_ns - last_.mono.ns);
    const Duration since = reading.mono - last_.mono;
    last_ = reading;
    // A small difference is drift (the TSC's frequency is an estimate), which will go on; a large
    // one means that somebody set the clock.
    if (since > kInterval / 4 && std::abs(moved) <= since.ns / kSlewMax)
        drift_ns_ = static_cast<std::int64_t>(static_cast<double>(moved) *
                                              static_cast<double>(kInterval.ns) /
                                              static_cast<double>(since.ns));
    std::int64_t have = offset_at(reading.mono);
    Verdict verdict = Verdict::steady;
    if (wanted - have > kStep.ns) {
        have = wanted;
        verdict = Verdict::stepped;
    } else if (have - wanted > kStep.ns) {
        verdict = Verdict::ahead;
    }
    const std::int64_t change = std::clamp(wanted + drift_ns_ - have, -kChangeMax, kChangeMax);
    publish(reading.mono.ns, have, change);
    return verdict;
}

}  // namespace sluice::capture
