#include "normal_dif/core/mgmt/neighbors.hpp"

#include <catch2/catch.hpp>

using namespace sluice;
using namespace sluice::mgmt;
using rina::Address;
using rina::NeighborCandidate;

namespace {

constexpr Instant at(std::int64_t seconds) {
    return Instant::zero() + Duration::seconds(1000 + seconds);
}

NeighborCandidate node(std::string name, std::uint64_t address,
                       std::vector<std::string> difs = {}) {
    return {std::move(name), "", Address{address}, std::move(difs)};
}

NeighborTable::Changed create(NeighborTable& table, NeighborCandidate candidate,
                              std::string_view sender = "b.IPCP", Instant now = at(0)) {
    return table.apply(now, Action::create, {{std::move(candidate)}}, sender);
}
NeighborTable::Changed remove(NeighborTable& table, NeighborCandidate candidate,
                              std::string_view sender = "b.IPCP", Instant now = at(0)) {
    return table.apply(now, Action::remove, {{std::move(candidate)}}, sender);
}

}  // namespace

TEST_CASE("what is new or different is taken and passed on") {
    NeighborTable table("a.IPCP");
    const auto first = create(table, node("c.IPCP", 3, {"bc.DIF"}));
    CHECK(first.create == std::vector{node("c.IPCP", 3, {"bc.DIF"})});
    CHECK(first.changed);
    CHECK(create(table, node("c.IPCP", 3, {"bc.DIF"})).silent());
    CHECK(create(table, node("c.IPCP", 5, {"bc.DIF"})).create.size() == 1);
    CHECK(table.address_of("c.IPCP") == Address{5});
    CHECK(table.name_of(Address{5}) == "c.IPCP");
    CHECK_FALSE(table.name_of(Address{3}));
    CHECK_FALSE(table.address_of("d.IPCP"));
    create(table, node("z.IPCP", 0));
    CHECK_FALSE(table.address_of("z.IPCP"));
    CHECK_FALSE(table.name_of(Address{0}));

    const auto gone = remove(table, node("c.IPCP", 0));
    CHECK(gone.remove == std::vector{node("c.IPCP", 5, {"bc.DIF"})});
    CHECK(remove(table, node("c.IPCP", 0)).silent());
    CHECK_FALSE(table.is_taken(Address{5}));
    CHECK(table.size() == 1);
}

TEST_CASE("names with an instance") {
    NeighborTable table("a|1");
    CHECK(table.own().process == "a");
    CHECK(table.own().instance == "1");
    NeighborCandidate other = node("a", 7);
    create(table, other);
    CHECK(table.address_of("a") == Address{7});
    other.instance = "2";
    other.address = Address{8};
    create(table, other);
    CHECK(table.address_of("a|2") == Address{8});
    CHECK(table.size() == 2);
    other.instance = "1";
    CHECK(create(table, other).contested == 1);
    CHECK(table.size() == 2);
}

TEST_CASE("ourselves") {
    NeighborTable table("a.IPCP");
    const auto own = node("a.IPCP", 1, {"ab.DIF"});
    CHECK(table.set_own(Address{1}, {"ab.DIF"}).create_all == std::vector{own});
    CHECK(table.set_own(Address{1}, {"ab.DIF"}).silent());
    CHECK(table.address_of("a.IPCP") == Address{1});
    CHECK(table.snapshot() == std::vector{own});
    CHECK(create(table, own).silent());
    CHECK(create(table, own).known == 1);

    SECTION("nobody else says who we are, and those who believed it are told") {
        const auto out = create(table, node("a.IPCP", 66));
        CHECK(out.create.empty());
        CHECK(out.create_all == std::vector{own});
        CHECK(out.contested == 1);
        CHECK(remove(table, own).create_all == std::vector{own});
        CHECK(table.address_of("a.IPCP") == Address{1});
        std::size_t answers = 0;
        for (int i = 0; i < 100; ++i) answers += remove(table, own).create_all.size();
        CHECK(answers == 6);
    }
    SECTION("refresh") {
        table.tick(at(0));
        std::size_t said = 0;
        for (int t = 10; t <= 300; t += 10) said += table.tick(at(t)).create_all.size();
        CHECK(said == 10);
    }
}

