#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/instant.hpp"
#include "base/result.hpp"
#include "rina/names.hpp"
#include "rina/rina_arp.hpp"
#include "shim_eth/core/actions.hpp"
#include "shim_eth/core/frame.hpp"

// The shim DIF over Ethernet in the dialect of rlite (kernel/shim-eth.c there): RINA-ARP finds the
// station that has a name, and an SDU is the payload of a frame of EtherType 0xd1f0, as it is.
//
//   * To allocate a flow is to resolve the name. The other end hears of the flow when the first
//     frame comes.
//   * Frames carry no flow number: two stations have one flow between them, and a second one is
//     EBUSY.
//   * Nothing on the wire ends a flow. A closed one keeps its station busy for `flow_del_wait`, so
//     that what is still on its way does not ask for a new one.
//   * There is no length: a short SDU arrives with the padding of its frame. A normal DIF above
//     finds the end by itself.
//
// Where this differs from rlite: the flow is for the name that the peer has asked for, not for the
// first that is registered; names that are resolved age; asking has an end; replies that nobody
// asked for change nothing, and requests neither override what a reply has said nor fill memory.
//
// Virtual time in, actions out; no I/O. One owner; not thread-safe.

namespace sluice::shim_eth {

struct Config {
    rina::MacAddress mac{};
    std::uint32_t mtu = 1500;    // payload of a frame
    std::uint16_t vlan = 0;      // 0: frames without a tag
    std::uint8_t priority = 0;   // of the tag
    Duration flow_del_wait = Duration::seconds(4);
    Duration accept_wait = Duration::seconds(10);  // for the answer to FlowRequested
    Duration ask_every = Duration::seconds(2);
    std::uint32_t ask_tries = 5;
    Duration cache_age = Duration::seconds(120);
};

inline constexpr std::uint32_t kMtuMin = 68;  // of RFC 791: nothing that is called a MTU is less
inline constexpr std::uint32_t kMtuMax = 65535;
inline constexpr std::size_t kAppsMax = 32;
inline constexpr std::size_t kPeersMax = 1024;
inline constexpr std::size_t kFlowsMax = 1024;
inline constexpr std::size_t kCacheMax = 1024;
inline constexpr std::size_t kRequestsMax = 64;  // FlowRequested that wait for an answer
inline constexpr std::uint32_t kHoldMax = 65;    // frames of one flow that wait, as in rlite
// Requests for names of ours: of one station at a time, and of all the stations that are new.
inline constexpr std::uint32_t kAskBurst = 10;
inline constexpr std::uint32_t kStrangerBurst = 64;
inline constexpr Duration kAskGap = Duration::milliseconds(200);
inline constexpr Duration kStrangerGap = Duration::milliseconds(10);

// Why a frame went no further.
//       name             what happened
#define SLUICE_SHIM_ETH_DROPS(X)                                              \
    X(none,            "nothing")                                             \
    X(link_down,       "the link is down")                                    \
    X(too_short,       "shorter than its header")                             \
    X(too_long,        "longer than the MTU")                                 \
    X(empty,           "no SDU in it")                                        \
    X(other_vlan,      "of another VLAN, or tagged where no tag is expected") \
    X(other_type,      "of another EtherType, or ARP of another protocol")    \
    X(not_for_us,      "for another station")                                 \
    X(bad_source,      "from a group address or from our own")                \
    X(bad_arp,         "RINA-ARP that does not parse")                        \
    X(forged_arp,      "RINA-ARP in the name of another station")             \
    X(not_registered,  "RINA-ARP for a name that is not registered here")     \
    X(ask_rate,        "RINA-ARP above the rate limit")                       \
    X(unsolicited,     "reply that nobody waits for")                         \
    X(conflict,        "reply of a second station for the same name")         \
    X(unknown_station, "data of a station that never asked for a name")       \
    X(unregistered,    "data for a name that is no longer registered")        \
    X(closed,          "data for a flow that was closed or refused")          \
    X(hold_full,       "too much waits for a flow that is not accepted")      \
    X(request_limit,   "too many flows wait for being accepted")

enum class Drop : std::uint8_t {
#define SLUICE_X(name, text) name,
    SLUICE_SHIM_ETH_DROPS(SLUICE_X)
#undef SLUICE_X
        count_
};
inline constexpr std::size_t kDropCount = static_cast<std::size_t>(Drop::count_);
std::string_view to_string(Drop drop) noexcept;

struct Verdict {
    enum class Kind : std::uint8_t {
        data,     // the SDU is [offset, offset + length) of the frame
        hold,     // the same, to be kept until accept(), refuse() or FlowFailed
        control,  // consumed
        drop,
    };
    Kind kind = Kind::drop;
    Drop drop = Drop::none;
    FlowHandle flow{};
    std::uint32_t offset = 0;
    std::uint32_t length = 0;
};

class Shim {
  public:
    static Result<> check(const Config& config);

