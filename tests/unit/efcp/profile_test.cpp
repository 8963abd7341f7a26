#include <catch2/catch.hpp>

#include <memory>
#include <optional>
#include <vector>

#include "normal_dif/core/efcp/profile.hpp"
#include "single.hpp"

using namespace sluice;
using namespace sluice::efcp;
using namespace sluice::efcp::test;

TEST_CASE("equal profiles are kept once, and no longer than they are used", "[profile]") {
    ProfileTable table;
    const Profile reliable{EfcpPolicies::rlite_reliable(), rina::kDefaultFormat};
    {
        const ProfileRef a = table.intern(reliable);
        const ProfileRef b = table.intern({EfcpPolicies::rlite_reliable(), rina::kDefaultFormat});
        CHECK(&*a == &*b);
        CHECK(table.size() == 1);
        const ProfileRef wide = table.intern({reliable.policies, rina::kWideFormat});
        CHECK(&*wide != &*a);
        CHECK(wide->format == rina::kWideFormat);
        CHECK(table.size() == 2);
    }
    CHECK(table.size() == 0);
}

TEST_CASE("profiles that differ in anything are not taken for each other", "[profile]") {
    ProfileTable table;
    std::vector<ProfileRef> refs;
    for (std::uint32_t credit = 1; credit <= 1000; ++credit)
        refs.push_back(
            table.intern({EfcpPolicies::rlite_flow_control(credit), rina::kDefaultFormat}));
    // Not part of the hash: only the comparison can tell them apart.
    EfcpPolicies marked = EfcpPolicies::rlite_flow_control(7);
    marked.ecn = true;
    refs.push_back(table.intern({marked, rina::kDefaultFormat}));
    CHECK(table.size() == 1001);
    CHECK(refs[6]->policies.window->initial_credit == 7);
    CHECK_FALSE(refs[6]->policies.ecn);
    CHECK(refs[1000]->policies.ecn);
    refs.erase(refs.begin(), refs.begin() + 1000);
    CHECK(table.size() == 1);
    CHECK(refs[0]->policies == marked);
}

TEST_CASE("connections outlive the table of their profiles", "[profile]") {
    auto table = std::make_unique<ProfileTable>();
    const Profile profile{EfcpPolicies::rlite_reliable(), rina::kDefaultFormat};
    auto a = std::make_unique<Connection>(ids_of(0), table->intern(profile));
    auto b = std::make_unique<Connection>(ids_of(1), table->intern(profile));
    CHECK(&a->policies() == &b->policies());
    table.reset();
    CHECK(a->policies() == profile.policies);
    a.reset();
    CHECK(b->policies() == profile.policies);
    CHECK(b->format() == profile.format);
}

TEST_CASE("a mark before anything was sent says nothing about the path", "[profile][sender]") {
    EfcpPolicies policies = EfcpPolicies::sluice_reliable(100);
    policies.congestion = Congestion::aimd;
    Single s(policies);
    s.data(0, kDrf);
    s.control(kSackFc, {0, 0, 100, 0, 0, 0}, {}, rina::pci_flag::kEcn);
    CHECK(s.submit(20) == 20);
    CHECK(s.sent.size() == Aimd::kFirstWindow);
    CHECK(s.c.state() == Connection::State::open);
}

TEST_CASE("after 3 delta-t nothing is known of the path any more", "[profile][sender]") {
    EfcpPolicies policies = EfcpPolicies::rlite_reliable();
    Single s(policies);
    const Duration initial = s.c.sender().rtt().timeout();
    s.submit(1);
    s.now = s.now + Duration::milliseconds(30);
    s.control(kAckFc, {0, 1, 513, 1, 0, 0});
    REQUIRE(s.c.sender().rtt().measured());
    CHECK(s.c.sender().rtt().smoothed() == Duration::milliseconds(30));
    s.now = s.now + policies.delta_t() * 3;
    s.c.on_timeout(s.now, s.out);
    CHECK_FALSE(s.c.sender().rtt().measured());
    CHECK(s.c.sender().rtt().timeout() == initial);
    CHECK(s.c.sender().limits().window == Aimd::kFirstWindow);
    s.clear();
    s.collect();
    s.clear();
    CHECK(s.submit(1) == 1);
    REQUIRE(s.sent.size() == 1);
    CHECK(s.sent[0].drf);
}
