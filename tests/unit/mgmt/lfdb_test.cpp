#include "normal_dif/core/mgmt/lfdb.hpp"

#include <catch2/catch.hpp>
#include <string>

using namespace sluice;
using namespace sluice::mgmt;
using rina::LowerFlow;

namespace {

constexpr Instant at(std::int64_t seconds) {
    return Instant::zero() + Duration::seconds(1000 + seconds);
}

LowerFlow flow(std::string local, std::string remote, std::uint32_t sequence,
               std::uint32_t cost = 1) {
    return {std::move(local), std::move(remote), cost, sequence, true, 0};
}

Lfdb::Changed create(Lfdb& lfdb, LowerFlow entry, std::string_view sender = "b.IPCP",
                     Instant now = at(0)) {
    return lfdb.apply(now, Action::create, {{std::move(entry)}}, sender);
}
Lfdb::Changed remove(Lfdb& lfdb, LowerFlow entry, std::string_view sender = "b.IPCP",
                     Instant now = at(0)) {
    return lfdb.apply(now, Action::remove, {{std::move(entry)}}, sender);
}

}  // namespace

TEST_CASE("our own adjacency is told to all, as rlite's nodes tell it") {
    Lfdb lfdb("a.IPCP");
    const auto out = lfdb.add_neighbor(at(0), "b.IPCP");
    REQUIRE(out.create_all.size() == 1);
    CHECK(out.create_all[0] == flow("a.IPCP", "b.IPCP", 1));
    CHECK(out.changed);
    CHECK(lfdb.add_neighbor(at(1), "b.IPCP").silent());
    CHECK(lfdb.add_neighbor(at(1), "a.IPCP").silent());
    CHECK(lfdb.add_neighbor(at(1), "").silent());
    CHECK(lfdb.size() == 1);

    SECTION("another cost is another version") {
        const auto dearer = lfdb.add_neighbor(at(2), "b.IPCP", 5);
        REQUIRE(dearer.create_all.size() == 1);
        CHECK(dearer.create_all[0] == flow("a.IPCP", "b.IPCP", 2, 5));
    }
    SECTION("taken back, it goes on counting when it returns") {
        const auto gone = lfdb.remove_neighbor(at(2), "b.IPCP");
        REQUIRE(gone.remove_all.size() == 1);
        CHECK(gone.remove_all[0].sequence == 2);
        CHECK(gone.changed);
        CHECK(lfdb.size() == 0);
        CHECK(lfdb.remove_neighbor(at(2), "b.IPCP").silent());
        CHECK(lfdb.add_neighbor(at(3), "b.IPCP").create_all.at(0).sequence == 3);
        lfdb.remove_neighbor(at(4), "b.IPCP");
        lfdb.tick(at(10));
        lfdb.tick(at(30));
        CHECK(lfdb.removals() == 0);
        CHECK(lfdb.add_neighbor(at(31), "b.IPCP").create_all.at(0).sequence == 5);
    }
}

TEST_CASE("entries of others: unknown or newer ones are taken and passed on") {
    Lfdb lfdb("a.IPCP");
    const auto first = create(lfdb, flow("c.IPCP", "d.IPCP", 3));
    REQUIRE(first.create.size() == 1);
    CHECK(first.create[0] == flow("c.IPCP", "d.IPCP", 3));
    CHECK(first.create_all.empty());
    CHECK(first.changed);

    for (const std::uint32_t old : {3u, 2u, 1u}) {
        const auto again = create(lfdb, flow("c.IPCP", "d.IPCP", old, 9));
        CHECK(again.silent());
        CHECK(again.known == 1);
        CHECK_FALSE(again.changed);
    }
    CHECK(lfdb.find("c.IPCP", "d.IPCP")->cost == 1);

    const auto renewed = create(lfdb, flow("c.IPCP", "d.IPCP", 4));
    CHECK(renewed.create.size() == 1);
    CHECK_FALSE(renewed.changed);  // routes are what they were
    CHECK(create(lfdb, flow("c.IPCP", "d.IPCP", 5, 2)).changed);
    LowerFlow down = flow("c.IPCP", "d.IPCP", 6, 2);
    down.is_up = false;
    CHECK(create(lfdb, down).changed);
    CHECK(lfdb.size() == 1);
}

