// What a member can do to the others by what it says: no more than so much, and it is counted.
#include <catch2/catch.hpp>
#include <string>

#include "normal_dif/core/mgmt/interned.hpp"
#include "normal_dif/core/mgmt/lfdb.hpp"
#include "normal_dif/core/mgmt/neighbors.hpp"
#include "normal_dif/core/mgmt/routing.hpp"

using namespace sluice;
using namespace sluice::mgmt;
using rina::Address;
using rina::LowerFlow;

namespace {

constexpr Instant at(std::int64_t seconds) {
    return Instant::zero() + Duration::seconds(1000 + seconds);
}

LowerFlow flow(std::string local, std::string remote, std::uint32_t sequence = 1) {
    return {std::move(local), std::move(remote), 1, sequence, true, 0};
}

std::string made_up(std::size_t i) { return "made-up-name-" + std::to_string(i) + ".IPCP"; }

bool has_route(const Lfdb& lfdb, const NeighborTable& members, const NeighborPorts& ports,
               Address to) {
    const auto policy = make_routing("link-state", {});
    for (const rmt::Route& route : (*policy)->routes({lfdb, members, ports}).routes)
        if (route.destination == to) return true;
    return false;
}

}  // namespace

TEST_CASE("interned values are kept once, and as long as they are used") {
    NameTable names(7);
    const NameId a = names.acquire("a");
    CHECK(names.acquire("a") == a);
    const NameId b = names.acquire(std::string(300, 'b'));
    CHECK(b != a);
    CHECK(names[b] == std::string(300, 'b'));
    CHECK(names.find("a") == a);
    CHECK_FALSE(names.find("c"));
    CHECK(names.size() == 2);
    names.release(a);
    CHECK(names.find("a") == a);
    names.release(a);
    CHECK_FALSE(names.find("a"));
    CHECK(names.size() == 1);
    // Its number is another's now.
    const NameId c = names.acquire("c");
    CHECK(c == a);
    CHECK(names[c] == "c");
    CHECK(names.find(std::string(300, 'b')) == b);
    {
        names.retain(c);
        InternedRef<NameTable> one(names, c);
        InternedRef<NameTable> two = std::move(one);
        CHECK(*two == "c");
        CHECK_FALSE(one);
    }
    names.release(c);
    CHECK_FALSE(names.find("c"));
}

TEST_CASE("hashes depend on all of a value, and on the seed") {
    const SeededHash hash(1), other(2);
    const std::string text(20, 'x');
    CHECK(hash(text) != other(text));
    for (std::size_t i = 0; i < text.size(); ++i) {
        std::string changed = text;
        changed[i] = 'y';
        CHECK(hash(changed) != hash(text));
    }
    CHECK(hash(std::string_view("a\0", 2)) != hash(std::string_view("a")));
    const rina::NeighborCandidate node{"n", "1", Address{4}, {"x", "y"}};
    for (const rina::NeighborCandidate& like :
         {rina::NeighborCandidate{"m", "1", Address{4}, {"x", "y"}},
          rina::NeighborCandidate{"n", "2", Address{4}, {"x", "y"}},
          rina::NeighborCandidate{"n", "1", Address{5}, {"x", "y"}},
          rina::NeighborCandidate{"n", "1", Address{4}, {"y", "x"}},
          rina::NeighborCandidate{"n", "1", Address{4}, {"x"}}})
        CHECK(hash(like) != hash(node));
}

TEST_CASE("a flood of links of made-up nodes fills the table and no more, and is forgotten") {
    NameTable names(1);
    {
        Lfdb lfdb("a.IPCP", {.entries_max = 100, .entries_per_origin_max = 10}, kLfdbTimes, &names);
        lfdb.add_neighbor(at(0), "b.IPCP");
        rina::LowerFlowList list;
        for (std::size_t i = 0; i < 500; ++i) list.flows.push_back(flow("b.IPCP", made_up(i)));
        CHECK(lfdb.apply(at(1), Action::create, list, "b.IPCP").create.size() == 10);
        CHECK(lfdb.refused().of(Refusal::origin_full) == 490);
        for (std::size_t i = 0; i < 500; ++i) list.flows[i] = flow(made_up(i), "b.IPCP");
        CHECK(lfdb.apply(at(1), Action::create, list, "b.IPCP").create.size() == 89);
        CHECK(lfdb.size() == 100);
        CHECK(lfdb.refused().of(Refusal::table_full) == 411);
        // What was refused left no name behind.
        CHECK(names.size() <= 2 + 10 + 89);
        // Told again and again it is no news.
        const auto again = lfdb.apply(at(2), Action::create, list, "b.IPCP");
        CHECK(again.silent());
        CHECK(again.known == 89);
        CHECK(lfdb.add_neighbor(at(2), "c.IPCP").create_all.size() == 1);
        // Nobody renews it.
        lfdb.tick(at(910));
        CHECK(lfdb.size() == 2);
        lfdb.tick(at(930));
        CHECK(lfdb.removals() == 0);
        CHECK(names.size() == 3);

        Lfdb moved = std::move(lfdb);
        CHECK(moved.find("a.IPCP", "b.IPCP"));
        lfdb = Lfdb("z.IPCP", {}, kLfdbTimes, &names);
        CHECK(lfdb.size() == 0);
    }
    CHECK(names.size() == 0);
}

