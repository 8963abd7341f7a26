#include "normal_dif/core/policy/table.hpp"

#include <algorithm>
#include <array>

#include "normal_dif/core/ipcp/authentication.hpp"
#include "normal_dif/core/mgmt/admission.hpp"
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

// Of points whose policies are chosen by a plain enumeration beside their code.
constexpr Line kCongestion[] = {
    {"none", "the window and the rate alone", ""},
    {"aimd", "as NewReno (RFC 6582): halves at loss", ""},
    {"rate-estimate", "as fast as the path was seen to deliver, whatever is lost", ""},
};
constexpr Line kAddresses[] = {
    {"static", "an operator says; new members keep what they have", ""},
    {"distributed", "the enroller claims one, and takes it if nobody objects",
     "nack_wait_ms=4000"},
};
constexpr Line kDirectories[] = {
    {"fully-replicated", "every member knows where every application is", ""},
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
          [] { return lines_of(kCongestion); }},
    Point{{"routing", "which neighbour leads to a member", "link-state"},
          [] { return lines_of(mgmt::routing_policies()); }},
    Point{{"address-allocation", "which address a new member gets", "distributed"},
          [] { return lines_of(kAddresses); }},
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

// "queue_pdus=1000 cube.ID=BPS"
std::vector<Parameter> parameters_of(std::string_view text) {
    std::vector<Parameter> out;
    while (!text.empty()) {
        const std::size_t equals = text.find('=');
        if (equals == std::string_view::npos) break;
        // A default with spaces in it goes up to the last space before the next "=".
        const std::size_t next = text.find('=', equals + 1);
        const std::size_t space =
            next == std::string_view::npos ? next : text.rfind(' ', next);
        const std::size_t end =
            space == std::string_view::npos || space < equals ? text.size() : space;
        out.push_back({std::string(text.substr(0, equals)),
                       std::string(text.substr(equals + 1, end - equals - 1))});
        text.remove_prefix(std::min(text.size(), end + 1));
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
