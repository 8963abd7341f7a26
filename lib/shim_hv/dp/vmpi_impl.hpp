#pragma once

#include <rte_mbuf.h>

#include <cstddef>
#include <cstdint>
#include <span>

#include "dataplane/stage.hpp"
#include "dataplane/tap.hpp"

namespace sluice::shim_hv {

// VMPI-IMPL: the contract between VMPI-HL and its low levels (Vrijders et al., section III), by
// the batch. It is shaped for working on the peer's buffers in place; a low level above a PMD,
// where a view is an mbuf's bytes, fulfils it as well. VMPI-HL does not know which one it has.

// A message where it lies. Its bytes may change under the reader as long as it is a view (a guest
// owns them): headers are copied before they are checked.
struct VmpiView {
    const std::byte* head;    // contiguous bytes
    std::uint32_t head_size;  // of them
    std::uint32_t size;       // of the message
};

struct VmpiLimits {
    std::uint32_t frame_min_tx = 0;  // smallest frame the other end's driver lets through
    std::uint32_t frame_max_tx = 0;
    std::uint32_t frame_max_rx = 0;

    bool operator==(const VmpiLimits&) const = default;
};

class VmpiLowLevel {
  public:
    virtual ~VmpiLowLevel() = default;

    // ---- lcore: receiving -------------------------------------------------------------------
    // Shows the next messages, at most views.size(). Every peek is followed by take() of those
    // wanted and one release(), before the next peek.
    virtual unsigned peek(std::span<VmpiView> views) noexcept = 0;
    // Turns the views with these (ascending) indices into owned packets. How many could be: fewer
    // where a copy is needed and the pool is empty.
    virtual unsigned take(std::span<const std::uint16_t> which, rte_mbuf** out) noexcept = 0;
    // Gives the buffers of all views back that were not taken.
    virtual void release() noexcept = 0;
    // Shows a tap what peek() has just shown, before anything is taken.
    virtual void show(dp::LoopCtx& ctx, dp::PacketTap& tap) noexcept = 0;

    // ---- lcore: sending ---------------------------------------------------------------------
    // Takes over some or all of the packets, from the front.
    virtual unsigned send(rte_mbuf** packets, unsigned count) noexcept = 0;
    // Room to build messages of these sizes straight into the peer's buffers, or into a packet
    // where the low level cannot see those. Says how many; commit() sends the first n of them.
    virtual unsigned reserve(std::span<const std::uint32_t> sizes,
                             std::span<std::span<std::byte>> spaces) noexcept = 0;
    virtual unsigned commit(unsigned count) noexcept = 0;
    // The ring has room, and yet refuses the packet that is first in line: it never will take it.
    virtual bool never_fits(const rte_mbuf* packet) noexcept = 0;

    // ---- lcore: waiting ---------------------------------------------------------------------
    // As dp::Stage::wait_arm.
    virtual dp::Wait arm(int epoll_fd) noexcept = 0;
    virtual void disarm() noexcept = 0;

    // ---- any thread -------------------------------------------------------------------------
    virtual bool link_up() const noexcept = 0;
    // Grows whenever the link goes up or down: what went unseen in between still shows.
    virtual std::uint64_t link_changes() const noexcept = 0;
    virtual VmpiLimits limits() const noexcept = 0;
};

}  // namespace sluice::shim_hv
