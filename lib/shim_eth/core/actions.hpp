#pragma once

#include <cstddef>
#include <cstdint>
#include <variant>
#include <vector>

#include "base/action_list.hpp"
#include "base/types.hpp"
#include "rina/shim_flow.hpp"

// What the Ethernet shim wants done, in the order in which the caller carries it out.

namespace sluice::shim_eth {

// Unique for the life of the shim: numbers are not reused. 0 names no flow.
using FlowHandle = StrongId<struct EthFlowTag, std::uint32_t>;

struct SendFrame {  // a whole frame, without padding and frame check sequence
    std::vector<std::byte> bytes;
};
using FlowRequested = rina::shim_flow::Requested<FlowHandle>;
using FlowAllocated = rina::shim_flow::Allocated<FlowHandle>;
using FlowFailed = rina::shim_flow::Failed<FlowHandle>;
using FlowDown = rina::shim_flow::Down<FlowHandle>;
using FlowUp = rina::shim_flow::Up<FlowHandle>;

using Action =
    std::variant<SendFrame, FlowRequested, FlowAllocated, FlowFailed, FlowDown, FlowUp>;

using Outbox = ActionList<Action>;

}  // namespace sluice::shim_eth
