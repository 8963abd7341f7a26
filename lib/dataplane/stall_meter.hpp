#pragma once

#include <array>
#include <cstdint>

#include "dataplane/counters.hpp"

namespace sluice::dp {

// Why an iteration of an lcore took long.
enum class StallKind : std::uint8_t {
    own,        // it ran all the time: its stages took so long
    preempted,  // another thread of this machine had the CPU
    stolen,     // nobody here had it: a hypervisor gave it to others, or it served interrupts
};
inline constexpr std::size_t kStallKinds = 3;
inline constexpr const char* kStallNames[kStallKinds] = {"own", "preempted", "stolen"};

struct StallCounters {
    Counter count;
    Counter ns;
    Counter longest_ns;  // since the start
};

// Finds the iterations in which a receive ring may have overflowed, and what to blame: by the CPU
// time of the thread (clock_gettime(2), which leaves stolen time out) and the involuntary switches
// of getrusage(2). Both are looked at once a millisecond, so an attribution is wrong by at most
// what was lost in short pieces in the millisecond before.
class StallMeter {
  public:
    static constexpr std::int64_t kStallNs = 50'000;

    StallMeter();
    // lcore: from now on; also after it has slept.
    void begin() noexcept;
    void iteration(std::uint64_t begin_tsc, std::uint64_t end_tsc) noexcept {
        if (end_tsc - begin_tsc >= stall_cycles_) [[unlikely]]
            note(end_tsc - begin_tsc);
        else if (end_tsc >= look_at_) [[unlikely]]
            begin();
    }
    // Any thread.
    const std::array<StallCounters, kStallKinds>& counters() const noexcept { return counters_; }

    // What a stall of `gap_ns` was, of which the thread did not run for `off_ns`.
    static StallKind kind_of(std::int64_t gap_ns, std::int64_t off_ns,
                             std::int64_t switches) noexcept;

  private:
    struct Usage {
        std::int64_t wall_ns = 0;
        std::int64_t cpu_ns = 0;
        std::int64_t switches = 0;
    };
    static Usage usage() noexcept;
    void note(std::uint64_t cycles) noexcept;

    const std::uint64_t stall_cycles_;
    const std::uint64_t look_cycles_;
    std::uint64_t look_at_ = 0;
    Usage base_;
    std::array<StallCounters, kStallKinds> counters_;
};

}  // namespace sluice::dp
