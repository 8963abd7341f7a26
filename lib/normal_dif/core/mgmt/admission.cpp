#include "normal_dif/core/mgmt/admission.hpp"

#include <array>
#include <vector>

namespace sluice::mgmt {

namespace {

using policy::Params;

constexpr std::uint64_t kBandwidthMax = 1'000'000'000'000'000;

Result<AnyAdmission> make_none(Params& params) {
    SLUICE_TRY_VOID(params.finish());
    return AdmitAll{};
}

Result<AnyAdmission> make_bandwidth(Params& params) {
    CubeBudgets budgets(params.number("unasked", 0, 0, kBandwidthMax));
    for (const Params::Numbered& given : params.numbered("cube", 65535)) {
        std::uint64_t bandwidth = 0;
        if (!policy::parse_number(given.value, bandwidth) || bandwidth > kBandwidthMax)
            params.refuse(given.key, "expected bit/s");
        budgets.set(rina::QosId{static_cast<std::uint16_t>(given.number)}, bandwidth);
    }
    SLUICE_TRY_VOID(params.finish());
    return budgets;
}

Result<AnyAdmission> make_user(Params& params) {
    const std::uint64_t flows = params.number("flows", 1000, 1, 1u << 21);
    const std::uint64_t bandwidth = params.number("bandwidth", kBandwidthMax, 0, kBandwidthMax);
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
    if (cost(request) > budget.bandwidth_bps - budget.used_bps)
        return fail(EAGAIN,
                    "flow of {} bit/s: QoS cube {} has {} of its {} bit/s left; expected less",
                    cost(request), request.cube.value, budget.bandwidth_bps - budget.used_bps,
                    budget.bandwidth_bps);
    budget.used_bps += cost(request);
    return {};
}

void CubeBudgets::release(const AdmissionRequest& request) noexcept {
    const auto at = cubes_.find(request.cube);
    if (at != cubes_.end()) at->second.used_bps -= cost(request);
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
    if (request.bandwidth_bps > bandwidth_bps_max_ - used.bandwidth_bps)
        return fail(EAGAIN, "flow of {} bit/s: application {} has {} of {} bit/s; expected less",
                    request.bandwidth_bps, request.user, used.bandwidth_bps, bandwidth_bps_max_);
    users_[std::string(request.user)] = {used.flows + 1,
                                         used.bandwidth_bps + request.bandwidth_bps};
    return {};
}

void UserLimits::release(const AdmissionRequest& request) noexcept {
    const auto at = users_.find(std::string(request.user));
    if (at == users_.end()) return;
    at->second.bandwidth_bps -= request.bandwidth_bps;
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
