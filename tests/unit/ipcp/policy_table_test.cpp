#include <algorithm>
#include <catch2/catch.hpp>
#include <set>
#include <string>

#include "normal_dif/core/mgmt/address_allocation.hpp"
#include "normal_dif/core/mgmt/admission.hpp"
#include "normal_dif/core/mgmt/routing.hpp"
#include "normal_dif/core/policy/table.hpp"
#include "normal_dif/core/rmt/policies.hpp"
#include "normal_dif/core/sdu_protection/policies.hpp"

namespace sluice::policy {
namespace {

// What makes policies must take what the table says of them: each parameter with its default.
Result<> make(std::string_view point, std::string_view name, std::span<const Param> params) {
    const auto drop = [](auto made) -> Result<> {
        if (!made) return fail(made.error());
        return {};
    };
    if (point == "scheduler") return drop(rmt::make_scheduler(name, params));
    if (point == "sdu-protection")
        return drop(sdup::make_protection(name, params, rina::kDefaultFormat));
    if (point == "routing") return drop(mgmt::make_routing(name, params));
    if (point == "address-allocation") return drop(mgmt::make_address_config(name, params));
    if (point == "admission") return drop(mgmt::make_admission(name, params));
    return {};
}

bool is_number(const std::string& text) {
    return !text.empty() && std::all_of(text.begin(), text.end(),
                                        [](char c) { return (c >= '0' && c <= '9') || c == ':'; });
}

TEST_CASE("The table's policies can be made, with the defaults that it tells", "[policy]") {
    std::set<std::string_view> points;
    for (const PolicyPoint& point : policy_points()) {
        INFO(point.name);
        CHECK(points.insert(point.name).second);
        CHECK_FALSE(point.help.empty());
        const auto list = policies_of(point.name);
        REQUIRE(list);
        CHECK(find_policy(point.name, point.otherwise));
        std::set<std::string_view> names;
        for (const PolicyInfo& info : *list) {
            INFO(info.name);
            CHECK(names.insert(info.name).second);
            CHECK_FALSE(info.help.empty());
            std::vector<Param> given;
            for (const Parameter& p : info.parameters) {
                INFO(p.name << " is " << p.otherwise);
                CHECK_FALSE(p.name.empty());
                CHECK(p.name.find(' ') == std::string::npos);
                if (is_number(p.otherwise)) given.push_back({p.name, p.otherwise});
            }
            const auto made = make(point.name, info.name, given);
            INFO((made ? std::string() : made.error().message));
            CHECK(made);
            CHECK_FALSE(make(point.name == "directory" || point.name == "congestion" ||
                                     point.name == "authentication"
                                 ? "routing"
                                 : point.name,
                             "no such policy", {}));
        }
    }
    CHECK(points == std::set<std::string_view>{"scheduler", "sdu-protection", "congestion",
                                               "routing", "address-allocation", "admission",
                                               "authentication", "directory"});
}

TEST_CASE("Parameters have names and defaults", "[policy]") {
    const auto distributed = find_policy("address-allocation", "distributed");
    REQUIRE(distributed);
    REQUIRE(distributed->parameters.size() == 1);
    CHECK(distributed->parameters[0].name == "nack_wait_ms");
    CHECK(distributed->parameters[0].otherwise == "4000");
    const auto fixed = find_policy("routing", "static");
    REQUIRE(fixed);
    REQUIRE(fixed->parameters.size() == 1);
    CHECK(fixed->parameters[0].otherwise == "DESTINATION via NEIGHBOUR,...");
    const auto admission = find_policy("admission", "bandwidth");
    REQUIRE(admission);
    REQUIRE(admission->parameters.size() == 2);
    CHECK(admission->parameters[1].name == "unasked");
}

TEST_CASE("What is not in the table is answered with what is", "[policy]") {
    const auto point = policies_of("colour");
    REQUIRE_FALSE(point);
    CHECK(point.error().code == ENOENT);
    CHECK_THAT(point.error().message, Catch::Contains("scheduler, sdu-protection"));
    const auto name = find_policy("authentication", "kerberos");
    REQUIRE_FALSE(name);
    CHECK(name.error().code == ENOENT);
    CHECK_THAT(name.error().message, Catch::Contains("none, password, psk"));
}

}  // namespace
}  // namespace sluice::policy
