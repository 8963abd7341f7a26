#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/instant.hpp"
#include "base/result.hpp"
#include "rina/names.hpp"
#include "shim_udp/core/actions.hpp"

// The shim DIF over UDP in the dialect of rlite (user/uipcps/shim-udp4.cpp there): names are those
// of hosts, an SDU is the payload of a datagram as it is, and ports tell the flows apart.
//
//   * A registered name is a socket on its address and port 3359.
//   * To allocate a flow is to find the address of the name and open a socket on a port of its own;
//     nothing is sent. SDUs go to port 3359 until the peer has answered, and from then on to the
//     port that it has answered from.
//   * The first datagram on 3359 from an (address, port) asks for a flow. That end opens a socket
//     of its own for it, and sends from there.
//   * Nothing on the wire ends a flow. A closed one stays known for `flow_del_wait`, so that what
//     is still on its way does not ask for a new one.
//
// Anybody who can send with the address of the peer can speak as the peer; so much is UDP's. The
// shim adds: the port is learned once, from the peer's address only; a flow listens to exactly one
// (address, port) from then on; flows that wait, and those of one address, have limits; and a
// datagram from port 3359 asks for no flow, as two shims could be made to answer each other.
//
// Virtual time in, actions out; no I/O. One owner; not thread-safe.

namespace sluice::shim_udp {

inline constexpr std::uint16_t kWellKnownPort = 3359;
inline constexpr std::uint32_t kHeadersBytes = 40 + 8;  // of IPv6 and UDP; rlite's for IPv4 as well

struct Config {
    std::uint32_t mtu = 1500;  // of IP packets
    Duration flow_del_wait = Duration::seconds(4);
    Duration accept_wait = Duration::seconds(10);  // for the answer to FlowRequested
    Duration answer_wait = Duration::seconds(5);   // for that to Resolve and OpenSocket
    // Silence of a peer after which its flow is down. 0: never, as rlite.
    Duration inactivity{};
};

inline constexpr std::uint32_t kMtuMin = 576;  // that every host takes (RFC 791)
inline constexpr std::uint32_t kMtuMax = 65535;
inline constexpr std::size_t kAppsMax = 32;
inline constexpr std::size_t kFlowsMax = 1024;
inline constexpr std::size_t kRequestsMax = 64;  // flows asked for that are not accepted yet
inline constexpr std::size_t kRequestsOfAddressMax = 8;
inline constexpr std::size_t kFlowsOfAddressMax = 128;  // that this address asked for
inline constexpr std::uint32_t kHoldMax = 65;  // datagrams of one flow that wait, as in rlite

// Why a datagram went no further.
//       name            what happened
#define SLUICE_SHIM_UDP_DROPS(X)                                              \
    X(none,           "nothing")                                              \
    X(link_down,      "the link is down")                                     \
    X(unknown_socket, "on a socket that is not in use")                       \
    X(empty,          "no SDU in it")                                         \
    X(too_long,       "longer than an SDU may be")                            \
    X(bad_source,     "from an address or port that no peer can have")        \
    X(wrong_address,  "on a flow's socket, from another address")             \
    X(wrong_port,     "on a flow's socket, from another port than before")    \
    X(closed,         "for a flow that was closed or refused")                \
    X(hold_full,      "too much waits for a flow that is not accepted")       \
    X(request_limit,  "too many flows wait for being accepted")               \
    X(flow_limit,     "too many flows, of this address or in all")

enum class Drop : std::uint8_t {
#define SLUICE_X(name, text) name,
    SLUICE_SHIM_UDP_DROPS(SLUICE_X)
#undef SLUICE_X
        count_
};
inline constexpr std::size_t kDropCount = static_cast<std::size_t>(Drop::count_);
std::string_view to_string(Drop drop) noexcept;

struct Verdict {
    enum class Kind : std::uint8_t {
        data,  // the SDU is [offset, offset + length) of the datagram
        hold,  // the same, to be kept until accept(), refuse() or FlowFailed
        drop,
    };
    Kind kind = Kind::drop;
    Drop drop = Drop::none;
    FlowHandle flow{};
    std::uint32_t offset = 0;
    std::uint32_t length = 0;
};

// Where a flow's SDUs go.
struct Target {
    SocketId socket{};
    Endpoint to{};

    bool operator==(const Target&) const = default;
};

class Shim {
  public:
    static Result<> check(const Config& config);

    // `config` has passed check(); the outbox outlives the shim. The link is down at first.
    Shim(const Config& config, Outbox& out);
    Shim(const Shim&) = delete;
    Shim& operator=(const Shim&) = delete;

    // AppReady or AppFailed follows.
    Result<> register_app(Instant now, const rina::AppName& name);
    Result<> unregister_app(Instant now, const rina::AppName& name);

