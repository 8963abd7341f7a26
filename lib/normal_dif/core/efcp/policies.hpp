#pragma once

#include <cstdint>
#include <optional>

#include "base/instant.hpp"
#include "base/result.hpp"
#include "rina/pci.hpp"

// What both ends of a connection agreed on at flow allocation.
namespace sluice::efcp {

// Whom the connection leads to. rlite: cumulative acknowledgements only, a reorder queue of 64
// PDUs, a receiver that starts anew at each data run flag, no rendezvous (kernel/normal.c there).
enum class Dialect : std::uint8_t { rlite, sluice };

// none: the window and the rate alone. aimd: as NewReno (RFC 6582). rate_estimate: sends as fast as
// the path was seen to deliver, so that random loss does not slow it down.
enum class Congestion : std::uint8_t { none, aimd, rate_estimate };

struct WindowPolicy {
    std::uint32_t initial_credit = 512;  // first window: sequence numbers 0 to this, inclusive
    std::uint32_t closed_queue_max = 128;  // PDUs that may wait for the window to open

    bool operator==(const WindowPolicy&) const = default;
};

struct RatePolicy {
    std::uint32_t pdus = 0;  // at most so many
    Duration period{};       // in each period of this length

    bool operator==(const RatePolicy&) const = default;
};

struct RetransmissionPolicy {
    Duration initial_timeout = Duration::seconds(1);
    std::uint32_t retries_max = 10;  // of one PDU (data_rxmsn_max); then the flow fails
    Duration time_max{};             // without progress; 0: initial_timeout times retries_max

    Duration give_up() const noexcept {
        return time_max.ns > 0 ? time_max : initial_timeout * retries_max;
    }
    bool operator==(const RetransmissionPolicy&) const = default;
};

struct EfcpPolicies {
    bool in_order = false;
    std::int64_t max_sdu_gap = -1;  // lost SDUs in a row that the user can bear; -1: any number
    bool dtcp_present = false;
    std::optional<WindowPolicy> window;
    std::optional<RatePolicy> rate;
    std::optional<RetransmissionPolicy> retransmission;
    Duration a_timer{};                     // how long an acknowledgement may be put off
    Duration mpl = Duration::seconds(1);    // maximum PDU lifetime
    bool ecn = false;
    Congestion congestion = Congestion::none;
    // Agreed between our own nodes only.
    bool sack = false;           // blocks behind the fields of control PDUs
    bool large_windows = false;  // the whole credit may be outstanding, and is kept when reordered
    bool delimiting = false;     // user data carries delimiting.hpp's format
    Dialect dialect = Dialect::rlite;
    std::uint32_t send_queue_max = 128;  // as closed_queue_max, of a flow without a window
    // Where both ends start to count; rlite's initial sequence number policy says 0.
    std::uint64_t initial_sequence = 0;

    bool reliable() const noexcept { return retransmission.has_value(); }
    // MPL + R + A of delta-t (Watson, "Timer-based mechanisms in reliable transport protocol
    // connection management", 1981): no state outlives small multiples of it.
    Duration delta_t() const noexcept {
        const Duration r = reliable()
                               ? retransmission->initial_timeout * retransmission->retries_max
                               : Duration{};
        return mpl + r + a_timer;
    }
    std::uint32_t queue_max() const noexcept {
        return window ? window->closed_queue_max : send_queue_max;
    }

    // What rlite asks for (user/uipcps/uipcp-normal-flow-alloc.cpp there) without and with a gap
    // of 0, and with its policy force-flow-control.
    static EfcpPolicies best_effort() noexcept;
    static EfcpPolicies rlite_reliable() noexcept;
    static EfcpPolicies rlite_flow_control(std::uint32_t credit) noexcept;
    // Between our own nodes.
    static EfcpPolicies sluice_reliable(std::uint32_t credit) noexcept;

    bool operator==(const EfcpPolicies&) const = default;
};

// PDUs that rlite's receiver holds beyond a lost one; more are dropped.
inline constexpr std::uint32_t kRliteReorderMax = 64;
// Outstanding PDUs, and PDUs held for reordering, unless large windows were agreed on.
inline constexpr std::uint32_t kSmallWindowMax = 512;
inline constexpr std::uint32_t kCreditMax = 1u << 24;

// EINVAL and one sentence if they do not go together or do not fit the DIF's PDU format.
Result<> check(const EfcpPolicies& policies, const rina::PciFormat& format);

}  // namespace sluice::efcp