    // `config` has passed check(); the outbox outlives the shim. The link is down at first.
    Shim(const Config& config, Outbox& out);
    Shim(const Shim&) = delete;
    Shim& operator=(const Shim&) = delete;

    Result<> register_app(const rina::AppName& name);
    Result<> unregister_app(Instant now, const rina::AppName& name);

    // FlowAllocated or FlowFailed follows, with this handle and cookie.
    Result<FlowHandle> allocate(Instant now, const rina::AppName& local,
                                const rina::AppName& remote, std::uint32_t cookie);
    Result<> accept(Instant now, FlowHandle flow);
    Result<> refuse(Instant now, FlowHandle flow);
    // In every state of the flow; nothing more is heard of it.
    Result<> deallocate(Instant now, FlowHandle flow);

    void set_link(Instant now, bool up);
    Verdict on_frame(Instant now, std::span<const std::byte> frame);
    void on_timeout(Instant now);
    Instant next_deadline() const noexcept;

    // What goes before an SDU; size 0 if there is no such flow, or not yet, or no link.
    Header header_for(FlowHandle flow) const noexcept;
    std::uint32_t max_sdu() const noexcept { return config_.mtu; }

    std::uint64_t dropped(Drop drop) const noexcept {
        return drops_[static_cast<std::size_t>(drop)];
    }
    // Stations that claimed a name that another one had.
    std::uint64_t conflicts() const noexcept { return conflicts_; }
    std::size_t flows() const noexcept { return flows_.size(); }  // closed ones that linger too
    std::size_t peers() const noexcept { return peers_.size(); }
    std::size_t cached() const noexcept { return cache_.size(); }

  private:
    enum class State : std::uint8_t { resolving, requested, allocated, lingering };

    struct Flow {
        State state = State::resolving;
        std::uint32_t cookie = 0;
        std::uint32_t tries = 0;
        std::uint32_t held = 0;
        std::string local;  // in rlite's form
        std::string remote;
        rina::MacAddress mac{};
        Instant deadline = Instant::never();
        Instant heard = Instant::zero();  // of the station
    };
    // A virtual scheduling bucket: `full_at` is when it will be full again.
    struct Bucket {
        Instant full_at = Instant::zero();
        bool take(Instant now, Duration gap, std::uint32_t burst) noexcept;
    };
    // A station that asked for a name of ours, or answered for the one that we asked for: rlite
    // may begin a flow after either.
    struct Peer {
        std::string local;
        std::string remote;
        FlowHandle flow{};
        Instant seen = Instant::zero();
        Bucket asks;
    };
    struct Cached {
        rina::MacAddress mac{};
        Instant stale_at = Instant::never();
        bool asked_again = false;
        std::string local;  // who asks
    };
    using Flows = std::map<FlowHandle, Flow>;

    Verdict data(Instant now, const ParsedHeader& header, std::size_t frame_size);
    Verdict request(Instant now, Peer& peer, const rina::MacAddress& mac);
    Verdict arp(Instant now, const ParsedHeader& header, std::span<const std::byte> body);
    Verdict arp_request(Instant now, const rina::RinaArp& arp);
    Verdict arp_reply(Instant now, const rina::RinaArp& arp);
    Verdict dropped_as(Drop drop) noexcept;
    const std::string* registered_for(std::string_view target) const noexcept;
    Peer* find_peer(const rina::MacAddress& mac) noexcept;
    Peer* add_peer(Instant now, const rina::MacAddress& mac);
    void remember(Instant now, const std::string& name, const std::string& local,
                  const rina::MacAddress& mac);
    void resolved(Instant now, FlowHandle handle, Flow& flow, const rina::MacAddress& mac);
    FlowHandle resolving_to(std::string_view local, std::string_view remote) const noexcept;
    void ask(std::string_view local, std::string_view remote);
    void send_arp(const rina::RinaArp& arp, const rina::MacAddress& destination);
    void linger(Instant now, Flow& flow);
    void fail_flow(Flows::iterator it, rina::Reason reason, std::string text);
    void flow_timeout(Instant now, Flows::iterator it);
    void age_cache(Instant now);
    bool in_use(const std::string& name) const noexcept;

    Config config_;
    Outbox& out_;
    bool link_up_ = false;
    std::vector<std::string> apps_;
    Flows flows_;
    std::unordered_map<std::uint64_t, Peer> peers_;  // by MAC address
    std::map<std::string, Cached> cache_;            // by the name of the peer
    Bucket strangers_;
    std::size_t requests_ = 0;
    std::uint32_t last_handle_ = 0;
    std::uint64_t conflicts_ = 0;
    std::array<std::uint64_t, kDropCount> drops_{};
};

}  // namespace sluice::shim_eth