TEST_CASE("removals") {
    Lfdb lfdb("a.IPCP");
    create(lfdb, flow("c.IPCP", "d.IPCP", 3));

    SECTION("an old one is not meant for what is there now") {
        CHECK(remove(lfdb, flow("c.IPCP", "d.IPCP", 2)).silent());
        CHECK(lfdb.size() == 1);
    }
    SECTION("one of the same number wins, is passed on once, and stays") {
        const auto gone = remove(lfdb, flow("c.IPCP", "d.IPCP", 3));
        CHECK(gone.remove.size() == 1);
        CHECK(gone.changed);
        CHECK(remove(lfdb, flow("c.IPCP", "d.IPCP", 3)).silent());
        CHECK(create(lfdb, flow("c.IPCP", "d.IPCP", 3)).silent());
        CHECK(lfdb.size() == 0);
        CHECK(create(lfdb, flow("c.IPCP", "d.IPCP", 4)).create.size() == 1);
        CHECK(lfdb.size() == 1);
        CHECK(lfdb.removals() == 0);
    }
    SECTION("without a number it means whichever there is") {
        CHECK(remove(lfdb, flow("c.IPCP", "d.IPCP", 0)).remove.at(0).sequence == 3);
        CHECK(remove(lfdb, flow("x.IPCP", "d.IPCP", 0)).silent());
        CHECK(lfdb.removals() == 1);
    }
    SECTION("before its entry") {
        CHECK(remove(lfdb, flow("e.IPCP", "f.IPCP", 7)).remove.size() == 1);
        CHECK(remove(lfdb, flow("e.IPCP", "f.IPCP", 7)).silent());
        CHECK(remove(lfdb, flow("e.IPCP", "f.IPCP", 8)).remove.size() == 1);
        CHECK(create(lfdb, flow("e.IPCP", "f.IPCP", 8)).silent());
        CHECK(lfdb.size() == 1);
    }
    SECTION("is forgotten in time") {
        remove(lfdb, flow("c.IPCP", "d.IPCP", 3), "b.IPCP", at(1));
        lfdb.tick(at(10));
        CHECK(lfdb.removals() == 1);
        CHECK(create(lfdb, flow("c.IPCP", "d.IPCP", 1), "b.IPCP", at(10)).silent());
        lfdb.tick(at(20));
        CHECK(lfdb.removals() == 0);
        CHECK(create(lfdb, flow("c.IPCP", "d.IPCP", 1), "b.IPCP", at(20)).create.size() == 1);
    }
}

TEST_CASE("what others say of our own entries") {
    Lfdb lfdb("a.IPCP");
    lfdb.add_neighbor(at(0), "b.IPCP");

    SECTION("as we say it") {
        const auto out = create(lfdb, flow("a.IPCP", "b.IPCP", 1));
        CHECK(out.silent());
        CHECK(out.contested == 0);
        CHECK(out.known == 1);
    }
    SECTION("a newer number: from before a restart of ours, or a lie") {
        const auto out = create(lfdb, flow("a.IPCP", "b.IPCP", 7, 100));
        REQUIRE(out.create_all.size() == 1);
        CHECK(out.create_all[0] == flow("a.IPCP", "b.IPCP", 8));
        CHECK(out.contested == 1);
        CHECK(out.create.empty());
    }
    SECTION("our number with another cost") {
        CHECK(create(lfdb, flow("a.IPCP", "b.IPCP", 1, 100)).create_all.at(0) ==
              flow("a.IPCP", "b.IPCP", 2));
    }
    SECTION("that it is gone") {
        const auto out = remove(lfdb, flow("a.IPCP", "b.IPCP", 4));
        CHECK(out.create_all.at(0) == flow("a.IPCP", "b.IPCP", 5));
        CHECK(out.remove.empty());
        CHECK(remove(lfdb, flow("a.IPCP", "b.IPCP", 0)).create_all.at(0).sequence == 6);
        CHECK(remove(lfdb, flow("a.IPCP", "b.IPCP", 5)).silent());
        CHECK(lfdb.size() == 1);
    }
    SECTION("a neighbour that we do not have") {
        const auto out = create(lfdb, flow("a.IPCP", "x.IPCP", 7));
        CHECK(out.refused.of(Refusal::about_us) == 1);
        CHECK(out.create.empty());
        CHECK(out.remove_all.at(0) == flow("a.IPCP", "x.IPCP", 7));
        CHECK_FALSE(out.changed);
        CHECK(lfdb.size() == 1);
        CHECK(remove(lfdb, flow("a.IPCP", "x.IPCP", 7)).silent());
        lfdb.remove_neighbor(at(1), "b.IPCP");
        CHECK(create(lfdb, flow("a.IPCP", "b.IPCP", 9)).remove_all.size() == 1);
        CHECK(lfdb.refused().of(Refusal::about_us) == 2);
        // Others remember the removal: an entry that comes true has to be newer.
        CHECK(lfdb.add_neighbor(at(2), "x.IPCP").create_all.at(0).sequence == 10);
        create(lfdb, flow("a.IPCP", "y.IPCP", 0xfffffffe));
        CHECK(lfdb.add_neighbor(at(2), "y.IPCP").create_all.at(0).sequence == 10);
    }
}

