#include <algorithm>
#include <utility>

#include "normal_dif/core/mgmt/flow_allocator.hpp"

// What an operator changes while there are flows.
namespace sluice::mgmt {

void FlowAllocator::set_config(Instant now, FlowAllocatorConfig config) {
    config.ipcp = config_.ipcp;
    config.format = config_.format;
    const FlowAllocatorConfig old = std::exchange(config_, std::move(config));
    const auto later = [now](Instant at, Duration before, Duration after) {
        return at.is_never() ? at : std::max(now, at + (after - before));
    };
    for (auto& [port, flow] : flows_) {
        Instant at = flow.deadline;
        switch (flow.state) {
            case FlowState::asking: {
                Instant& give_up = flow.exchange->give_up;
                const bool is_last = at == give_up;
                give_up = later(give_up, old.allocation_timeout, config_.allocation_timeout);
                at = is_last ? give_up : earlier(at, give_up);
                break;
            }
            case FlowState::requested:
                at = later(at, old.accept_timeout, config_.accept_timeout);
                break;
            case FlowState::closing:
                at = later(at, old.flow_del_wait, config_.flow_del_wait);
                break;
            case FlowState::allocated:
            case FlowState::shut:
                at = later(at, old.duplicate_window, config_.duplicate_window);
                break;
        }
        if (at != flow.deadline) set_deadline(flow, at);
    }
}

void FlowAllocator::set_admission(AnyAdmission admission) {
    admission_ = std::move(admission);
    for (const auto& [port, flow] : flows_) adopt(admission_, admission_of(flow));
}

}  // namespace sluice::mgmt
