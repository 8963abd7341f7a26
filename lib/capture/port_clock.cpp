// rte_eth_read_clock() is still called experimental, and there is no other way to a NIC's clock.
#define ALLOW_EXPERIMENTAL_API
#include "capture/port_clock.hpp"

#include <rte_ethdev.h>

#include <cstring>

namespace sluice::capture {

std::optional<PortClock> PortClock::of(std::uint16_t port) {
    rte_eth_dev_info info{};
    if (rte_eth_dev_info_get(port, &info) != 0) return std::nullopt;
    PortClock clock;
    clock.port_ = port;
    clock.microseconds_ =
        info.driver_name != nullptr && std::strcmp(info.driver_name, "net_pcap") == 0;
    if (!clock.microseconds_ && (info.rx_offload_capa & RTE_ETH_RX_OFFLOAD_TIMESTAMP) == 0)
        return std::nullopt;
    if (rte_mbuf_dyn_rx_timestamp_register(&clock.offset_, &clock.flag_) != 0) return std::nullopt;
    return clock;
}

PortClock::PortClock(PortClock&& other) noexcept
    : port_(other.port_),
      offset_(other.offset_),
      flag_(other.flag_),
      microseconds_(other.microseconds_) {}

void PortClock::adjust(std::int64_t wall_ns) noexcept {
    std::uint64_t ticks = 0;
    if (microseconds_ || rte_eth_read_clock(port_, &ticks) != 0) return;
    line_.add(ticks, wall_ns);
}

void ClockLine::add(std::uint64_t ticks, std::int64_t wall_ns) noexcept {
    const std::uint64_t ticks_passed = ticks - last_ticks_;
    const std::int64_t passed = wall_ns - last_wall_;
    const bool second = last_wall_ != 0 && ticks_passed != 0 && passed > 0;
    last_ticks_ = ticks;
    last_wall_ = wall_ns;
    if (!second) return;
    const unsigned next = made_.load(std::memory_order_relaxed) + 1;
    Line& line = lines_[next % kLines];
    line.ticks.store(ticks, std::memory_order_relaxed);
    line.wall_ns.store(wall_ns, std::memory_order_relaxed);
    line.ns_per_tick.store(static_cast<double>(passed) / static_cast<double>(ticks_passed),
                           std::memory_order_relaxed);
    made_.store(next, std::memory_order_release);
}

}  // namespace sluice::capture
