#include "normal_dif/core/efcp/policies.hpp"

#include <algorithm>

#include "normal_dif/core/efcp/seq.hpp"

namespace sluice::efcp {

namespace {

constexpr std::uint32_t kRetriesMax = 250;
constexpr Duration kTimeMax = Duration::seconds(600);

Result<> check_window(const EfcpPolicies& policies, const SeqSpace& space) {
    const WindowPolicy& window = *policies.window;
    if (window.initial_credit == 0)
        return fail(EINVAL, "EFCP window: initial credit 0; expected 1 or more PDUs");
    // Outstanding numbers and those of late duplicates must be told apart.
    const std::uint64_t most = std::min<std::uint64_t>(kCreditMax, space.half() - 2);
    if (window.initial_credit > most)
        return fail(EINVAL,
                    "EFCP window: initial credit of {} PDUs; expected at most {} with the sequence "
                    "numbers of this DIF",
                    window.initial_credit, most);
    return {};
}

Result<> check_retransmission(const RetransmissionPolicy& policy) {
    if (policy.initial_timeout.ns <= 0 || policy.initial_timeout > kTimeMax)
        return fail(EINVAL, "EFCP retransmission: initial timeout of {}; expected up to {}",
                    to_string(policy.initial_timeout), to_string(kTimeMax));
    if (policy.retries_max == 0 || policy.retries_max > kRetriesMax)
        return fail(EINVAL, "EFCP retransmission: {} retries; expected 1 to {}",
                    policy.retries_max, kRetriesMax);
    if (policy.time_max.ns < 0 || policy.time_max > kTimeMax)
        return fail(EINVAL, "EFCP retransmission: time limit of {}; expected 0 to {}",
                    to_string(policy.time_max), to_string(kTimeMax));
    return {};
}

// What hangs on what.
Result<> check_together(const EfcpPolicies& policies) {
    const bool needs_dtcp = policies.window || policies.rate || policies.retransmission;
    if (needs_dtcp && !policies.dtcp_present)
        return fail(EINVAL,
                    "EFCP: flow control and retransmission need DTCP; expected dtcp_present");
    if (policies.sack && !policies.reliable())
        return fail(EINVAL, "EFCP: selective acknowledgement without retransmission control");
    if (policies.congestion != Congestion::none && !policies.reliable())
        return fail(EINVAL,
                    "EFCP: congestion control needs acknowledgements; expected retransmission "
                    "control with it");
    if (policies.delimiting && !policies.in_order)
        return fail(EINVAL, "EFCP: delimiting puts parts of SDUs together in their order; expected "
                            "in-order delivery with it");
    if (policies.dialect == Dialect::rlite &&
        (policies.sack || policies.large_windows || policies.delimiting))
        return fail(EINVAL, "EFCP: selective acknowledgement, large windows and delimiting are "
                            "unknown to rlite; expected dialect sluice with them");
    return {};
}

}  // namespace

Result<> check(const EfcpPolicies& policies, const rina::PciFormat& format) {
    SLUICE_TRY_VOID(rina::check(format));
    const SeqSpace space(format.sequence);
    if (policies.max_sdu_gap < -1)
        return fail(EINVAL, "EFCP: gap of {} SDUs; expected -1 (any) or more",
                    policies.max_sdu_gap);
    if (policies.a_timer.ns < 0 || policies.a_timer > kTimeMax)
        return fail(EINVAL, "EFCP: A-timer of {}; expected 0 to {}", to_string(policies.a_timer),
                    to_string(kTimeMax));
    if (policies.mpl.ns <= 0 || policies.mpl > kTimeMax)
        return fail(EINVAL, "EFCP: maximum PDU lifetime of {}; expected more than 0, up to {}",
                    to_string(policies.mpl), to_string(kTimeMax));
    if (policies.queue_max() == 0 || policies.queue_max() > kCreditMax)
        return fail(EINVAL, "EFCP: send queue of {} PDUs; expected 1 to {}", policies.queue_max(),
                    kCreditMax);
    if (policies.initial_sequence > space.mask())
        return fail(EINVAL, "EFCP: initial sequence number {}; expected at most {} in this DIF",
                    policies.initial_sequence, space.mask());
    if (policies.window) SLUICE_TRY_VOID(check_window(policies, space));
    if (policies.rate && (policies.rate->pdus == 0 || policies.rate->period.ns <= 0 ||
                          policies.rate->period > kTimeMax))
        return fail(EINVAL, "EFCP rate: {} PDUs in {}; expected 1 or more PDUs in up to {}",
                    policies.rate->pdus, to_string(policies.rate->period), to_string(kTimeMax));
    if (policies.retransmission) SLUICE_TRY_VOID(check_retransmission(*policies.retransmission));
    return check_together(policies);
}

EfcpPolicies EfcpPolicies::best_effort() noexcept { return {}; }

EfcpPolicies EfcpPolicies::rlite_reliable() noexcept {
    EfcpPolicies policies;
    policies.in_order = true;
    policies.max_sdu_gap = 0;
    policies.dtcp_present = true;
    policies.window = WindowPolicy{};
    policies.retransmission = RetransmissionPolicy{};
    policies.retransmission->time_max = Duration::seconds(15);
    policies.a_timer = Duration::milliseconds(20);
    policies.congestion = Congestion::aimd;
    return policies;
}

EfcpPolicies EfcpPolicies::rlite_flow_control(std::uint32_t credit) noexcept {
    EfcpPolicies policies;
    policies.in_order = true;
    policies.dtcp_present = true;
    policies.window = WindowPolicy{credit, 128};
    policies.a_timer = Duration::milliseconds(20);
    return policies;
}

EfcpPolicies EfcpPolicies::sluice_reliable(std::uint32_t credit) noexcept {
    EfcpPolicies policies = rlite_reliable();
    policies.dialect = Dialect::sluice;
    policies.window->initial_credit = credit;
    policies.congestion = Congestion::rate_estimate;
    policies.sack = true;
    policies.large_windows = true;
    policies.ecn = true;
    return policies;
}

}  // namespace sluice::efcp