TEST_CASE("the last number of all") {
    Lfdb lfdb("a.IPCP");
    lfdb.add_neighbor(at(0), "b.IPCP");
    const auto out = create(lfdb, flow("a.IPCP", "b.IPCP", 0xffffffff, 50));
    CHECK(out.create_all.empty());
    REQUIRE(out.remove_all.size() == 1);
    CHECK(out.remove_all[0].sequence == 0xffffffff);
    // Routing uses it; nobody is told until all have forgotten.
    CHECK(lfdb.find("a.IPCP", "b.IPCP"));
    CHECK(lfdb.snapshot(at(1)).empty());
    CHECK(create(lfdb, flow("a.IPCP", "b.IPCP", 0xffffffff)).create_all.empty());
    CHECK(lfdb.tick(at(10)).create_all.empty());
    CHECK(lfdb.tick(at(20)).create_all.empty());
    CHECK(lfdb.tick(at(30)).create_all.at(0) == flow("a.IPCP", "b.IPCP", 1));
    CHECK(lfdb.snapshot(at(31)).size() == 1);
}

TEST_CASE("time: refresh, renewal and age") {
    Lfdb lfdb("a.IPCP");
    lfdb.tick(at(0));
    lfdb.add_neighbor(at(0), "b.IPCP");
    create(lfdb, flow("b.IPCP", "a.IPCP", 1));
    std::vector<std::pair<std::uint32_t, std::uint32_t>> said;  // sequence, age
    for (std::int64_t t = 10; t <= 300; t += 10)
        for (const LowerFlow& entry : lfdb.tick(at(t)).create_all) {
            CHECK(entry.local_node == "a.IPCP");
            said.emplace_back(entry.sequence, entry.age_s);
        }
    const std::vector<std::pair<std::uint32_t, std::uint32_t>> expected = {
        {1, 30},  {1, 60},  {1, 90},  {1, 120}, {1, 150},
        {1, 180}, {1, 210}, {1, 240}, {2, 0},   {2, 30}};
    CHECK(said == expected);

    SECTION("what is not renewed for 900 s is removed") {
        for (std::int64_t t = 310; t <= 900; t += 10) CHECK_FALSE(lfdb.tick(at(t)).changed);
        CHECK(lfdb.snapshot(at(900))[1].age_s == 900);
        const auto out = lfdb.tick(at(910));
        CHECK(out.changed);
        REQUIRE(out.remove_all.size() == 1);
        CHECK(out.remove_all[0].local_node == "b.IPCP");
        CHECK_FALSE(lfdb.find("b.IPCP", "a.IPCP"));
        CHECK(lfdb.size() == 1);
    }
    SECTION("a newer one is young") {
        create(lfdb, flow("b.IPCP", "a.IPCP", 2), "b.IPCP", at(310));
        CHECK(lfdb.snapshot(at(325))[1].age_s == 10);
        for (std::int64_t t = 320; t <= 1210; t += 10) CHECK_FALSE(lfdb.tick(at(t)).changed);
        CHECK(lfdb.tick(at(1220)).changed);
    }
}

TEST_CASE("what makes no sense is refused") {
    Lfdb lfdb("a.IPCP");
    for (const LowerFlow& bad :
         {flow("", "d", 1), flow("c", "", 1), flow("c", "c", 1), flow("c", "d", 1, 0),
          flow(std::string(256, 'c'), "d", 1), flow("c\x1b[2J", "d", 1)}) {
        CHECK(create(lfdb, bad).refused.of(Refusal::malformed) == 1);
        CHECK(remove(lfdb, bad).refused.of(Refusal::malformed) == 1);
    }
    CHECK(lfdb.size() == 0);
    CHECK(lfdb.refused().total() == 12);
}

