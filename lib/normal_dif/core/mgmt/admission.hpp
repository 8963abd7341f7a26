#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <variant>

#include "base/result.hpp"
#include "normal_dif/core/policy/params.hpp"
#include "rina/pci.hpp"

// Whether one more flow may begin at this end, and which policies decide it.
namespace sluice::mgmt {

struct AdmissionRequest {
    rina::QosId cube{};
    std::uint64_t bandwidth_bps = 0;  // 0: it did not ask for any
    std::string_view user;            // the process name of the application at this end
};

// What admit() let in, release() gives back with the same request. EAGAIN when it must wait for
// others to end. adopt() counts a flow that there is already, since before this policy: it stays,
// also where it is over a limit, and is given back in the same way.
class AdmitAll {
  public:
    Result<> admit(const AdmissionRequest&) noexcept { return {}; }
    void adopt(const AdmissionRequest&) noexcept {}
    void release(const AdmissionRequest&) noexcept {}
};

// A budget of bandwidth for each cube; cubes without one are free.
class CubeBudgets {
  public:
    // A flow that asks for no bandwidth counts as `unasked_bps`.
    explicit CubeBudgets(std::uint64_t unasked_bps) noexcept : unasked_bps_(unasked_bps) {}
    void set(rina::QosId cube, std::uint64_t bandwidth_bps) { cubes_[cube] = {bandwidth_bps, 0}; }

    Result<> admit(const AdmissionRequest& request);
    void adopt(const AdmissionRequest& request) noexcept;
    void release(const AdmissionRequest& request) noexcept;
    std::uint64_t used_bps(rina::QosId cube) const noexcept;

  private:
    struct Budget {
        std::uint64_t bandwidth_bps = 0;
        std::uint64_t used_bps = 0;
    };
    std::uint64_t cost(const AdmissionRequest& request) const noexcept {
        return request.bandwidth_bps != 0 ? request.bandwidth_bps : unasked_bps_;
    }

    std::uint64_t unasked_bps_;
    std::unordered_map<rina::QosId, Budget> cubes_;
};

// So many flows and so much bandwidth for each application of this end, whoever began the flow.
class UserLimits {
  public:
    UserLimits(std::uint64_t flows_max, std::uint64_t bandwidth_bps_max) noexcept
        : flows_max_(flows_max), bandwidth_bps_max_(bandwidth_bps_max) {}

    Result<> admit(const AdmissionRequest& request);
    void adopt(const AdmissionRequest& request);
    void release(const AdmissionRequest& request) noexcept;
    std::size_t users() const noexcept { return users_.size(); }

  private:
    struct Usage {
        std::uint64_t flows = 0;
        std::uint64_t bandwidth_bps = 0;
    };
    std::uint64_t flows_max_;
    std::uint64_t bandwidth_bps_max_;
    std::unordered_map<std::string, Usage> users_;
};

using AnyAdmission = std::variant<AdmitAll, CubeBudgets, UserLimits>;

inline Result<> admit(AnyAdmission& admission, const AdmissionRequest& request) {
    return std::visit([&](auto& policy) { return policy.admit(request); }, admission);
}
inline void adopt(AnyAdmission& admission, const AdmissionRequest& request) {
    std::visit([&](auto& policy) { policy.adopt(request); }, admission);
}
inline void release(AnyAdmission& admission, const AdmissionRequest& request) noexcept {
    std::visit([&](auto& policy) { policy.release(request); }, admission);
}

// The policies there are. To add one: its class, a line in the variant, a line in the table of
// admission.cpp, and a test. Its parameters are what its factory asks for.
struct AdmissionPolicy {
    std::string_view name;
    std::string_view help;
    std::string_view params;  // keys with their defaults
    Result<AnyAdmission> (*make)(policy::Params& params);
};
std::span<const AdmissionPolicy> admission_policies() noexcept;

// EINVAL: a name that nobody knows, or a parameter that the policy does not understand.
Result<AnyAdmission> make_admission(std::string_view name, std::span<const policy::Param> params);

}  // namespace sluice::mgmt
