#include <algorithm>
#include <catch2/catch.hpp>
#include <string>
#include <vector>

#include "normal_dif/core/mgmt/address_allocation.hpp"
#include "normal_dif/core/mgmt/admission.hpp"
#include "normal_dif/core/mgmt/routing.hpp"
#include "normal_dif/core/policy/table.hpp"
#include "normal_dif/core/rmt/policies.hpp"

namespace sluice::policy {
namespace {

// What a list says of its policies is what their factories ask for, with the same defaults.
template <typename List>
void check_list(std::string_view point, const List& list) {
    for (const auto& one : list) {
        INFO(point << " " << one.name);
        Params params(std::string(one.name), {});
        CHECK(one.make(params));
        const auto info = find_policy(point, one.name);
        REQUIRE(info);
        std::vector<std::string> told, asked;
        for (const Parameter& p : info->parameters) {
            const std::size_t dot = p.name.find('.');
            told.push_back(dot == std::string::npos ? p.name : p.name.substr(0, dot) + ".N");
            const auto known = std::find_if(params.known().begin(), params.known().end(),
                                            [&](const Known& k) { return k.key == p.name; });
            std::uint64_t number = 0;
            if (known != params.known().end() && parse_number(p.otherwise, number))
                CHECK(known->value == std::to_string(number));
        }
        for (const Known& known : params.known()) {
            asked.push_back(known.key);
            CHECK_FALSE(known.range.empty());
        }
        std::sort(told.begin(), told.end());
        std::sort(asked.begin(), asked.end());
        CHECK(told == asked);
    }
}

TEST_CASE("Lists of policies have the parameters that factories ask for", "[policy]") {
    check_list("scheduler", rmt::scheduler_policies());
    check_list("routing", mgmt::routing_policies());
    check_list("address-allocation", mgmt::address_policies());
    check_list("admission", mgmt::admission_policies());
}

TEST_CASE("A factory's questions are what people see", "[policy]") {
    const Param given[] = {{"wait_ms", "2k"}, {"route.3", "x"}, {"weights", "5:6"}};
    Params params("test", given);
    CHECK(params.number("wait_ms", 7, 1, 60000, "patience") == 2000);
    CHECK(params.number("multipath", 1, 0, 1) == 1);
    CHECK(params.numbered("route", 9, "a way").size() == 1);
    CHECK(params.numbers("weights", {1, 4}, 1, 9, 3) == std::vector<std::uint64_t>{5, 6});
    CHECK(params.numbers("quanta", {1, 4}, 1, 9, 3) == std::vector<std::uint64_t>{1, 4});
    CHECK(params.finish());
    std::vector<std::string> lines;
    for (const Known& k : params.known())
        lines.push_back(fmt::format("{}={} [{}] {}", k.key, k.value, k.range, k.help));
    CHECK(lines == std::vector<std::string>{
                       "wait_ms=2000 [1 to 60000] patience", "multipath=1 [0 or 1] ",
                       "route.N= [N up to 9] a way", "route.3=x [N up to 9] a way",
                       "weights=5:6 [up to 3 numbers from 1 to 9 with colons between them] ",
                       "quanta=1:4 [up to 3 numbers from 1 to 9 with colons between them] "});
    CHECK(unit_of("wait_ms") == "ms");
    CHECK(unit_of("max_bps") == "bit/s");
    CHECK(unit_of("flows").empty());
}

TEST_CASE("A choice is changed one parameter at a time", "[policy]") {
    Choice choice = "link-state";
    choice.set("multipath", "0");
    choice.set("both_ways", "1");
    choice.set("multipath", "1");
    REQUIRE(choice.given().size() == 2);
    CHECK(choice.given()[0].key == "multipath");
    CHECK(choice.given()[0].value == "1");
    choice.set("multipath", "");
    choice.set("never there", "");
    REQUIRE(choice.params.size() == 1);
    CHECK(choice.params[0].first == "both_ways");
}

}  // namespace
}  // namespace sluice::policy
