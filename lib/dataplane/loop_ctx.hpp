#pragma once

#include <rte_ring.h>

#include "base/check.hpp"
#include "dataplane/lcore_loop.hpp"
#include "dataplane/stage.hpp"

// The packet path of the loop: how packets get from one stage to the next. For lcore_loop.cpp and
// loop_ctx.cpp.
namespace sluice::dp {

// Adds the cycles since the last mark to a stage. Only in sampled iterations: two TSC reads a
// stage and burst would cost more than some stages do.
inline void charge(LoopCtx& ctx, Slot& slot) noexcept {
    const std::uint64_t now = rte_rdtsc();
    slot.counters->sampled_cycles.add(now - ctx.mark);
    ctx.mark = now;
}

void flush_slot(LoopCtx& ctx, Slot& slot) noexcept;
void flush_outlet(LoopCtx& ctx, Slot& slot, Outlet& outlet) noexcept;

// Runs a stage on packets, then whatever it leaves in its outlets.
inline void run_process(LoopCtx& ctx, Slot& slot, std::uint16_t inlet, rte_mbuf** packets,
                        unsigned count) noexcept {
    Slot* const caller = ctx.slot;
    if (ctx.sampling) [[unlikely]] {
        if (caller != nullptr)
            charge(ctx, *caller);
        else
            ctx.mark = rte_rdtsc();
        slot.counters->sampled_packets.add(count);
    }
    slot.counters->packets_in.add(count);
    slot.counters->bursts_in.add(1);
    ctx.slot = &slot;
    Burst burst{packets, static_cast<std::uint16_t>(count), inlet};
    slot.stage->process(ctx, burst);
    if (slot.dirty) flush_slot(ctx, slot);
    if (ctx.sampling) [[unlikely]]
        charge(ctx, slot);
    ctx.slot = caller;
}

}  // namespace sluice::dp
