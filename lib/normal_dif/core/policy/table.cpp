#include "normal_dif/core/policy/table.hpp"

#include <algorithm>
#include <array>

#include "normal_dif/core/ipcp/authentication.hpp"
#include "normal_dif/core/mgmt/address_allocation.hpp"
#include "normal_dif/core/mgmt/admission.hpp"
#include "normal_dif/core/mgmt/dft.hpp"
#include "normal_dif/core/mgmt/flow_policies.hpp"
#include "normal_dif/core/mgmt/routing.hpp"
#include "normal_dif/core/policy/params.hpp"
#include "normal_dif/core/rmt/policies.hpp"
#include "normal_dif/core/sdu_protection/policies.hpp"

namespace sluice::policy {

namespace {

// One line of a list, as the points' own lists have it.
struct Line {
    std::string_view name, help, params;
};

constexpr Line kDirectories[] = {
    {mgmt::kDirectoryPolicy, "every member knows where every application is", ""},
};

using Lines = std::vector<Line>;

template <typename List>
Lines lines_of(const List& list) {
    Lines out;
    for (const auto& entry : list) out.push_back({entry.name, entry.help, entry.params});
    return out;
}

struct Point {
    PolicyPoint point;
    Lines (*lines)();
};

// To add a point: a line here.
constexpr std::array kPoints = {
    Point{{"scheduler", "which PDU an N-1 port sends next", "fifo"},
          [] { return lines_of(rmt::scheduler_policies()); }},
    Point{{"sdu-protection", "what is put around PDUs on an N-1 flow", "none"},
          [] { return lines_of(sdup::protection_policies()); }},
    Point{{"congestion", "how fast a reliable connection sends", "aimd"},
          [] { return lines_of(mgmt::congestion_policies()); }},
    Point{{"routing", "which neighbour leads to a member", "link-state"},
          [] { return lines_of(mgmt::routing_policies()); }},
    Point{{"address-allocation", "which address a new member gets", "distributed"},
          [] { return lines_of(mgmt::address_policies()); }},
    Point{{"admission", "which flows there may be", "none"},
          [] { return lines_of(mgmt::admission_policies()); }},
    Point{{"authentication", "which neighbours are believed", "none"},
          [] { return lines_of(mgmt::auth_policies()); }},
    Point{{"directory", "how an application is found", "fully-replicated"},
          [] { return lines_of(kDirectories); }},
};
constexpr auto kInfos = [] {
    std::array<PolicyPoint, kPoints.size()> out{};
    for (std::size_t i = 0; i < out.size(); ++i) out[i] = kPoints[i].point;
    return out;
}();

// "queue_pdus=1000 cube.ID=BPS". A word without "=" belongs to the default before it, and what
// comes after the first "=" of a word is a default, whatever is in it.
std::vector<Parameter> parameters_of(std::string_view text) {
    std::vector<Parameter> out;
    while (!text.empty()) {
        const std::string_view word = text.substr(0, text.find(' '));
        text.remove_prefix(std::min(text.size(), word.size() + 1));
        const std::size_t equals = word.find('=');
        if (equals != std::string_view::npos)
            out.push_back({std::string(word.substr(0, equals)),
                           std::string(word.substr(equals + 1))});
        else if (!out.empty())
            out.back().otherwise.append(" ").append(word);
    }
    return out;
}

}  // namespace

std::span<const PolicyPoint> policy_points() noexcept { return kInfos; }

Result<std::vector<PolicyInfo>> policies_of(std::string_view point) {
    std::vector<std::string> names;
    for (const Point& known : kPoints) {
        names.emplace_back(known.point.name);
        if (known.point.name != point) continue;
        std::vector<PolicyInfo> out;
        for (const Line& line : known.lines())
            out.push_back({line.name, line.help, parameters_of(line.params)});
        return out;
    }
    return fail(ENOENT, "'{}' is no policy point, expected one of {}", point, join(names));
}

Result<PolicyInfo> find_policy(std::string_view point, std::string_view name) {
    SLUICE_TRY(auto list, policies_of(point));
    std::vector<std::string> names;
    for (PolicyInfo& info : list) {
        if (info.name == name) return std::move(info);
        names.emplace_back(info.name);
    }
    return fail(ENOENT, "{} '{}' is not known, expected one of {}", point, name, join(names));
}

}  // namespace sluice::policy
