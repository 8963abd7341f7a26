#pragma once

#include <cstddef>
#include <cstdint>
#include <variant>
#include <vector>

#include "base/action_list.hpp"
#include "base/types.hpp"
#include "rina/names.hpp"

// What the control state machine wants done, in the order in which it must take effect. The data
// plane's part (SetEpochs, Bind, Grant, Unbind, SendControl) goes to the owning lcore through one
// FIFO, so that a channel is bound before the message that lets the peer use it has left.

namespace sluice::shim_hv {

// Names a flow to its user. Unique for the life of the device: numbers are not reused.
using FlowHandle = StrongId<struct VmpiFlowTag, std::uint32_t>;

// Both ends' limits once the peer is confirmed (docs/vmpi.md, section 3).
struct AgreedLimits {
    std::uint32_t max_sdu_rx = 0;
    std::uint32_t max_sdu_tx = 0;
    std::uint32_t min_sdu_tx = 0;  // profile irati does not pad for a low level's smallest frame
    std::uint32_t max_channels = 0;
    std::uint32_t credit_unit = 0;  // 0: no flow control in this profile
    std::uint64_t features = 0;
    std::uint8_t version = 0;  // 0: none in common, no flow is possible
    bool we_take_odd = false;

    bool operator==(const AgreedLimits&) const = default;
};

// The peer is confirmed (or, peer_epoch 0, no longer). Unbinds nothing by itself: the Unbind
// actions come before it.
struct SetEpochs {
    std::uint64_t own = 0;
    std::uint64_t peer = 0;
    AgreedLimits limits{};
};
struct Bind {
    std::uint32_t channel = 0;
    std::uint8_t generation = 0;
    FlowHandle flow{};
    std::uint32_t cookie = 0;
    std::uint64_t window = 0;  // receive window, in credit units
};
// The peer is ready to be granted credit on this channel.
struct Grant {
    std::uint32_t channel = 0;
    std::uint8_t generation = 0;
};
struct Unbind {
    std::uint32_t channel = 0;
    std::uint8_t generation = 0;
    FlowHandle flow{};
};
// A whole frame: channel word, message, padding up to the low level's smallest frame.
struct SendControl {
    std::vector<std::byte> frame;
};

// Events for the users of the device.
struct FlowRequested {  // answer with accept() or refuse()
    FlowHandle flow{};
    rina::AppName source;
    rina::AppName destination;
};
struct FlowAllocated {
    FlowHandle flow{};
    std::uint32_t cookie = 0;
    std::uint32_t max_sdu = 0;  // the longest SDU that can be sent
};
struct FlowFailed {  // an allocation ended without a flow, or a request was withdrawn
    FlowHandle flow{};
    std::uint32_t cookie = 0;
    rina::Reason reason = rina::Reason::ok;
};
struct FlowDeallocated {
    FlowHandle flow{};
    std::uint32_t cookie = 0;
    rina::Reason reason = rina::Reason::ok;
};
struct DeviceUp {
    AgreedLimits limits{};
};
struct DeviceDown {
    rina::Reason reason = rina::Reason::ok;
};

using Action = std::variant<SetEpochs, Bind, Grant, Unbind, SendControl, FlowRequested,
                            FlowAllocated, FlowFailed, FlowDeallocated, DeviceUp, DeviceDown>;

// One call of the state machine adds at most a few actions for each channel of the device, so what
// a peer can make it say at once has a bound.
using Outbox = ActionList<Action>;

}  // namespace sluice::shim_hv
