#include "dataplane/loop_ctx.hpp"

#include <algorithm>
#include <cstring>
#include <limits>

namespace sluice::dp {
namespace {

DropReason excess_reason(const Outlet& o) noexcept {
    return o.backpressure == Backpressure::credit ? DropReason::edge_credit_exceeded
                                                  : DropReason::edge_full;
}

}  // namespace

void flush_outlet(LoopCtx& ctx, Slot& slot, Outlet& o) noexcept {
    const unsigned count = o.pending;
    if (o.via == Outlet::Via::direct) {
        o.pending = 0;
        for (unsigned at = 0; at < count; at += kBurstMax)
            run_process(ctx, *o.next, o.inlet, o.packets + at, std::min(count - at, kBurstMax));
        return;
    }
    const unsigned sent =
        rte_ring_enqueue_burst(o.ring, reinterpret_cast<void**>(o.packets), count, nullptr);
    if (sent != 0 && o.waker != nullptr) o.waker->wake_if_sleeping();
    const unsigned left = count - sent;
    if (left != 0 && o.backpressure == Backpressure::drop_tail) {
        ctx.slot = &slot;
        ctx.drop(DropReason::edge_full, o.packets + sent, left);
        o.pending = 0;
        return;
    }
    if (left != 0 && sent != 0)
        std::memmove(o.packets, o.packets + sent, left * sizeof(o.packets[0]));
    o.pending = static_cast<std::uint16_t>(left);
    if (left == 0) return;
    slot.dirty = true;
    ctx.loop->note_held();
}

void flush_slot(LoopCtx& ctx, Slot& slot) noexcept {
    slot.dirty = false;
    for (unsigned i = 0; i < slot.outlet_count; ++i) {
        Outlet& o = slot.outlets[i];
        if (o.pending != 0) flush_outlet(ctx, slot, o);
    }
    ctx.slot = &slot;
}

void LoopCtx::emit(unsigned outlet, rte_mbuf* packet) noexcept { emit(outlet, &packet, 1); }

void LoopCtx::emit(unsigned outlet, rte_mbuf** packets, unsigned count) noexcept {
    SLUICE_DCHECK(outlet < slot->outlet_count);
    Slot& here = *slot;
    Outlet& o = here.outlets[outlet];
    here.counters->packets_out.add(count);
    if (o.via == Outlet::Via::none) {
        drop(DropReason::outlet_unconnected, packets, count);
        return;
    }
    // A whole burst for a stage on this lcore goes there without being copied.
    if (o.pending == 0 && o.via == Outlet::Via::direct && count >= kRxBurst / 2) {
        for (unsigned at = 0; at < count; at += kBurstMax)
            run_process(*this, *o.next, o.inlet, packets + at, std::min(count - at, kBurstMax));
        return;
    }
    while (count != 0) {
        const unsigned space = 2 * kBurstMax - o.pending;
        const unsigned n = std::min(space, count);
        std::memcpy(o.packets + o.pending, packets, n * sizeof(packets[0]));
        o.pending = static_cast<std::uint16_t>(o.pending + n);
        here.dirty = true;
        packets += n;
        count -= n;
        if (o.pending < kBurstMax) continue;
        flush_outlet(*this, here, o);
        slot = &here;
        if (o.pending == 2 * kBurstMax && count != 0) {
            drop(excess_reason(o), packets, count);
            return;
        }
    }
}

unsigned LoopCtx::credit(unsigned outlet) const noexcept {
    const Outlet& o = slot->outlets[outlet];
    // What drops when it is full takes everything; asking would make it hold instead.
    if (o.via == Outlet::Via::none || o.backpressure == Backpressure::drop_tail)
        return std::numeric_limits<unsigned>::max();
    const unsigned free = o.via == Outlet::Via::ring ? rte_ring_free_count(o.ring)
                                                     : o.next->stage->room(o.inlet);
    return free > o.pending ? free - o.pending : 0;
}

void LoopCtx::drop(DropReason reason, rte_mbuf* packet) noexcept {
    count_drop(reason, 1);
    rte_pktmbuf_free(packet);
}

void LoopCtx::drop(DropReason reason, rte_mbuf** packets, unsigned count) noexcept {
    if (count == 0) return;
    count_drop(reason, count);
    rte_pktmbuf_free_bulk(packets, count);
}

void LoopCtx::count_drop(DropReason reason, std::uint64_t n) noexcept {
    slot->counters->drops[static_cast<std::size_t>(reason)].add(n);
}

void LoopCtx::count(unsigned index, std::uint64_t n) noexcept {
    SLUICE_DCHECK(index < kStageCounters);
    slot->counters->own[index].add(n);
}

void LoopCtx::count_in(unsigned packets) noexcept {
    slot->counters->packets_in.add(packets);
    slot->counters->bursts_in.add(1);
    if (sampling) slot->counters->sampled_packets.add(packets);
    loop->account_in(packets);
}

void LoopCtx::set_deadline(Instant at) noexcept {
    slot->deadline = at;
    loop->deadline_changed(at);
}

}  // namespace sluice::dp
