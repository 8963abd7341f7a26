#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "base/instant.hpp"
#include "base/result.hpp"
#include "normal_dif/core/efcp/policies.hpp"
#include "rina/objects.hpp"
#include "rina/pci.hpp"

// From what an application asks for to what a connection does, and to and from what a FlowRequest
// says about it, as rlite's local flow allocator has it
// (user/uipcps/uipcp-normal-flow-alloc.cpp there).
namespace sluice::mgmt {

inline constexpr std::uint16_t kLossAny = 10000;

// What an application asks for (struct rina_flow_spec of rlite's API).
struct FlowSpec {
    std::uint32_t delay_us = 0;            // at most; 0: any
    std::int64_t max_sdu_gap = -1;         // lost SDUs in a row; -1: any, 0: none
    std::uint64_t avg_bandwidth_bps = 0;   // 0: any
    std::uint16_t max_loss = kLossAny;     // 1/10000
    bool in_order = false;
    bool msg_boundaries = true;
    std::uint32_t jitter_us = 0;           // at most; 0: any

    bool reliable() const noexcept { return max_sdu_gap == 0; }
    bool operator==(const FlowSpec&) const = default;
};

Result<> check(const FlowSpec& spec);

// What both ends of a connection do.
struct FlowTerms {
    efcp::EfcpPolicies policies;
    std::uint64_t bandwidth_bps = 0;  // each end shapes what it sends; 0: it does not
    bool msg_boundaries = true;

    bool operator==(const FlowTerms&) const = default;
};

// The parameters of rlite's flow allocator, with its defaults.
struct FlowPolicyConfig {
    bool force_flow_control = false;  // for every flow, not only the reliable ones
    efcp::WindowPolicy window{};
    efcp::RetransmissionPolicy retransmission{Duration::seconds(1), 10, Duration::seconds(15)};
    Duration a_timer = Duration::milliseconds(20);
    // Of this end alone, nothing of it is agreed on.
    Duration mpl = Duration::seconds(4);
    efcp::Congestion congestion = efcp::Congestion::aimd;  // of reliable flows
    std::uint32_t send_queue_max = 128;
};

// The congestion controls there are, by name. To add one: a line in the table of
// flow_policies.cpp, its value and what it does (efcp/congestion.hpp), and a test.
struct CongestionPolicyInfo {
    std::string_view name;
    std::string_view help;
    std::string_view params;  // keys with their defaults
    efcp::Congestion value;
};
std::span<const CongestionPolicyInfo> congestion_policies() noexcept;

// What rlite would ask for. Delay, loss and jitter change nothing about a connection.
FlowTerms terms_for(const FlowSpec& spec, const FlowPolicyConfig& config);

// The two parts of a FlowRequest that say it. Only what rlite writes: our extensions are not in it.
void put(const FlowTerms& terms, rina::FlowRequest& request);
// What a FlowRequest asks for, exactly. ENOTSUP if that is nothing this end can do.
Result<FlowTerms> terms_of(const rina::FlowRequest& request, const FlowPolicyConfig& config,
                           const rina::PciFormat& format);
// As far as a FlowRequest tells.
FlowSpec spec_of(const rina::FlowRequest& request) noexcept;

}  // namespace sluice::mgmt
