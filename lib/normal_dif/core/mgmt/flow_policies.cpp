#include "normal_dif/core/mgmt/flow_policies.hpp"

#include <algorithm>
#include <array>
#include <limits>

#include "normal_dif/core/faults.hpp"

namespace sluice::mgmt {

namespace {

constexpr std::int64_t kGapMax = std::numeric_limits<std::int32_t>::max();
constexpr std::int64_t kNsPerMs = 1'000'000;
constexpr std::int64_t kNsPerSecond = 1'000'000'000;
// More is refused by efcp::check anyway; up to here nothing overflows.
constexpr std::uint64_t kMicrosecondsMax = 3600ull * 1'000'000;

Result<std::uint32_t> narrowed(std::uint64_t value, const char* what) {
    if (value > std::numeric_limits<std::uint32_t>::max())
        return fail(ENOTSUP, "FlowRequest: {} of {}; expected a number of 32 bits", what, value);
    return static_cast<std::uint32_t>(value);
}

Result<> put_flow_control(const rina::FlowCtrlConfig& from, efcp::EfcpPolicies& to) {
    if (from.window_based) {
        const rina::WindowCfg window = from.window.value_or(rina::WindowCfg{});
        SLUICE_TRY(const std::uint32_t credit, narrowed(window.initial_credit, "credit"));
        SLUICE_TRY(const std::uint32_t queue,
                   narrowed(window.closed_window_queue_max, "closed window queue"));
        to.window = efcp::WindowPolicy{credit, queue};
    } else if (from.rate_based) {
        const rina::RateCfg rate = from.rate.value_or(rina::RateCfg{});
        SLUICE_TRY(const std::uint32_t pdus, narrowed(rate.sender_rate, "sending rate"));
        if (rate.period_us > kMicrosecondsMax)
            return fail(ENOTSUP, "FlowRequest: rate period of {} us; expected at most {}",
                        rate.period_us, kMicrosecondsMax);
        to.rate = efcp::RatePolicy{
            pdus, Duration::microseconds(static_cast<std::int64_t>(rate.period_us))};
    } else {
        return fail(ENOTSUP, "FlowRequest: flow control, but neither by window nor by rate; "
                             "expected one of them");
    }
    return {};
}

constexpr std::array kCongestionPolicies = {
    CongestionPolicyInfo{"none", "the window and the rate alone", "", efcp::Congestion::none},
    CongestionPolicyInfo{"aimd", "as NewReno (RFC 6582): halves at loss", "",
                         efcp::Congestion::aimd},
    CongestionPolicyInfo{"rate-estimate",
                         "as fast as the path was seen to deliver, whatever is lost", "",
                         efcp::Congestion::rate_estimate},
};

}  // namespace

std::span<const CongestionPolicyInfo> congestion_policies() noexcept {
    return kCongestionPolicies;
}

Result<> check(const FlowSpec& spec) {
    if (spec.max_sdu_gap < -1)
        return fail(EINVAL, "flow spec: gap of {} SDUs; expected -1 (any) or more",
                    spec.max_sdu_gap);
    if (spec.max_loss > kLossAny)
        return fail(EINVAL, "flow spec: loss of {}/10000; expected at most 10000", spec.max_loss);
    return {};
}

FlowTerms terms_for(const FlowSpec& spec, const FlowPolicyConfig& config) {
    FlowTerms terms;
    terms.bandwidth_bps = spec.avg_bandwidth_bps;
    terms.msg_boundaries = spec.msg_boundaries;
    efcp::EfcpPolicies& policies = terms.policies;
    policies.in_order = spec.in_order || spec.reliable();
    policies.max_sdu_gap = std::min(spec.max_sdu_gap, kGapMax);
    if (spec.reliable()) policies.retransmission = config.retransmission;
    if (spec.reliable() || config.force_flow_control) {
        policies.window = config.window;
        policies.a_timer = config.a_timer;
    }
    // A shaper counts as DTCP there.
    policies.dtcp_present = policies.window || spec.avg_bandwidth_bps != 0;
    policies.congestion =
        policies.reliable() ? config.congestion : efcp::Congestion::none;
    policies.mpl = config.mpl;
    policies.send_queue_max = config.send_queue_max;
    return terms;
}

void put(const FlowTerms& terms, rina::FlowRequest& request) {
    const efcp::EfcpPolicies& policies = terms.policies;
    rina::QosSpec& qos = request.qos;
    qos.average_bandwidth_bps =
        terms.bandwidth_bps / (faults::is_active(faults::Fault::bandwidth_in_bytes) ? 8 : 1);
    qos.partial_delivery = !terms.msg_boundaries;
    qos.in_order_delivery = policies.in_order;
    qos.sdu_gap_max = static_cast<std::int32_t>(policies.max_sdu_gap);

    rina::ConnPolicies& wire = request.policies;
    wire.dtcp_present = policies.dtcp_present;
    wire.initial_a_timer_ms = static_cast<std::uint32_t>(policies.a_timer.ns / kNsPerMs);
    wire.dtcp.flow_control = policies.window || policies.rate;
    if (policies.window) {
        wire.dtcp.flow.window_based = true;
        wire.dtcp.flow.window.emplace();
        wire.dtcp.flow.window->closed_window_queue_max = policies.window->closed_queue_max;
        wire.dtcp.flow.window->initial_credit = policies.window->initial_credit;
    } else if (policies.rate) {
        wire.dtcp.flow.rate_based = true;
        wire.dtcp.flow.rate.emplace();
        wire.dtcp.flow.rate->sender_rate = policies.rate->pdus;
        wire.dtcp.flow.rate->period_us =
            static_cast<std::uint64_t>(policies.rate->period.ns / 1000);
    }
    if (policies.retransmission) {
        const efcp::RetransmissionPolicy& again = *policies.retransmission;
        wire.dtcp.retransmission_control = true;
        wire.dtcp.retransmission.time_to_retry_max =
            static_cast<std::uint32_t>(again.time_max.ns / kNsPerSecond);
        wire.dtcp.retransmission.data_rxmsn_max = again.retries_max;
        wire.dtcp.retransmission.initial_timeout_ms =
            static_cast<std::uint32_t>(again.initial_timeout.ns / kNsPerMs);
    }
}

Result<FlowTerms> terms_of(const rina::FlowRequest& request, const FlowPolicyConfig& config,
                           const rina::PciFormat& format) {
    const rina::ConnPolicies& wire = request.policies;
    FlowTerms terms;
    terms.bandwidth_bps = request.qos.average_bandwidth_bps;
    terms.msg_boundaries = !request.qos.partial_delivery;
    efcp::EfcpPolicies& policies = terms.policies;
    policies.in_order = request.qos.in_order_delivery;
    policies.max_sdu_gap = request.qos.sdu_gap_max;
    policies.dtcp_present = wire.dtcp_present;
    policies.a_timer = Duration::milliseconds(wire.initial_a_timer_ms);
    if (wire.dtcp.flow_control) SLUICE_TRY_VOID(put_flow_control(wire.dtcp.flow, policies));
    if (wire.dtcp.retransmission_control) {
        const rina::RtxCtrlConfig& again = wire.dtcp.retransmission;
        policies.retransmission = efcp::RetransmissionPolicy{
            Duration::milliseconds(again.initial_timeout_ms), again.data_rxmsn_max,
            Duration::seconds(again.time_to_retry_max)};
        policies.congestion = config.congestion;
    }
    policies.mpl = config.mpl;
    policies.send_queue_max = config.send_queue_max;
    if (const auto good = efcp::check(policies, format); !good)
        return fail(ENOTSUP, "{}", good.error().message);
    return terms;
}

FlowSpec spec_of(const rina::FlowRequest& request) noexcept {
    FlowSpec spec;
    spec.max_sdu_gap = std::max<std::int64_t>(request.qos.sdu_gap_max, -1);
    spec.avg_bandwidth_bps = request.qos.average_bandwidth_bps;
    spec.in_order = request.qos.in_order_delivery;
    spec.msg_boundaries = !request.qos.partial_delivery;
    return spec;
}

}  // namespace sluice::mgmt
