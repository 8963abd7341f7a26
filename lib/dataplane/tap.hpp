#pragma once

#include <rte_mbuf.h>

#include <cstdint>

namespace sluice::dp {

class LoopCtx;

enum class Direction : std::uint8_t { rx, tx };

// Looks at packets where they pass and keeps nothing: a copy-once consumer such as a capture. On
// transmit it sees each frame once, when it is first offered to the ring.
class PacketTap {
  public:
    virtual ~PacketTap() = default;
    // lcore; noexcept, no allocation. The packets stay the caller's and must not be changed.
    virtual void tap(LoopCtx& ctx, rte_mbuf* const* packets, unsigned count,
                     Direction direction) noexcept = 0;
};

}  // namespace sluice::dp
