#pragma once

#include <cstdint>
#include <type_traits>

struct rte_mbuf;

namespace sluice::dp {

// Packets a port hands over at once, and the most that one emit flushes at once. 32 is what PMDs
// are tuned for; a ring hop profits from the larger figure.
inline constexpr unsigned kRxBurst = 32;
inline constexpr unsigned kBurstMax = 64;

// A batch on its way through the stages: a view of an array that belongs to the caller. A stage
// that is given one owns its packets (emits, holds or drops each exactly once), may reorder or
// overwrite the array, and must not keep a pointer to it.
struct Burst {
    rte_mbuf** pkts;
    std::uint16_t count;
    std::uint16_t inlet;

    rte_mbuf** begin() const noexcept { return pkts; }
    rte_mbuf** end() const noexcept { return pkts + count; }
};

static_assert(std::is_trivially_copyable_v<Burst>);

}  // namespace sluice::dp