TEST_CASE("of two with one address the greater name counts") {
    NeighborTable table("b.IPCP");
    table.set_own(Address{4}, {});
    create(table, node("a.IPCP", 4));
    CHECK(table.name_of(Address{4}) == "b.IPCP");
    create(table, node("c.IPCP", 4));
    CHECK(table.name_of(Address{4}) == "c.IPCP");
    create(table, node("d.IPCP", 5));
    CHECK(table.name_of(Address{4}) == "c.IPCP");
    remove(table, node("c.IPCP", 4));
    CHECK(table.name_of(Address{4}) == "b.IPCP");
}

TEST_CASE("an enrolled neighbour speaks for itself") {
    NeighborTable table("a.IPCP");
    create(table, node("b.IPCP", 2), "b.IPCP");
    table.set_enrolled("b.IPCP", true);
    CHECK(create(table, node("b.IPCP", 9), "c.IPCP").silent());
    CHECK(remove(table, node("b.IPCP", 2), "c.IPCP").silent());
    CHECK(table.address_of("b.IPCP") == Address{2});
    CHECK(create(table, node("b.IPCP", 9), "b.IPCP").create.size() == 1);
    CHECK(table.address_of("b.IPCP") == Address{9});
    table.set_enrolled("b.IPCP", false);
    CHECK(remove(table, node("b.IPCP", 9), "c.IPCP").remove.size() == 1);
}

TEST_CASE("two versions do not chase each other") {
    NeighborTable table("a.IPCP");
    create(table, node("x.IPCP", 2));
    CHECK(create(table, node("x.IPCP", 3)).create.size() == 1);
    CHECK(create(table, node("x.IPCP", 2)).silent());
    CHECK(table.address_of("x.IPCP") == Address{3});
    // Unless it says so itself, or after some time.
    CHECK(create(table, node("x.IPCP", 2), "x.IPCP").create.size() == 1);
    CHECK(create(table, node("x.IPCP", 3), "b.IPCP", at(29)).silent());
    CHECK(create(table, node("x.IPCP", 3), "b.IPCP", at(30)).create.size() == 1);
}

TEST_CASE("who can be enrolled with") {
    NeighborTable table("a.IPCP");
    table.set_own(Address{1}, {"x.DIF", "y.DIF"});
    create(table, node("b.IPCP", 2, {"y.DIF", "x.DIF", "z.DIF"}));
    create(table, node("c.IPCP", 3, {"z.DIF"}));
    create(table, node("d.IPCP", 4, {"x.DIF"}));
    table.set_enrolled("d.IPCP", true);
    const auto all = table.enrollable();
    REQUIRE(all.size() == 1);
    CHECK(all[0].name == "b.IPCP");
    CHECK(all[0].shared_difs == std::vector<std::string_view>{"y.DIF", "x.DIF"});
    table.set_enrolled("d.IPCP", false);
    CHECK(table.enrollable().size() == 2);
}

TEST_CASE("bounds of the candidates") {
    NeighborLimits limits;
    limits.entries_max = 2;
    limits.lower_difs_max = 1;
    limits.updates_per_entry_max = 2;
    limits.updates_per_sender_max = 5;
    NeighborTable table("a.IPCP", limits);
    CHECK(create(table, node("", 2)).refused.of(Refusal::malformed) == 1);
    CHECK(create(table, node(std::string(256, 'x'), 2)).refused.of(Refusal::malformed) == 1);
    CHECK(create(table, node("x", 2, {"1", "2"})).refused.of(Refusal::malformed) == 1);
    CHECK(create(table, node("x", 2, {""})).refused.of(Refusal::malformed) == 1);
    NeighborCandidate bars = node("x", 2);
    bars.instance = "1|2";
    CHECK(create(table, bars).refused.of(Refusal::malformed) == 1);

    create(table, node("x", 2));
    create(table, node("y", 3));
    CHECK(create(table, node("z", 4)).refused.of(Refusal::table_full) == 1);
    create(table, node("x", 5));
    CHECK(create(table, node("x", 6)).refused.of(Refusal::too_often) == 1);
    create(table, node("y", 5));
    table.remove("x");
    create(table, node("x", 7));
    CHECK(create(table, node("x", 8)).refused.of(Refusal::sender_busy) == 1);
    table.tick(at(10));
    CHECK(create(table, node("x", 8)).create.size() == 1);
}

