#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "base/types.hpp"
#include "rina/names.hpp"

// What the Ethernet shim wants done, in the order in which the caller carries it out. The names are
// those of the UDP shim, so that one driver serves both.

namespace sluice::shim_eth {

// Unique for the life of the shim: numbers are not reused. 0 names no flow.
using FlowHandle = StrongId<struct EthFlowTag, std::uint32_t>;

struct SendFrame {  // a whole frame, without padding and frame check sequence
    std::vector<std::byte> bytes;
};
// A peer has sent the first frame: answer with accept() or refuse(). Frames that come before the
// answer have the verdict `hold`.
struct FlowRequested {
    FlowHandle flow{};
    rina::AppName local;
    rina::AppName remote;
};
struct FlowAllocated {
    FlowHandle flow{};
    std::uint32_t cookie = 0;
    std::uint32_t max_sdu = 0;
};
// An allocation ended without a flow, or a request was withdrawn. Held frames are to be dropped.
struct FlowFailed {
    FlowHandle flow{};
    std::uint32_t cookie = 0;
    rina::Reason reason = rina::Reason::ok;
    std::string text;
};
// Nothing gets through, but the flow is kept: FlowUp will follow, or the user deallocates.
struct FlowDown {
    FlowHandle flow{};
    rina::Reason why = rina::Reason::ok;
};
struct FlowUp {
    FlowHandle flow{};
};

using Action =
    std::variant<SendFrame, FlowRequested, FlowAllocated, FlowFailed, FlowDown, FlowUp>;

struct Outbox {
    std::vector<Action> actions;

    template <typename T>
    void add(T action) {
        actions.emplace_back(std::move(action));
    }
    void clear() noexcept { actions.clear(); }
    bool empty() const noexcept { return actions.empty(); }
};

}  // namespace sluice::shim_eth
