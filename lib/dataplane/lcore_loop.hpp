#pragma once

#include <rte_ring.h>

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "dataplane/clock.hpp"
#include "dataplane/graph.hpp"
#include "dataplane/stage.hpp"

namespace sluice::dp {

// How a thread that may sleep is woken: the flag keeps the kick off the fast path.
struct alignas(64) Waker {
    std::atomic<bool> sleeping{false};
    int fd = -1;  // eventfd

    // Called after something was queued for the owner.
    void wake_if_sleeping() noexcept {
        // Pairs with the fence in the sleeper: either we see its flag, or it sees our work.
        std::atomic_thread_fence(std::memory_order_seq_cst);
        if (sleeping.load(std::memory_order_relaxed)) kick();
    }
    void kick() noexcept;
};

struct Outlet {
    enum class Via : std::uint8_t { none, direct, ring };
    Via via = Via::none;
    Backpressure backpressure = Backpressure::drop_tail;
    std::uint16_t inlet = 0;
    std::uint16_t pending = 0;         // packets in `packets`
    Slot* next = nullptr;              // direct
    rte_ring* ring = nullptr;          // ring
    Waker* waker = nullptr;            // of the ring's consumer; null if it never sleeps
    rte_mbuf* packets[2 * kBurstMax];  // collected, or held back by a full ring
};

// A stage at its place: what the loop needs to run it and where its outlets lead.
struct Slot {
    Stage* stage = nullptr;
    StageCounters* counters = nullptr;
    Outlet* outlets = nullptr;
    unsigned outlet_count = 0;
    bool dirty = false;  // an outlet has pending packets
    Instant deadline = Instant::never();
};

struct Entry {
    Slot* slot = nullptr;
    rte_ring* ring = nullptr;  // null: the slot's stage is a source
    std::uint16_t inlet = 0;
    bool unused = false;
    std::vector<std::pair<Slot*, unsigned>> holds;  // outlets that must not be holding
};

// What an lcore does, immutable while it runs: published as a whole, so an iteration sees one
// generation. Slots are shared between generations where the plan left them alone.
struct RunList {
    std::vector<Entry> entries;
    std::vector<Slot*> slots;
    bool running = false;  // false: forwarding is stopped; mails and timers go on
    std::uint64_t generation = 0;
};

}  // namespace sluice::dp