// ---- numbers of what a member says of itself ----

namespace {
NeighborCandidate numbered(std::string name, std::uint64_t address, std::uint32_t start,
                           std::uint32_t number) {
    NeighborCandidate c = node(std::move(name), address);
    c.version = std::uint64_t{start} << 32 | number;
    return c;
}
}  // namespace

TEST_CASE("of two versions the newer counts, whoever brings it") {
    NeighborTable table("a.IPCP");
    create(table, numbered("c.IPCP", 3, 1, 1));
    CHECK(create(table, numbered("c.IPCP", 4, 1, 2)).create.size() == 1);
    // An old one, and one that somebody without numbers passed on.
    CHECK(create(table, numbered("c.IPCP", 3, 1, 1), "z.IPCP").silent());
    CHECK(create(table, node("c.IPCP", 3), "z.IPCP").silent());
    CHECK(create(table, numbered("c.IPCP", 3, 1, 2), "z.IPCP").silent());
    CHECK(table.address_of("c.IPCP") == Address{4});
    // To what it was before as well, if it says so: two in a row may not be mixed up.
    CHECK(create(table, numbered("c.IPCP", 3, 1, 3)).create.size() == 1);
    CHECK(table.address_of("c.IPCP") == Address{3});
    // Over the end of all numbers.
    create(table, numbered("d.IPCP", 7, 0xffffffff, 0xffffffff));
    CHECK(create(table, numbered("d.IPCP", 8, 0, 5)).create.size() == 1);
    CHECK(table.address_of("d.IPCP") == Address{8});
}

TEST_CASE("who has begun anew or moved is told") {
    NeighborTable table("a.IPCP");
    CHECK(create(table, numbered("c.IPCP", 3, 1, 1)).moved.empty());
    CHECK(create(table, numbered("c.IPCP", 3, 1, 2)).moved.empty());
    const auto again = create(table, numbered("c.IPCP", 3, 2, 1));
    REQUIRE(again.moved.size() == 1);
    CHECK(again.moved[0].name == "c.IPCP");
    CHECK(again.moved[0].restarted);
    const auto elsewhere = create(table, numbered("c.IPCP", 5, 2, 2));
    REQUIRE(elsewhere.moved.size() == 1);
    CHECK(elsewhere.moved[0].address == Address{5});
    CHECK_FALSE(elsewhere.moved[0].restarted);
    // Also of those who have no numbers.
    create(table, node("r.IPCP", 6));
    CHECK(create(table, node("r.IPCP", 7)).moved.size() == 1);
}

TEST_CASE("a neighbour that is rlite now") {
    NeighborTable table("a.IPCP");
    create(table, numbered("c.IPCP", 3, 1, 7));
    const auto now = create(table, node("c.IPCP", 3), "c.IPCP");
    CHECK(now.create == std::vector{node("c.IPCP", 3)});
    // Or else its old number would stand against it at the others.
    CHECK(now.remove == std::vector{numbered("c.IPCP", 3, 1, 7)});
}

TEST_CASE("of two things under one number all take the same") {
    for (const bool lie_first : {true, false}) {
        NeighborTable table("a.IPCP");
        create(table, numbered("c.IPCP", lie_first ? 9 : 3, 1, 7), "z.IPCP");
        const auto out =
            create(table, numbered("c.IPCP", lie_first ? 3 : 9, 1, 7), "z.IPCP");
        CHECK(out.silent() == lie_first);
        CHECK(table.address_of("c.IPCP") == Address{9});
    }
}

TEST_CASE("the removal of an old version does not hit the new one") {
    NeighborTable table("a.IPCP");
    create(table, numbered("c.IPCP", 3, 2, 1));
    CHECK(remove(table, numbered("c.IPCP", 3, 1, 9)).silent());
    CHECK(table.size() == 1);
    CHECK(remove(table, numbered("c.IPCP", 3, 2, 1)).remove.size() == 1);
    CHECK(table.size() == 0);
}

