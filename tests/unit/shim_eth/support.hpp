#pragma once

#include <catch2/catch.hpp>
#include <deque>
#include <string>
#include <vector>

#include "../shim_node.hpp"
#include "rina/rlite_name.hpp"
#include "shim_eth/core/shim_eth.hpp"

namespace sluice::shim_eth {

using Bytes = std::vector<std::byte>;
using Kind = Verdict::Kind;
using rina::MacAddress;
using rina::Reason;
using rina::RinaArp;

inline rina::AppName named(const std::string& text) { return *rina::parse_rlite_name(text); }

constexpr MacAddress mac_of(std::uint32_t n) {
    return {0x02, 0x0a, static_cast<std::uint8_t>(n >> 24), static_cast<std::uint8_t>(n >> 16),
            static_cast<std::uint8_t>(n >> 8), static_cast<std::uint8_t>(n)};
}
inline constexpr MacAddress kOurs = mac_of(1);
inline constexpr MacAddress kTheirs = mac_of(2);

inline Bytes frame_of(const MacAddress& to, const MacAddress& from, std::uint16_t type,
                      const Bytes& payload, std::uint16_t vlan = 0) {
    const Header header = make_header(to, from, vlan, 0, type);
    Bytes frame(header.view().begin(), header.view().end());
    frame.insert(frame.end(), payload.begin(), payload.end());
    return frame;
}
inline Bytes arp_frame(const RinaArp& arp, const MacAddress& to) {
    Bytes body(rina::kRinaArpBytesMax);
    body.resize(rina::write(arp, body));
    return frame_of(to, arp.sender_mac, rina::kEtherTypeArp, body);
}
inline Bytes request_of(const MacAddress& from, std::string_view sender, std::string_view target) {
    return arp_frame({RinaArp::Operation::request, from, sender, {}, target}, rina::kBroadcastMac);
}
inline Bytes reply_of(const MacAddress& from, std::string_view sender, std::string_view target,
                      const MacAddress& to = kOurs) {
    return arp_frame({RinaArp::Operation::reply, from, sender, to, target}, to);
}
inline Bytes data_of(const MacAddress& from, std::size_t size = 10) {
    return frame_of(kOurs, from, rina::kEtherTypeRina, Bytes(size, std::byte{7}));
}

inline Config config_of(const MacAddress& mac) {
    Config config;
    config.mac = mac;
    return config;
}

struct Node : test::ShimNode<Shim, Config, Outbox> {
    explicit Node(const Config& config = config_of(kOurs)) : ShimNode(config) {}

    Verdict gets(const Bytes& frame) { return shim.on_frame(now, frame); }
    Drop drops(const Bytes& frame) {
        const Verdict verdict = gets(frame);
        REQUIRE(verdict.kind == Kind::drop);
        REQUIRE(shim.dropped(verdict.drop) > 0);
        REQUIRE(out.empty());
        return verdict.drop;
    }
    FlowHandle open(const std::string& remote = "b.IPCP", const MacAddress& at = kTheirs) {
        const auto flow = shim.allocate(now, named("a.IPCP"), named(remote), 77);
        REQUIRE(flow);
        REQUIRE(only<SendFrame>().bytes == request_of(kOurs, "a.IPCP", remote));
        REQUIRE(gets(reply_of(at, remote, "a.IPCP")).kind == Kind::control);
        const FlowAllocated allocated = only<FlowAllocated>();
        REQUIRE(allocated.flow == *flow);
        REQUIRE(allocated.cookie == 77);
        return *flow;
    }
    FlowRequested asked(const MacAddress& from = kTheirs, const std::string& sender = "b.IPCP",
                        const std::string& target = "a.IPCP") {
        REQUIRE(gets(request_of(from, sender, target)).kind == Kind::control);
        out.clear();
        REQUIRE(gets(data_of(from)).kind == Kind::hold);
        return only<FlowRequested>();
    }
};

}  // namespace sluice::shim_eth
