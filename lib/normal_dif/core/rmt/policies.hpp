#pragma once

#include <span>
#include <string_view>
#include <variant>

#include "base/result.hpp"
#include "normal_dif/core/policy/params.hpp"
#include "normal_dif/core/rmt/sched_drr.hpp"
#include "normal_dif/core/rmt/sched_fifo.hpp"
#include "normal_dif/core/rmt/sched_pfifo.hpp"
#include "normal_dif/core/rmt/sched_qos.hpp"
#include "normal_dif/core/rmt/sched_queue.hpp"
#include "normal_dif/core/rmt/sched_wrr.hpp"

// The schedulers there are, and how a configuration names them. To add one: its header, a line in
// the variant, a line in the table of policies.cpp, and a test.
namespace sluice::rmt {

using AnyScheduler =
    std::variant<FifoScheduler, PriorityScheduler, WrrScheduler, DrrScheduler, QosScheduler>;

struct SchedulerPolicy {
    std::string_view name;
    std::string_view help;
    std::string_view params;  // keys with their defaults
    Result<AnyScheduler> (*make)(policy::Params& params);
};
std::span<const SchedulerPolicy> scheduler_policies() noexcept;

// EINVAL: a name that nobody knows, or a parameter that the policy does not understand.
Result<AnyScheduler> make_scheduler(std::string_view name, std::span<const policy::Param> params);

// Whole bursts, so that the policy is looked up once for each. results[i] is about items[i].
inline void enqueue(AnyScheduler& scheduler, Instant now, std::span<const SchedItem> items,
                    std::span<Enqueue> results) noexcept {
    SLUICE_DCHECK(results.size() >= items.size());
    std::visit(
        [&](auto& s) {
            for (std::size_t i = 0; i < items.size(); ++i) results[i] = s.enqueue(now, items[i]);
        },
        scheduler);
}
inline std::size_t dequeue(AnyScheduler& scheduler, Instant now, std::uint64_t budget,
                           std::span<SchedItem> out) noexcept {
    return std::visit([&](auto& s) { return s.dequeue(now, budget, out); }, scheduler);
}
inline Backlog backlog(const AnyScheduler& scheduler) noexcept {
    return std::visit([](const auto& s) { return s.backlog(); }, scheduler);
}
inline std::size_t queues(const AnyScheduler& scheduler) noexcept {
    return std::visit([](const auto& s) { return s.queues(); }, scheduler);
}
inline Backlog queue_backlog(const AnyScheduler& scheduler, std::size_t queue) noexcept {
    return std::visit([&](const auto& s) { return s.queue_backlog(queue); }, scheduler);
}
inline const QueueStats& stats(const AnyScheduler& scheduler, std::size_t queue) noexcept {
    return std::visit([&](const auto& s) -> const QueueStats& { return s.stats(queue); },
                      scheduler);
}

}  // namespace sluice::rmt