TEST_CASE("our own number is above whatever is said of us") {
    NeighborTable table("a.IPCP", {}, nullptr, 5);
    table.set_own(Address{2}, {});
    CHECK(table.own().version == (std::uint64_t{5} << 32 | 1));
    table.set_own(Address{3}, {});
    CHECK(table.own().version == (std::uint64_t{5} << 32 | 2));
    // Old news is corrected and needs no new number.
    CHECK(create(table, numbered("a.IPCP", 2, 5, 1)).create_all.size() == 1);
    CHECK(table.own().version == (std::uint64_t{5} << 32 | 2));
    // Forged in this life.
    create(table, numbered("a.IPCP", 9, 5, 40));
    CHECK(table.own().version == (std::uint64_t{5} << 32 | 41));
    // From a life whose clock was ahead: others are to see that this is another one.
    const auto said = create(table, numbered("a.IPCP", 9, 8, 3));
    CHECK(table.own().version == std::uint64_t{9} << 32);
    REQUIRE(said.create_all.size() == 1);
    CHECK(said.create_all[0] == table.own());
    // Without numbers nothing changes.
    NeighborTable plain("b.IPCP");
    plain.set_own(Address{2}, {});
    create(plain, numbered("b.IPCP", 9, 8, 3));
    CHECK(plain.own().version == 0);
}

TEST_CASE("who has the greatest address that there is has a name, too") {
    NeighborTable table("a.IPCP");
    create(table, numbered("b.IPCP", ~std::uint64_t{0}, 1, 1));
    CHECK(table.name_of(Address{~std::uint64_t{0}}) == "b.IPCP");
    CHECK_FALSE(table.name_of(Address{~std::uint64_t{0} - 1}));
}

TEST_CASE("several lies in one message are outnumbered together") {
    NeighborTable table("a.IPCP", {}, nullptr, 5);
    table.set_own(Address{2}, {});
    const auto said = table.apply(
        at(0), Action::create,
        {{numbered("a.IPCP", 9, 5, 40), numbered("a.IPCP", 8, 5, 50)}}, "b.IPCP");
    REQUIRE(said.create_all.size() == 1);
    CHECK(said.create_all[0].version == (std::uint64_t{5} << 32 | 51));
    CHECK(said.create_all[0] == table.own());
}

TEST_CASE("lies cannot take our number away") {
    NeighborTable table("a.IPCP", {}, nullptr, 0xfffffff0);
    table.set_own(Address{2}, {});
    // The last start of all, and the last number of it.
    create(table, numbered("a.IPCP", 9, 0xffffffff, 1));
    CHECK(table.own().version == 1);
    NeighborTable other("b.IPCP", {}, nullptr, 0xffffffff);
    other.set_own(Address{2}, {});
    create(other, numbered("b.IPCP", 9, 0xffffffff, 0xffffffff));
    CHECK(other.own().version == 1);
}

TEST_CASE("a neighbour hears of what it never said, and outnumbers it") {
    NeighborTable table("a.IPCP");
    table.set_enrolled("c.IPCP", true);
    create(table, numbered("c.IPCP", 3, 1, 1), "c.IPCP");
    const auto forged = numbered("c.IPCP", 9, 2, 1);
    const auto heard = create(table, forged, "z.IPCP");
    CHECK(heard.create == std::vector{forged});
    CHECK_FALSE(heard.changed);
    CHECK(heard.moved.empty());
    CHECK(table.address_of("c.IPCP") == Address{3});
    // Once, or two that know better would tell each other all day.
    CHECK(create(table, forged, "y.IPCP").silent());
    CHECK(create(table, numbered("c.IPCP", 9, 2, 0), "y.IPCP").silent());
    CHECK(create(table, numbered("c.IPCP", 9, 2, 2), "z.IPCP").create.size() == 1);
    // That may have been lost.
    table.tick(at(5));
    CHECK(create(table, numbered("c.IPCP", 9, 2, 2), "z.IPCP").create.size() == 1);
    // Nor may there be two of one number.
    table.tick(at(10));
    CHECK(create(table, numbered("c.IPCP", 9, 1, 1), "z.IPCP").create.size() == 1);
    // An old one is nothing to bother it with, nor one without a number.
    CHECK(create(table, numbered("c.IPCP", 9, 1, 0), "z.IPCP").silent());
    CHECK(create(table, node("c.IPCP", 9), "z.IPCP").silent());
    CHECK(create(table, numbered("c.IPCP", 3, 3, 0), "c.IPCP").changed);
    CHECK(table.address_of("c.IPCP") == Address{3});
}
