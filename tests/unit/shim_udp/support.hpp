#pragma once

#include <catch2/catch.hpp>
#include <string>
#include <vector>

#include "../shim_node.hpp"
#include "rina/rlite_name.hpp"
#include "shim_udp/core/shim_udp.hpp"

namespace sluice::shim_udp {

using Bytes = std::vector<std::byte>;
using Kind = Verdict::Kind;
using rina::Reason;

inline rina::AppName named(const std::string& text) { return *rina::parse_rlite_name(text); }

inline const IpAddress kOurs = IpAddress::v4(0x0a000001);
inline const IpAddress kTheirs = IpAddress::v4(0x0a000002);

struct Node : test::ShimNode<Shim, Config, Outbox> {
    explicit Node(const Config& config = {}) : ShimNode(config) {}

    Verdict gets(SocketId socket, const Endpoint& from, std::size_t size = 10) {
        return shim.on_datagram(now, socket, from, Bytes(size));
    }
    Drop drops(SocketId socket, const Endpoint& from, std::size_t size = 10) {
        const Verdict verdict = gets(socket, from, size);
        REQUIRE(verdict.kind == Kind::drop);
        REQUIRE(shim.dropped(verdict.drop) > 0);
        REQUIRE(out.empty());
        return verdict.drop;
    }
    SocketId listen(const std::string& name = "a.IPCP", const IpAddress& at = kOurs) {
        REQUIRE(shim.register_app(now, named(name)));
        CHECK(only<Resolve>().name == named(name));
        shim.on_resolved(now, named(name), at);
        const auto open = only<OpenSocket>();
        CHECK(open.local == Endpoint{at, 3359});
        shim.on_socket(now, open.socket);
        CHECK(only<AppReady>().name == named(name));
        return open.socket;
    }
    FlowHandle open(const std::string& remote = "b.IPCP", const IpAddress& at = kTheirs) {
        const auto flow = shim.allocate(now, named("a.IPCP"), named(remote), 77);
        REQUIRE(flow);
        CHECK(only<Resolve>().name == named(remote));
        shim.on_resolved(now, named(remote), at);
        const auto socket = only<OpenSocket>();
        CHECK(socket.local == Endpoint{});
        shim.on_socket(now, socket.socket);
        const auto allocated = only<FlowAllocated>();
        CHECK(allocated.flow == *flow);
        CHECK(allocated.cookie == 77);
        CHECK(allocated.max_sdu == 1452);
        return *flow;
    }
    SocketId socket_of(FlowHandle flow) {
        const auto target = shim.target_for(flow);
        REQUIRE(target);
        return target->socket;
    }
    FlowRequested asked(SocketId listener, const Endpoint& from,
                        const std::string& name = "b.IPCP") {
        REQUIRE(gets(listener, from).kind == Kind::hold);
        const auto opened = taken<OpenSocket>();
        REQUIRE(opened.size() == 1);
        out.clear();
        shim.on_named(now, from.address, named(name));
        CHECK(out.empty());
        shim.on_socket(now, opened[0].socket);
        return only<FlowRequested>();
    }
};

}  // namespace sluice::shim_udp