TEST_CASE("replayed versions are not passed on") {
    Lfdb lfdb("a.IPCP");
    rina::LowerFlowList list;
    for (std::uint32_t n = 1; n <= 10; ++n) {
        list.flows = {flow("c.IPCP", "d.IPCP", n)};
        REQUIRE(lfdb.apply(at(0), Action::create, list, "b.IPCP").create.size() == 1);
    }
    for (std::uint32_t n = 1; n <= 10; ++n) {
        list.flows = {flow("c.IPCP", "d.IPCP", n)};
        CHECK(lfdb.apply(at(1), Action::create, list, "x.IPCP").silent());
        if (n < 10) CHECK(lfdb.apply(at(1), Action::remove, list, "x.IPCP").silent());
    }
    CHECK(lfdb.find("c.IPCP", "d.IPCP")->sequence == 10);
}

TEST_CASE("who claims to be next to everybody is not routed through") {
    // We see m; v is at the other side of w.
    Lfdb lfdb("a");
    NeighborTable members("a");
    members.set_own(Address{1}, {});
    NeighborPorts ports{{"m", {rmt::N1PortId{1}}}};
    members.apply(at(0), Action::create,
                  {{{"m", "", Address{2}, {}},
                    {"v", "", Address{3}, {}},
                    {"w", "", Address{4}, {}}}},
                  "m");
    lfdb.add_neighbor(at(0), "m");
    lfdb.apply(at(0), Action::create,
               {{flow("m", "a"), flow("m", "v"), flow("m", "w"), flow("v", "w"), flow("w", "v")}},
               "m");
    CHECK(has_route(lfdb, members, ports, Address{2}));
    CHECK_FALSE(has_route(lfdb, members, ports, Address{3}));

    // It speaks for v, too: v hears of that, and says that it is not so.
    const LowerFlow forged = flow("v", "m", 77);
    lfdb.apply(at(1), Action::create, {{forged}}, "m");
    CHECK(has_route(lfdb, members, ports, Address{3}));
    Lfdb victim("v");
    victim.add_neighbor(at(0), "w");
    const auto answer = victim.apply(at(1), Action::create, {{forged}}, "w");
    CHECK(answer.refused.of(Refusal::about_us) == 1);
    REQUIRE(answer.remove_all.size() == 1);
    lfdb.apply(at(1), Action::remove, {answer.remove_all}, "m");
    CHECK_FALSE(has_route(lfdb, members, ports, Address{3}));
    // The same lie is no news after that.
    CHECK(lfdb.apply(at(2), Action::create, {{forged}}, "m").silent());
}

TEST_CASE("a member that claims a flood of names") {
    SharedValues shared(3);
    {
        NeighborLimits limits;
        limits.entries_max = 50;
        limits.updates_per_sender_max = 30;
        NeighborTable table("a.IPCP", limits, &shared);
        rina::NeighborCandidateList list;
        for (std::size_t i = 0; i < 500; ++i)
            list.candidates.push_back({made_up(i), "", Address{i + 2}, {"x.DIF"}});
        CHECK(table.apply(at(0), Action::create, list, "b.IPCP").create.size() == 30);
        CHECK(table.refused().of(Refusal::sender_busy) == 470);
        table.tick(at(10));
        CHECK(table.apply(at(10), Action::create, list, "b.IPCP").create.size() == 20);
        CHECK(table.size() == 50);
        CHECK(table.refused().of(Refusal::table_full) == 450);
        CHECK(shared.names.size() == 50);
        CHECK(shared.candidates.size() == 50);

        // Members of one process hold them once.
        NeighborTable other("b.IPCP", {}, &shared);
        other.apply(at(10), Action::create, list, "a.IPCP");
        CHECK(other.size() == 500);
        CHECK(shared.candidates.size() == 500);

        // One that changes is two until the time in which it may not go back is over.
        list.candidates = {{made_up(0), "", Address{9999}, {}}};
        table.tick(at(20));
        table.apply(at(20), Action::create, list, "b.IPCP");
        CHECK(table.address_of(made_up(0)) == Address{9999});
        CHECK(shared.candidates.size() == 501);
        for (const std::size_t i : {0, 1, 2}) table.remove(made_up(i));
        CHECK(table.size() == 47);
        CHECK(shared.candidates.size() == 500);
    }
    CHECK(shared.names.size() == 0);
    CHECK(shared.candidates.size() == 0);
}