    // FlowAllocated or FlowFailed follows, with this handle and cookie.
    Result<FlowHandle> allocate(Instant now, const rina::AppName& local,
                                const rina::AppName& remote, std::uint32_t cookie);
    Result<> accept(Instant now, FlowHandle flow);
    Result<> refuse(Instant now, FlowHandle flow);
    // In every state of the flow; nothing more is heard of it.
    Result<> deallocate(Instant now, FlowHandle flow);

    void set_link(Instant now, bool up);
    Verdict on_datagram(Instant now, SocketId socket, const Endpoint& from,
                        std::span<const std::byte> bytes);
    void on_timeout(Instant now);
    Instant next_deadline() const noexcept;

    // Answers to actions; one that nobody waits for any more changes nothing.
    void on_resolved(Instant now, const rina::AppName& name, const IpAddress& address);
    void on_unresolved(Instant now, const rina::AppName& name, std::string_view why);
    void on_named(Instant now, const IpAddress& address, const rina::AppName& name);
    void on_unnamed(Instant now, const IpAddress& address);
    void on_socket(Instant now, SocketId socket);
    void on_socket_failed(Instant now, SocketId socket, std::string_view why);

    // Nothing if there is no such flow, or not yet, or no link.
    std::optional<Target> target_for(FlowHandle flow) const noexcept;
    std::uint32_t max_sdu() const noexcept { return config_.mtu - kHeadersBytes; }

    std::uint64_t dropped(Drop drop) const noexcept {
        return drops_[static_cast<std::size_t>(drop)];
    }
    std::size_t flows() const noexcept { return flows_.size(); }  // closed ones that linger too
    std::size_t sockets() const noexcept { return sockets_.size(); }

  private:
    enum class State : std::uint8_t {
        resolving,  // ours: the address of the name
        opening,    // ours: the socket
        arriving,   // theirs: the socket, and the name of the address
        requested,
        allocated,
        lingering,
    };
    struct Flow {
        State state = State::resolving;
        bool named = false;      // the name of the address is there, or there is none
        bool open = false;       // the socket is
        bool learned = false;    // the port of the peer is its own
        bool silent = false;     // FlowDown was said for want of datagrams
        std::uint32_t cookie = 0;
        std::uint32_t held = 0;
        rina::AppName local;
        rina::AppName remote;
        Endpoint peer{};
        SocketId socket{};
        SocketId listener{};  // where it was asked for, if the peer did
        Instant deadline = Instant::never();
        Instant heard = Instant::zero();
    };
    struct App {
        enum class State : std::uint8_t { resolving, opening, ready };
        State state = State::resolving;
        rina::AppName name;
        IpAddress address{};
        SocketId socket{};
        Instant deadline = Instant::never();
    };
    struct Socket {
        bool listens = false;
        FlowHandle flow{};
    };
    using Flows = std::map<FlowHandle, Flow>;
    using Apps = std::vector<App>;

    Verdict dropped_as(Drop drop) noexcept;
    Verdict on_listener(Instant now, SocketId socket, const Endpoint& from, std::uint32_t size);
    Verdict on_flow(Instant now, FlowHandle handle, Flow& flow, std::uint32_t size);
    Drop may_arrive(const Endpoint& from) const noexcept;
    FlowHandle arrive(Instant now, const App& app, const Endpoint& from);
    App* app_of(SocketId socket) noexcept;
    bool is_resolving(const rina::AppName& name) const noexcept;
    SocketId open_socket(const Endpoint& local, bool listens, FlowHandle flow);
    void close_socket(SocketId socket);
    void fail_app(Apps::iterator app, std::string text);
    void try_request(Instant now, FlowHandle handle, Flow& flow);
    void allocated(Instant now, FlowHandle handle, Flow& flow);
    void linger(Instant now, Flow& flow);
    void erase(Flows::iterator it);
    void fail_flow(Flows::iterator it, rina::Reason reason, std::string text);
    void flow_timeout(Instant now, Flows::iterator it);
    void inactivity_timeout(Instant now, FlowHandle handle, Flow& flow);
    static bool waits(const Flow& flow) noexcept {
        return flow.state == State::arriving || flow.state == State::requested;
    }

    Config config_;
    Outbox& out_;
    bool link_up_ = false;
    Apps apps_;
    Flows flows_;
    std::unordered_map<SocketId, Socket> sockets_;
    std::map<std::pair<SocketId, Endpoint>, FlowHandle> arrived_;  // by listener and peer
    std::uint32_t last_flow_ = 0;
    std::uint32_t last_socket_ = 0;
    std::array<std::uint64_t, kDropCount> drops_{};
};

}  // namespace sluice::shim_udp
