#pragma once

#include <vector>

#include "normal_dif/core/rmt/sched_queue.hpp"

namespace sluice::rmt {

// Deficit round robin (Shreedhar and Varghese, SIGCOMM 1995): in its turn a queue gets its quantum
// and sends what that covers; what is left over counts in the next turn. O(1) if quanta are no
// shorter than PDUs.
class DrrScheduler {
  public:
    // quanta[q]: the bytes that queue q is given in its turn, each above 0.
    DrrScheduler(const std::vector<std::uint32_t>& quanta, const QueueLimits& limits)
        : set_(quanta.size(), limits), quanta_(quanta), deficits_(quanta.size(), 0) {}

    Enqueue enqueue(Instant now, const SchedItem& item) noexcept { return set_.push(now, item); }
    std::size_t dequeue(Instant, std::uint64_t budget, std::span<SchedItem> out) noexcept {
        std::size_t count = 0;
        while (count < out.size() && !set_.empty()) {
            if (!in_turn_) {
                turn_ = set_.after(turn_);
                deficits_[turn_] += quanta_[turn_];
                in_turn_ = true;
            }
            const std::uint32_t bytes = set_.front_bytes(turn_);
            if (bytes > deficits_[turn_]) {
                in_turn_ = false;
                continue;
            }
            if (bytes > budget) break;
            out[count++] = set_.pop(turn_);
            budget -= bytes;
            deficits_[turn_] -= bytes;
            if (set_.waits(turn_)) continue;
            deficits_[turn_] = 0;
            in_turn_ = false;
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
    std::vector<std::uint64_t> deficits_;
    std::size_t turn_ = 0;
    bool in_turn_ = false;  // implies that turn_ waits
};
static_assert(Scheduler<DrrScheduler>);

}  // namespace sluice::rmt
