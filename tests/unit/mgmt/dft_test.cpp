#include "normal_dif/core/mgmt/dft.hpp"

#include <catch2/catch.hpp>

using namespace sluice;
using namespace sluice::mgmt;
using rina::AppName;
using rina::DftEntry;

namespace {

constexpr Instant at(std::int64_t seconds) {
    return Instant::zero() + Duration::seconds(1000 + seconds);
}

const AppName kPerf{"rinaperf-data", "server", "", ""};

}  // namespace

TEST_CASE("a registration and its end, number for number as rlite's") {
    Dft dft("a.IPCP");
    const auto added = dft.add(at(0), kPerf);
    CHECK(added.create_all == std::vector{DftEntry{kPerf, "a.IPCP", 1}});
    CHECK(dft.is_ours(kPerf));
    CHECK(dft.add(at(1), kPerf).silent());
    CHECK(dft.remove(at(2), kPerf).remove_all == std::vector{DftEntry{kPerf, "a.IPCP", 2}});
    CHECK_FALSE(dft.is_ours(kPerf));
    CHECK(dft.find(kPerf).empty());
    CHECK(dft.remove(at(2), kPerf).silent());

    SECTION("again at once") {
        CHECK(dft.add(at(3), kPerf).create_all == std::vector{DftEntry{kPerf, "a.IPCP", 3}});
    }
    SECTION("again later") {
        for (int t = 10; t < 100; t += 10) dft.tick(at(t));
        CHECK(dft.removals() == 0);
        CHECK(dft.add(at(100), kPerf).create_all == std::vector{DftEntry{kPerf, "a.IPCP", 3}});
    }
}

TEST_CASE("one name at several members") {
    Dft dft("b.IPCP");
    dft.add(at(0), kPerf);
    dft.apply(at(0), Action::create, {{{kPerf, "c.IPCP", 1}, {kPerf, "a.IPCP", 4}}}, "c.IPCP");
    dft.apply(at(0), Action::create, {{{{"rinaperf-data", "", "", ""}, "d.IPCP", 1}}}, "c.IPCP");
    dft.apply(at(0), Action::create, {{{{"rinaperf-data", "t", "", ""}, "d.IPCP", 1}}}, "c.IPCP");
    CHECK(dft.find(kPerf) == std::vector<std::string_view>{"a.IPCP", "b.IPCP", "c.IPCP"});
    CHECK(dft.pick(kPerf, 0) == "a.IPCP");
    CHECK(dft.pick(kPerf, 1) == "b.IPCP");
    CHECK(dft.pick(kPerf, 2) == "c.IPCP");
    CHECK(dft.pick(kPerf, 3) == "a.IPCP");
    CHECK(dft.pick({"nobody", "", "", ""}, 3).empty());
    const auto out = dft.apply(at(1), Action::remove, {{{kPerf, "a.IPCP", 5}}}, "c.IPCP");
    CHECK(out.remove.size() == 1);
    CHECK(dft.find(kPerf) == std::vector<std::string_view>{"b.IPCP", "c.IPCP"});
    CHECK(dft.size() == 4);
}

TEST_CASE("the directory does not age, and is refreshed") {
    Dft dft("a.IPCP");
    dft.tick(at(0));
    dft.add(at(0), kPerf);
    dft.apply(at(0), Action::create, {{{kPerf, "c.IPCP", 1}}}, "c.IPCP");
    std::size_t refreshed = 0;
    for (int t = 10; t <= 3600; t += 10) {
        const auto out = dft.tick(at(t));
        for (const DftEntry& entry : out.create_all) {
            CHECK(entry == DftEntry{kPerf, "a.IPCP", 1});
            ++refreshed;
        }
        CHECK(out.remove_all.empty());
    }
    CHECK(refreshed == 120);
    CHECK(dft.size() == 2);
}

TEST_CASE("others about our registrations") {
    Dft dft("a.IPCP");
    dft.add(at(0), kPerf);
    const auto gone = dft.apply(at(0), Action::remove, {{{kPerf, "a.IPCP", 9}}}, "c.IPCP");
    CHECK(gone.create_all == std::vector{DftEntry{kPerf, "a.IPCP", 10}});
    const AppName other{"other", "", "", ""};
    const auto claim = dft.apply(at(0), Action::create, {{{other, "a.IPCP", 3}}}, "c.IPCP");
    CHECK(claim.remove_all == std::vector{DftEntry{other, "a.IPCP", 3}});
    CHECK(claim.refused.of(Refusal::about_us) == 1);
    CHECK(dft.find(other).empty());
}

TEST_CASE("names of applications that are none") {
    Dft dft("a.IPCP");
    for (const AppName& bad :
         {AppName{"", "x", "", ""}, AppName{"a|b", "", "", ""}, AppName{"a\n", "", "", ""},
          AppName{std::string(200, 'a'), std::string(60, 'b'), "", ""}}) {
        CHECK(dft.add(at(0), bad).refused.of(Refusal::malformed) == 1);
        CHECK(dft.apply(at(0), Action::create, {{{bad, "c.IPCP", 1}}}, "c.IPCP")
                  .refused.of(Refusal::malformed) == 1);
    }
    CHECK(dft.apply(at(0), Action::create, {{{kPerf, "", 1}}}, "c.IPCP")
              .refused.of(Refusal::malformed) == 1);
    CHECK(dft.size() == 0);
}
