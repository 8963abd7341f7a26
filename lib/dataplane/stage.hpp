#pragma once

#include <rte_mbuf.h>

#include <cstdint>
#include <span>

#include "base/drop_reason.hpp"
#include "base/instant.hpp"
#include "base/types.hpp"
#include "dataplane/burst.hpp"
#include "dataplane/counters.hpp"
#include "dataplane/kind.hpp"
#include "dataplane/mailbox.hpp"

namespace sluice::dp {

class LoopCtx;

enum class Busy : bool { idle = false, busy = true };

// How a source can be waited for when its lcore has nothing to do.
enum class Wait : std::uint8_t {
    armed,      // a descriptor in the lcore's epoll set (or the waker) will wake it; no work now
    work,       // there is work: do not sleep
    poll_only,  // cannot wake anybody: look again soon
};

// A step of the dataplane, at home on one lcore. All functions marked "lcore" run there and
// nowhere else, so a stage needs no locks. They are noexcept, do not allocate and do not log.
class Stage {
  public:
    virtual ~Stage() = default;

    // lcore: takes over all packets of the burst (see Burst).
    virtual void process(LoopCtx& ctx, Burst& burst) noexcept;
    // lcore: a source looks for work. Called once an iteration.
    virtual Busy poll(LoopCtx& ctx) noexcept;
    // lcore: called instead of poll while forwarding is being stopped. Passes on what is queued
    // and brings in nothing new; busy while there is more to pass on.
    virtual Busy drain(LoopCtx& ctx) noexcept;
    // lcore: a message of the control thread.
    virtual void on_mail(LoopCtx& ctx, const Mail& mail) noexcept;
    // lcore: the deadline set by LoopCtx::set_deadline has passed. Also called when forwarding
    // starts with a new plan: a place in a plan does not inherit the deadlines of the one before.
    virtual void on_timeout(LoopCtx& ctx) noexcept;

    // lcore: packets this inlet takes now without dropping; asked by hold and credit edges.
    virtual unsigned room(unsigned inlet) const noexcept;

    // lcore: wait_arm is called before the lcore sleeps, wait_disarm after. A source that answers
    // armed must have looked for work after arming, or a wake-up is lost.
    virtual Wait wait_arm(LoopCtx& ctx, int epoll_fd) noexcept;
    virtual void wait_disarm(LoopCtx& ctx) noexcept;

    // lcore: forwarding stops; give up what is queued (drop with DropReason::stopped).
    virtual void on_stop(LoopCtx& ctx) noexcept;
};

struct Slot;

// What a stage is given by the loop that runs it.
class LoopCtx {
  public:
    // Taken once an iteration; a stage never reads a clock.
    Instant now{};
    std::uint64_t tsc = 0;
    LcoreId lcore{};

    // Hands packets to whatever the plan has put behind the outlet: a direct call, or a ring to
    // another lcore. Small emits are collected and flushed when the stage returns.
    void emit(unsigned outlet, rte_mbuf* packet) noexcept;
    void emit(unsigned outlet, rte_mbuf** packets, unsigned count) noexcept;

    // How many packets the outlet takes now: what a stage before a credit edge asks first. Without
    // limit if the outlet drops what is too much, or leads nowhere.
    unsigned credit(unsigned outlet) const noexcept;

    // Frees and counts.
    void drop(DropReason reason, rte_mbuf* packet) noexcept;
    void drop(DropReason reason, rte_mbuf** packets, unsigned count) noexcept;
    // Counts what was lost where no packet is at hand.
    void count_drop(DropReason reason, std::uint64_t n) noexcept;

    // Adds to the counter that the stage's kind declared at this index.
    void count(unsigned index, std::uint64_t n) noexcept;
    // What poll() brought in; process() is counted by the loop.
    void count_in(unsigned packets) noexcept;

    // on_timeout is called once this instant has passed; the last call wins, never() cancels.
    void set_deadline(Instant at) noexcept;

    // Set by the loop; of no interest to stages.
    Slot* slot = nullptr;
    class LcoreLoop* loop = nullptr;
    bool sampling = false;
    std::uint64_t mark = 0;
};

}  // namespace sluice::dp
