#include "normal_dif/core/mgmt/admission.hpp"

#include <algorithm>
#include <array>
#include <vector>

namespace sluice::mgmt {

namespace {

using policy::Params;

constexpr std::uint64_t kBandwidthMax = 1'000'000'000'000'000;
// A flow that was there before may have asked for any number. It counts as at most this much, so
// that no sum of flows overflows.
constexpr std::uint64_t kCountedMax = kBandwidthMax / 10;

std::uint64_t counted(std::uint64_t bandwidth_bps) noexcept {
    return std::min(bandwidth_bps, kCountedMax);
}
// Less than nothing is left where flows were adopted.
std::uint64_t left(std::uint64_t most, std::uint64_t used) noexcept {
    return most - std::min(most, used);
}

Result<AnyAdmission> make_none(Params& params) {
    SLUICE_TRY_VOID(params.finish());
    return AdmitAll{};
}

Result<AnyAdmission> make_bandwidth(Params& params) {
    CubeBudgets budgets(params.number("unasked", 0, 0, kBandwidthMax,
                                      "bit/s that a flow counts as that asks for none"));
    for (const Params::Numbered& given :
         params.numbered("cube", 65535, "bit/s of all flows of QoS cube N")) {
        std::uint64_t bandwidth = 0;
        if (!policy::parse_number(given.value, bandwidth) || bandwidth > kBandwidthMax)
            params.refuse(given.key, "expected bit/s");
        budgets.set(rina::QosId{static_cast<std::uint16_t>(given.number)}, bandwidth);
    }
    SLUICE_TRY_VOID(params.finish());
    return budgets;
}

Result<AnyAdmission> make_user(Params& params) {
    const std::uint64_t flows = params.number("flows", 1000, 1, 1u << 21,
                                                "of one application");
    const std::uint64_t bandwidth = params.number(
        "bandwidth", kBandwidthMax, 0, kBandwidthMax, "bit/s of all flows of one application");
    SLUICE_TRY_VOID(params.finish());
    return UserLimits(flows, bandwidth);
}

constexpr std::array kPolicies = {
    AdmissionPolicy{"none", "every flow", "", make_none},
    AdmissionPolicy{"bandwidth", "as long as the cube's bandwidth lasts", "cube.ID=BPS unasked=0",
                    make_bandwidth},
    AdmissionPolicy{"user", "so much for each application", "flows=1000 bandwidth=any", make_user},
};

}  // namespace

Result<> CubeBudgets::admit(const AdmissionRequest& request) {
    const auto at = cubes_.find(request.cube);
    if (at == cubes_.end()) return {};
    Budget& budget = at->second;
    // Written so that no request overflows it.
    const std::uint64_t free_bps = left(budget.bandwidth_bps, budget.used_bps);
    if (cost(request) > free_bps)
        return fail(EAGAIN,
                    "flow of {} bit/s: QoS cube {} has {} of its {} bit/s left; expected less",
                    cost(request), request.cube.value, free_bps, budget.bandwidth_bps);
    budget.used_bps += counted(cost(request));
    return {};
}

void CubeBudgets::adopt(const AdmissionRequest& request) noexcept {
    const auto at = cubes_.find(request.cube);
    if (at != cubes_.end()) at->second.used_bps += counted(cost(request));
}

void CubeBudgets::release(const AdmissionRequest& request) noexcept {
    const auto at = cubes_.find(request.cube);
    if (at != cubes_.end()) at->second.used_bps -= counted(cost(request));
}

std::uint64_t CubeBudgets::used_bps(rina::QosId cube) const noexcept {
    const auto at = cubes_.find(cube);
    return at == cubes_.end() ? 0 : at->second.used_bps;
}

Result<> UserLimits::admit(const AdmissionRequest& request) {
    const auto at = users_.find(std::string(request.user));
    const Usage used = at == users_.end() ? Usage{} : at->second;
    if (used.flows >= flows_max_)
        return fail(EAGAIN, "application {} has {} flows; expected at most {}", request.user,
                    used.flows, flows_max_);
    if (request.bandwidth_bps > left(bandwidth_bps_max_, used.bandwidth_bps))
        return fail(EAGAIN, "flow of {} bit/s: application {} has {} of {} bit/s; expected less",
                    request.bandwidth_bps, request.user, used.bandwidth_bps, bandwidth_bps_max_);
    adopt(request);
    return {};
}

void UserLimits::adopt(const AdmissionRequest& request) {
    Usage& used = users_[std::string(request.user)];
    ++used.flows;
    used.bandwidth_bps += counted(request.bandwidth_bps);
}

void UserLimits::release(const AdmissionRequest& request) noexcept {
    const auto at = users_.find(std::string(request.user));
    if (at == users_.end()) return;
    at->second.bandwidth_bps -= counted(request.bandwidth_bps);
    if (--at->second.flows == 0) users_.erase(at);
}

std::span<const AdmissionPolicy> admission_policies() noexcept { return kPolicies; }

Result<AnyAdmission> make_admission(std::string_view name, std::span<const policy::Param> params) {
    for (const AdmissionPolicy& known : kPolicies) {
        if (known.name != name) continue;
        Params reader(fmt::format("admission {}", name), params);
        return known.make(reader);
    }
    std::vector<std::string> names;
    for (const AdmissionPolicy& known : kPolicies) names.emplace_back(known.name);
    return fail(EINVAL, "admission policy '{}' is not known, expected one of {}", name,
                policy::join(names));
}

}  // namespace sluice::mgmt
