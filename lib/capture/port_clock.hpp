#pragma once

#include <rte_mbuf.h>
#include <rte_mbuf_dyn.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <optional>

#include "base/instant.hpp"

namespace sluice::capture {

// The ticks of a clock as time of day: the straight line through its last two readings. Written by
// one thread, read by any.
class ClockLine {
  public:
    // Both as they were at one moment; about once a second.
    void add(std::uint64_t ticks, std::int64_t wall_ns) noexcept;
    // 0 before the second reading.
    std::int64_t wall_ns(std::uint64_t ticks) const noexcept {
        const unsigned made = made_.load(std::memory_order_acquire);
        if (made == 0) return 0;
        const Line& line = lines_[made % kLines];
        const auto since =
            static_cast<std::int64_t>(ticks - line.ticks.load(std::memory_order_relaxed));
        const double ns_per_tick = line.ns_per_tick.load(std::memory_order_relaxed);
        return line.wall_ns.load(std::memory_order_relaxed) +
               static_cast<std::int64_t>(static_cast<double>(since) * ns_per_tick);
    }

  private:
    // A reader has seconds before its line is written anew, which is as long as no lcore takes.
    static constexpr unsigned kLines = 8;
    struct Line {
        std::atomic<std::uint64_t> ticks{0};
        std::atomic<std::int64_t> wall_ns{0};
        std::atomic<double> ns_per_tick{0};
    };
    std::array<Line, kLines> lines_;
    std::atomic<unsigned> made_{0};  // how many; 0: none yet
    std::uint64_t last_ticks_ = 0;
    std::int64_t last_wall_ = 0;
};

// Stamps that a port gives its packets (RTE_ETH_RX_OFFLOAD_TIMESTAMP, in the mbuf's dynamic field),
// turned into time of day. A NIC counts ticks of a clock of its own, which is read beside ours
// once a second (rte_eth_read_clock) and followed in a straight line through the last two readings;
// net_pcap gives the stamps of the file that it plays, in microseconds since 1970.
class PortClock {
  public:
    // Nothing if the port does not stamp what it receives. Control thread, before the port starts
    // is too early for a NIC's clock: call adjust() then.
    static std::optional<PortClock> of(std::uint16_t port);

    // Control thread, about once a second. `wall_ns`: time of day as the capture has it now.
    void adjust(std::int64_t wall_ns) noexcept;

    // lcore. The time of day at which the packet came, or 0 if it has no stamp (yet).
    std::int64_t wall_ns(const rte_mbuf* m) const noexcept {
        if ((m->ol_flags & flag_) == 0) return 0;
        const std::uint64_t ticks = *RTE_MBUF_DYNFIELD(m, offset_, const std::uint64_t*);
        if (microseconds_) return static_cast<std::int64_t>(ticks) * 1000;
        return line_.wall_ns(ticks);
    }

    PortClock(PortClock&& other) noexcept;

  private:
    PortClock() = default;

    std::uint16_t port_ = 0;
    int offset_ = -1;
    std::uint64_t flag_ = 0;
    bool microseconds_ = false;
    ClockLine line_;
};

}  // namespace sluice::capture
