#pragma once

#include <rte_ring.h>

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "dataplane/clock.hpp"
#include "dataplane/graph.hpp"
#include "dataplane/published.hpp"
#include "dataplane/stage.hpp"
#include "dataplane/stall_meter.hpp"

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
    // A new slot is due at once, so that a stage which was there before the plan changed sets its
    // deadline again.
    Instant deadline = Instant::zero();
};

struct Entry {
    Slot* slot = nullptr;
    rte_ring* ring = nullptr;  // null: the slot's stage is a source
    std::uint16_t inlet = 0;
    bool lossless = false;  // the ring ends a hold or credit edge: take what there is room for
    std::vector<std::pair<Slot*, unsigned>> holds;  // outlets that must not be holding
};

enum class Forwarding : std::uint8_t {
    stopped,   // mails are read, nothing else
    draining,  // rings and backlogs are emptied, sources rest
    running,
};

// What an lcore does: published as a whole, so an iteration sees one generation. The list is
// immutable; the slots and outlets it points to belong to its lcore alone. It lives until the loop
// has said that it uses a later one: quiescent reports would not do, because the loop keeps it
// from one iteration to the next and while it sleeps.
struct RunList {
    std::vector<Entry> entries;
    std::vector<std::unique_ptr<Slot>> slots;
    std::vector<std::unique_ptr<Outlet[]>> outlets;
};

struct IdleSettings {
    Idle policy = Idle::adaptive;
    // Quiet for this long: nap; for this long more: sleep. A sender pays several microseconds for
    // each wake-up, so an lcore sleeps after a quiet time, not after a number of empty polls.
    Duration spin = Duration::microseconds(50);
    Duration nap = Duration::microseconds(500);
};

// The loop of one worker lcore.
class LcoreLoop {
  public:
    LcoreLoop(LcoreId id, Qsbr& qsbr, IdleSettings idle);
    ~LcoreLoop();
    LcoreLoop(const LcoreLoop&) = delete;
    LcoreLoop& operator=(const LcoreLoop&) = delete;

    // control
    Result<> init();
    // Only while forwarding is stopped.
    void publish(std::unique_ptr<const RunList> list);
    void forward(Forwarding state) noexcept;
    // True once the loop has seen the last publish() and forward(), and, when draining, has found
    // every ring empty and nothing held, in an iteration that did nothing else.
    bool settled() const noexcept;
    bool post(const Mail& mail) noexcept;
    bool mails_read() const noexcept { return rte_ring_empty(mails_) != 0; }
    void quit() noexcept;
    // Frees the lists that the loop no longer uses.
    void reclaim();
    LcoreId id() const noexcept { return id_; }
    const LcoreCounters& counters() const noexcept { return counters_; }
    const StallMeter& stalls() const noexcept { return stalls_; }
    const IdleSettings& idle() const noexcept { return idle_; }
    Waker& waker() noexcept { return waker_; }

    // lcore: runs until quit().
    void run() noexcept;
    // True once run() has returned, and all it did can be seen.
    bool ended() const noexcept { return ended_.load(std::memory_order_acquire); }

    // lcore, for LoopCtx.
    void account_in(unsigned packets) noexcept;
    void deadline_changed(Instant at) noexcept {
        if (at < earliest_) earliest_ = at;
    }
    // An outlet of a lossless edge kept packets; they are offered again each iteration.
    void note_held() noexcept { held_ = true; }

  private:
    bool run_entry(Entry& entry) noexcept;
    bool blocked(const Entry& entry) const noexcept;
    bool retry_held() noexcept;
    bool read_mails() noexcept;
    void run_timers() noexcept;
    void change_state(const RunList* list, Forwarding state) noexcept;
    void discard(DropReason reason) noexcept;
    bool drained(const RunList& list) const noexcept;
    void idle_step() noexcept;
    void sleep_until_woken() noexcept;
    bool nothing_queued(const RunList& list) const noexcept;

    const LcoreId id_;
    Qsbr& qsbr_;
    const IdleSettings idle_;
    std::atomic<const RunList*> published_{nullptr};
    std::atomic<Forwarding> wanted_{Forwarding::stopped};
    std::atomic<std::uint64_t> asked_{0};  // bumped by control for each change
    std::atomic<std::uint64_t> adopted_{0};  // the change whose list is in use
    std::atomic<std::uint64_t> done_{0};     // the change that has taken effect
    std::atomic<bool> quit_{false};
    std::atomic<bool> ended_{false};
    rte_ring* mails_ = nullptr;
    int epoll_fd_ = -1;
    Waker waker_;
    LcoreCounters counters_;
    StallMeter stalls_;

    // control only: with the change after which each may go
    std::vector<std::pair<std::uint64_t, std::unique_ptr<const RunList>>> replaced_;

    // lcore only
    LoopCtx ctx_;
    const RunList* list_ = nullptr;
    Forwarding state_ = Forwarding::stopped;
    bool held_ = false;
    Instant earliest_ = Instant::never();
    Instant quiet_since_ = Instant::never();
    Duration nap_{};
    std::uint64_t seen_ = 0;
};

}  // namespace sluice::dp
