#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"

// All policies of a DIF in one place: for the console, for completion, and for the configuration's
// errors. Each policy point keeps its own list beside its code (adding a policy: its header or
// implementation, its test, one line there); this table lists the points.
namespace sluice::policy {

struct Parameter {
    std::string name;  // "cube.ID" stands for any number in the place of ID
    std::string otherwise;  // the default; what is to be given, where there is none
};

struct PolicyInfo {
    std::string_view name;
    std::string_view help;
    std::vector<Parameter> parameters;
};

struct PolicyPoint {
    std::string_view name;       // "scheduler"
    std::string_view help;
    std::string_view otherwise;  // the policy that is used where nothing is said
};

// In the order of a PDU's way and then of management.
std::span<const PolicyPoint> policy_points() noexcept;

// ENOENT: no such point; the names there are.
Result<std::vector<PolicyInfo>> policies_of(std::string_view point);
// ENOENT: no such point, or no such policy of it.
Result<PolicyInfo> find_policy(std::string_view point, std::string_view name);

}  // namespace sluice::policy
