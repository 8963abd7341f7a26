#pragma once

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "base/types.hpp"
#include "rina/names.hpp"

// What the UDP shim wants done, in the order in which the caller carries it out. The names are
// those of the Ethernet shim, so that one driver serves both.

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

// A peer has sent the first datagram: answer with accept() or refuse(). Datagrams that come before
// the answer have the verdict `hold`.
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
// An allocation ended without a flow, or a request was withdrawn. Held datagrams are to be dropped.
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

struct Outbox {
    std::vector<Action> actions;

    template <typename T>
    void add(T action) {
        actions.emplace_back(std::move(action));
    }
    void clear() noexcept { actions.clear(); }
    bool empty() const noexcept { return actions.empty(); }
};

}  // namespace sluice::shim_udp
