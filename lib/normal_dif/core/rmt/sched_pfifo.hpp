#pragma once

#include "normal_dif/core/rmt/sched_queue.hpp"

namespace sluice::rmt {

// Strict priority, queue 0 before all others (rlite's "pfifo"). Whoever has queue 0 can keep the
// others from sending: for traffic that something else limits.
class PriorityScheduler {
  public:
    PriorityScheduler(std::size_t levels, const QueueLimits& limits) : set_(levels, limits) {}

    Enqueue enqueue(Instant now, const SchedItem& item) noexcept { return set_.push(now, item); }
    std::size_t dequeue(Instant, std::uint64_t budget, std::span<SchedItem> out) noexcept {
        std::size_t count = 0;
        for (; count < out.size() && !set_.empty(); ++count) {
            const std::size_t queue = set_.first();
            if (set_.front_bytes(queue) > budget) break;
            out[count] = set_.pop(queue);
            budget -= out[count].bytes;
        }
        return count;
    }

    Backlog backlog() const noexcept { return set_.backlog(); }
    std::size_t queues() const noexcept { return set_.size(); }
    Backlog queue_backlog(std::size_t queue) const noexcept { return set_[queue].backlog(); }
    const QueueStats& stats(std::size_t queue) const noexcept { return set_[queue].stats(); }

  private:
    QueueSet set_;
};
static_assert(Scheduler<PriorityScheduler>);

}  // namespace sluice::rmt
