#pragma once

#include <array>
#include <atomic>
#include <cstdint>

#include "base/instant.hpp"

namespace sluice::capture {

// Turns the dataplane's time into time of day. The writer compares the two once a second; the
// difference found is worked in at a bounded rate over the second that follows, so that the
// result never runs backwards, whatever happens to the system's clock. A forward jump of the
// system's clock of more than a second is followed at once.
class WallClock {
  public:
    // Both clocks, read at the same moment.
    struct Reading {
        Instant mono;
        std::int64_t wall_ns = 0;
    };
    static Reading read_clocks() noexcept;

    static constexpr Duration kInterval = Duration::seconds(1);  // between two readings
    static constexpr std::int64_t kSlewMax = 100;                // at most 1/100 too fast or slow
    static constexpr Duration kStep = Duration::seconds(1);

    explicit WallClock(const Reading& first) noexcept;

    // Any thread, any number of them.
    std::int64_t wall_ns(Instant now) const noexcept;

    enum class Verdict : std::uint8_t {
        steady,
        stepped,  // the system's clock was set forward; we followed
        ahead,    // the system's clock was set back; we run ahead of it until it catches up
    };
    // One thread.
    Verdict adjust(const Reading& reading) noexcept;

  private:
    // offset(t) goes from `offset` at `start` to `offset + change` kInterval later, and stays.
    struct Segment {
        std::atomic<std::int64_t> start{0};
        std::atomic<std::int64_t> offset{0};
        std::atomic<std::int64_t> change{0};
    };
    // A reader that took longer than it takes to come round to its segment again reads it anew.
    static constexpr std::uint64_t kSegments = 8;

    std::int64_t offset_at(Instant now) const noexcept;
    void publish(std::int64_t start, std::int64_t offset, std::int64_t change) noexcept;

    std::array<Segment, kSegments> segments_;
    std::atomic<std::uint64_t> current_{0};
    // Of the thread that adjusts.
    Reading last_;
    std::int64_t drift_ns_ = 0;  // what the clocks drift apart within kInterval
};

}  // namespace sluice::capture
