#pragma once

#include <vector>

#include "normal_dif/core/rmt/sched_queue.hpp"

namespace sluice::rmt {

// Weighted round robin in bytes, as rlite's "wrr" has it: the queue whose turn it is sends as long
// as it has credit, the last PDU may overdraw it. Here the debt is kept when credit is given
// again, so that queues of long PDUs get no more than their share (surplus round robin).
class WrrScheduler {
  public:
    // quanta[q]: the bytes that queue q may send in its turn, each above 0.
    WrrScheduler(const std::vector<std::uint32_t>& quanta, const QueueLimits& limits)
        : set_(quanta.size(), limits), quanta_(quanta), credits_(quanta.size(), 0) {}

    Enqueue enqueue(Instant now, const SchedItem& item) noexcept { return set_.push(now, item); }
    std::size_t dequeue(Instant, std::uint64_t budget, std::span<SchedItem> out) noexcept {
        std::size_t count = 0;
        while (count < out.size() && !set_.empty()) {
            if (!set_.waits(turn_) || credits_[turn_] <= 0) {
                turn_ = set_.after(turn_);
                credits_[turn_] += quanta_[turn_];
                continue;
            }
            if (set_.front_bytes(turn_) > budget) break;
            const SchedItem item = set_.pop(turn_);
            budget -= item.bytes;
            out[count++] = item;
            credits_[turn_] -= item.bytes;
            // Credit is for those who wait: what is left over is not saved for later.
            if (!set_.waits(turn_)) credits_[turn_] = std::min<std::int64_t>(credits_[turn_], 0);
        }
        return count;
    }

    Backlog backlog() const noexcept { return set_.backlog(); }
    std::size_t queues() const noexcept { return set_.size(); }
    Backlog queue_backlog(std::size_t queue) const noexcept { return set_[queue].backlog(); }
    const QueueStats& stats(std::size_t queue) const noexcept { return set_[queue].stats(); }

  private:
    QueueSet set_;
    std::vector<std::uint32_t> quanta_;
    std::vector<std::int64_t> credits_;
    std::size_t turn_ = 0;
};
static_assert(Scheduler<WrrScheduler>);

}  // namespace sluice::rmt
