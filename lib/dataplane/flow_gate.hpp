#pragma once

#include <atomic>
#include <cstdint>

namespace sluice::dp {

// Where the two ends of a flow inside one process meet: the stage that owns the port and the
// application's stage, on the same lcore or on two. All figures are absolute and only grow, each
// has one writer, so relaxed loads and stores are enough: a late reader is merely careful.
struct alignas(64) FlowGate {
    // Units: see shift. Written by the port's stage, read by the application: it may submit while
    // what it has submitted stays at or below this.
    std::atomic<std::uint64_t> send_limit{0};
    // Written by the application: what it has consumed of what was delivered to it.
    alignas(64) std::atomic<std::uint64_t> consumed{0};
    // Written by the application: the length of the message that it has no credit for; ~0 when it
    // is not waiting. Makes the port's stage ask the peer, should a grant have been lost.
    std::atomic<std::uint32_t> starved{kNotStarved};

    static constexpr std::uint32_t kNotStarved = ~0u;

    // Set before the flow is handed to either side.
    unsigned unit_shift = 0;      // a message of n bytes costs ((n + header - 1) >> shift) + 1
    std::uint32_t header = 0;
    bool has_credits = false;     // false: no limit, and nobody reads `consumed`

    std::uint32_t cost(std::uint32_t length) const noexcept {
        return ((length + header - 1) >> unit_shift) + 1;
    }
};

}  // namespace sluice::dp