namespace {

constexpr ReplicationLimits kSmall{.entries_max = 4,
                                   .entries_per_origin_max = 2,
                                   .removals_max = 2,
                                   .updates_per_entry_max = 3,
                                   .updates_per_sender_max = 8,
                                   .corrections_max = 3,
                                   .corrections_per_entry_max = 2};

}  // namespace

TEST_CASE("limits of the table") {
    Lfdb lfdb("a.IPCP", kSmall);

    SECTION("entries of one node, and of all") {
        create(lfdb, flow("c", "1", 1));
        create(lfdb, flow("c", "2", 1));
        CHECK(create(lfdb, flow("c", "3", 1)).refused.of(Refusal::origin_full) == 1);
        CHECK(remove(lfdb, flow("c", "3", 1)).refused.of(Refusal::origin_full) == 1);
        create(lfdb, flow("d", "1", 1));
        create(lfdb, flow("d", "2", 1));
        CHECK(create(lfdb, flow("e", "1", 1)).refused.of(Refusal::table_full) == 1);
        CHECK(lfdb.size() == 4);
        // Known ones go on, and our own are there in any case.
        CHECK(create(lfdb, flow("c", "1", 2)).create.size() == 1);
        CHECK(lfdb.add_neighbor(at(0), "b.IPCP").create_all.size() == 1);
        remove(lfdb, flow("c", "1", 3));
        remove(lfdb, flow("d", "1", 3));
        CHECK(create(lfdb, flow("e", "1", 1), "x").create.size() == 1);
    }
    SECTION("removals that are remembered") {
        for (const char* node : {"c", "d"}) remove(lfdb, flow(node, "1", 5));
        CHECK(remove(lfdb, flow("e", "1", 5)).refused.of(Refusal::table_full) == 1);
        create(lfdb, flow("e", "1", 5));
        CHECK(remove(lfdb, flow("e", "1", 5)).remove.size() == 1);
        CHECK(lfdb.removals() == 2);
        CHECK(lfdb.size() == 0);
        // No room to remember that one.
        CHECK(create(lfdb, flow("e", "1", 5)).create.size() == 1);
    }
}

TEST_CASE("limits of what changes until the next tick") {
    Lfdb lfdb("a.IPCP", kSmall);

    SECTION("an entry that keeps changing") {
        for (std::uint32_t n = 1; n <= 3; ++n)
            CHECK(create(lfdb, flow("c", "1", n)).create.size() == 1);
        CHECK(create(lfdb, flow("c", "1", 4)).refused.of(Refusal::too_often) == 1);
        CHECK(remove(lfdb, flow("c", "1", 4)).refused.of(Refusal::too_often) == 1);
        lfdb.tick(at(10));
        CHECK(create(lfdb, flow("c", "1", 4)).create.size() == 1);
    }
    SECTION("removing it does not begin the count anew") {
        std::size_t passed_on = 0;
        for (std::uint32_t n = 1; n <= 20; ++n) {
            passed_on += create(lfdb, flow("c", "1", n)).create.size();
            passed_on += remove(lfdb, flow("c", "1", n)).remove.size();
        }
        CHECK(passed_on == 3);
    }
    SECTION("a neighbour that keeps talking") {
        ReplicationLimits limits = kSmall;
        limits.updates_per_entry_max = 1000;
        Lfdb patient("a.IPCP", limits);
        std::size_t passed_on = 0;
        for (std::uint32_t n = 1; n <= 20; ++n)
            passed_on += create(patient, flow("c", "1", n)).create.size();
        CHECK(passed_on == 8);
        CHECK(patient.refused().of(Refusal::sender_busy) == 12);
        CHECK(create(patient, flow("c", "1", 30), "other.IPCP").create.size() == 1);
        patient.tick(at(10));
        CHECK(create(patient, flow("c", "1", 31)).create.size() == 1);
    }
    SECTION("answers to claims about us") {
        lfdb.add_neighbor(at(0), "b.IPCP");
        std::size_t answers = 0;
        for (std::uint32_t n = 1; n <= 20; ++n) {
            answers += create(lfdb, flow("a.IPCP", "b.IPCP", 10 * n)).create_all.size();
            answers += create(lfdb, flow("a.IPCP", "x.IPCP", 10 * n)).remove_all.size();
        }
        CHECK(answers == 3);
        // The last word is ours, if late.
        const auto out = lfdb.tick(at(10));
        CHECK(out.create_all.at(0) == flow("a.IPCP", "b.IPCP", 201));
    }
}
