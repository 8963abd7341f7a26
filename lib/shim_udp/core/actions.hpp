#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <string>
#include <variant>

#include "base/action_list.hpp"
#include "base/types.hpp"
#include "rina/names.hpp"
#include "rina/shim_flow.hpp"

// What the UDP shim wants done, in the order in which the caller carries it out.

namespace sluice::shim_udp {

// Unique for the life of the shim: numbers are not reused. 0 names nothing.
using FlowHandle = StrongId<struct UdpFlowTag, std::uint32_t>;
using SocketId = StrongId<struct UdpSocketTag, std::uint32_t>;

// IPv4 in host order, or IPv6: the shim only compares.
struct IpAddress {
    std::array<std::uint8_t, 16> bytes{};  // IPv4 mapped into ::ffff:0:0/96 (RFC 4291, 2.5.5.2)

    static constexpr IpAddress v4(std::uint32_t address) noexcept {
        IpAddress ip;
        ip.bytes[10] = ip.bytes[11] = 0xff;
        for (unsigned i = 0; i < 4; ++i)
            ip.bytes[12 + i] = static_cast<std::uint8_t>(address >> (24 - 8 * i));
        return ip;
    }
    auto operator<=>(const IpAddress&) const = default;
};

struct Endpoint {
    IpAddress address{};
    std::uint16_t port = 0;

    auto operator<=>(const Endpoint&) const = default;
};

// Find the address of a name: answer with on_resolved() or on_unresolved().
struct Resolve {
    rina::AppName name;
};
// Find the name of an address: answer with on_named() or on_unnamed().
struct ResolveAddress {
    IpAddress address{};
};
// Bind a socket to (address, port), port 0 being an ephemeral one and the all-zero address being
// any: answer with on_socket() or on_socket_failed().
struct OpenSocket {
    SocketId socket{};
    Endpoint local{};
};
struct CloseSocket {
    SocketId socket{};
};

using FlowRequested = rina::shim_flow::Requested<FlowHandle>;
using FlowAllocated = rina::shim_flow::Allocated<FlowHandle>;
using FlowFailed = rina::shim_flow::Failed<FlowHandle>;
using FlowDown = rina::shim_flow::Down<FlowHandle>;
using FlowUp = rina::shim_flow::Up<FlowHandle>;

// A name is bound to its address, and peers may ask for it; or cannot be, which ends it.
struct AppReady {
    rina::AppName name;
};
struct AppFailed {
    rina::AppName name;
    std::string text;
};

using Action = std::variant<Resolve, ResolveAddress, OpenSocket, CloseSocket, FlowRequested,
                            FlowAllocated, FlowFailed, FlowDown, FlowUp, AppReady, AppFailed>;

using Outbox = ActionList<Action>;

}  // namespace sluice::shim_udp
