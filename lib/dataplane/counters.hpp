#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <string_view>

#include "base/drop_reason.hpp"

namespace sluice::dp {

// A counter with one writer (the lcore that owns it) and any number of readers. Load and store,
// not read-modify-write: it compiles to a plain add, and the reader is not a data race.
class Counter {
  public:
    void add(std::uint64_t n) noexcept {
        value_.store(value_.load(std::memory_order_relaxed) + n, std::memory_order_relaxed);
    }
    void set(std::uint64_t n) noexcept { value_.store(n, std::memory_order_relaxed); }
    std::uint64_t get() const noexcept { return value_.load(std::memory_order_relaxed); }

  private:
    std::atomic<std::uint64_t> value_{0};
};

// Declared once, beside the code that counts; shown by every exporter.
struct CounterDesc {
    std::string_view name;  // snake_case
    std::string_view unit;  // "packets", "bytes", "events"
    std::string_view help;
};

inline constexpr unsigned kStageCounters = 16;

// What one stage on one lcore counts. "clear" remembers a base on the reader's side, so that the
// single writer stays the only one.
struct alignas(64) StageCounters {
    Counter packets_in;   // given to process(), or produced by poll()
    Counter bursts_in;    // calls of process() / busy polls
    Counter packets_out;  // emitted
    Counter sampled_cycles;   // exclusive cycles, in sampled iterations only
    Counter sampled_packets;  // packets_in of those iterations
    std::array<Counter, kStageCounters> own;
    std::array<Counter, kDropReasonCount> drops;
};

inline constexpr unsigned kBurstHistogram = 8;  // 0, 1, 2-3, 4-7, 8-15, 16-31, 32-63, 64+

struct alignas(64) LcoreCounters {
    Counter iterations;
    Counter busy_iterations;
    Counter busy_cycles;
    Counter idle_cycles;   // polling without finding anything
    Counter sleep_cycles;  // blocked in the kernel
    Counter sleeps;
    Counter mails;
    std::array<Counter, kBurstHistogram> burst_histogram;
};

}  // namespace sluice::dp
