#pragma once

#include "normal_dif/core/rmt/sched_queue.hpp"

namespace sluice::rmt {

// One queue for all.
class FifoScheduler {
  public:
    explicit FifoScheduler(const QueueLimits& limits) : queue_(limits) {}

    Enqueue enqueue(Instant now, const SchedItem& item) noexcept { return queue_.push(now, item); }
    std::size_t dequeue(Instant, std::uint64_t budget, std::span<SchedItem> out) noexcept {
        std::size_t count = 0;
        while (count < out.size() && !queue_.empty() && queue_.front().bytes <= budget) {
            budget -= queue_.front().bytes;
            out[count++] = queue_.pop();
        }
        return count;
    }

    Backlog backlog() const noexcept { return queue_.backlog(); }
    std::size_t queues() const noexcept { return 1; }
    Backlog queue_backlog(std::size_t) const noexcept { return queue_.backlog(); }
    const QueueStats& stats(std::size_t) const noexcept { return queue_.stats(); }

  private:
    PduQueue queue_;
};
static_assert(Scheduler<FifoScheduler>);

}  // namespace sluice::rmt
