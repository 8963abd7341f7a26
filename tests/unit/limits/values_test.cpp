#include <array>
#include <catch2/catch.hpp>
#include <memory>

#include "normal_dif/core/efcp/profile.hpp"
#include "normal_dif/core/ipcp/authentication.hpp"
#include "normal_dif/core/mgmt/changes.hpp"
#include "normal_dif/core/mgmt/spf.hpp"
#include "normal_dif/core/policy/params.hpp"
#include "normal_dif/core/transfer/data_transfer.hpp"
#include "rina/objects.hpp"
#include "shim_hv/core/shim_hv.hpp"

// Small values that pass between the parts: what they hold is what was put in.
namespace sluice {
namespace {

TEST_CASE("A part that may be absent is copied with what it holds", "[values]") {
    rina::Boxed<rina::PolicyDescr> full(rina::PolicyDescr{"name", "", "", {}}), other;
    other = full;
    CHECK(other == full);
    CHECK(&*other != &*full);
    const auto& same = other;
    other = same;
    CHECK(other->name == "name");
    full = rina::Boxed<rina::PolicyDescr>();
    const rina::Boxed<rina::PolicyDescr> none;
    other = none;
    CHECK_FALSE(other);
    CHECK(other == full);
}

TEST_CASE("An outbox is empty if nothing is in any of its boxes", "[values]") {
    transfer::TransferOutbox out;
    CHECK(out.empty());
    const auto holds = [&](auto& box) {
        box.emplace_back();
        const bool is_seen = !out.empty();
        out.clear();
        return is_seen && out.empty();
    };
    CHECK(holds(out.forward));
    CHECK(holds(out.originate));
    CHECK(holds(out.control));
    CHECK(holds(out.deliver));
    CHECK(holds(out.management));
    CHECK(holds(out.done));
    CHECK(holds(out.drop));
    CHECK(holds(out.events));

    efcp::Outbox box;
    CHECK(box.empty());
    const auto has = [&](auto& one) {
        one.add();
        const bool is_seen = !box.empty();
        box.clear();
        return is_seen && box.empty();
    };
    CHECK(has(box.deliver));
    CHECK(has(box.send));
    CHECK(has(box.done));
    CHECK(has(box.drop));
    CHECK(has(box.control));
    box.events = efcp::event::kWritable;
    CHECK_FALSE(box.empty());
}

TEST_CASE("Counts of refusals add up", "[values]") {
    mgmt::RefusalCounts one, more;
    one.add(mgmt::Refusal::malformed);
    more.add(mgmt::Refusal::malformed);
    more.add(mgmt::Refusal::table_full);
    one.add(more);
    CHECK(one.of(mgmt::Refusal::malformed) == 2);
    CHECK(one.of(mgmt::Refusal::table_full) == 1);
    CHECK(one.total() == 3);
    CHECK(to_string(static_cast<mgmt::Refusal>(99)) == "unknown");
}

TEST_CASE("Copies of a profile are one profile", "[values]") {
    const efcp::ProfileRef first({efcp::EfcpPolicies::best_effort(), rina::kDefaultFormat});
    auto copy = std::make_unique<efcp::ProfileRef>(first);
    CHECK(&**copy == &*first);
    copy.reset();
    CHECK(first->policies == efcp::EfcpPolicies::best_effort());
}

TEST_CASE("What was configured can be asked for", "[values]") {
    CHECK(policy::Choice().name.empty());
    const auto none = mgmt::Authenticator::create({}, "a.IPCP", "e.DIF");
    REQUIRE(none);
    CHECK(none->mode() == mgmt::AuthMode::none);
    shim_hv::Params params;
    params.max_channels = 17;
    CHECK(shim_hv::ShimHv(params).params().max_channels == 17);
    const std::array<mgmt::Graph::Edge, 1> edges = {{{"a", "b", 1}}};
    const mgmt::Graph graph = mgmt::Graph::from(edges, false);
    CHECK(mgmt::PathTree(graph, graph.find("a")).size() == graph.size());
}

}  // namespace
}  // namespace sluice
