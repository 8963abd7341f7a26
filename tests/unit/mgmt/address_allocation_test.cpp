#include "normal_dif/core/mgmt/address_allocation.hpp"

#include <catch2/catch.hpp>
#include <set>

using namespace sluice;
using namespace sluice::mgmt;
using rina::Address;
using rina::AddrAllocRequest;

namespace {

constexpr Instant at(std::int64_t milliseconds) {
    return Instant::zero() + Duration::milliseconds(1'000'000 + milliseconds);
}

NeighborTable members(std::string_view self, std::uint64_t own,
                      std::vector<std::pair<std::string, std::uint64_t>> others = {}) {
    NeighborTable table(self);
    table.set_own(Address{own}, {});
    for (const auto& [name, address] : others)
        table.apply(at(0), Action::create, {{{name, "", Address{address}, {}}}}, "x");
    return table;
}

AddressAllocator allocator(std::string self, std::uint64_t seed = 1, AddressConfig config = {}) {
    return AddressAllocator(std::move(self), config, Rng(seed));
}

}  // namespace

TEST_CASE("static: the enrollee keeps what it has") {
    AddressConfig config;
    config.policy = AddressPolicy::static_;
    auto alloc = allocator("a.IPCP", 1, config);
    AddressAllocator::Output out;
    const ClaimId claim = alloc.begin(at(0), members("a.IPCP", 1), out);
    CHECK(out.done == std::vector{AddressAllocator::Done{claim, Address{0}}});
    CHECK(out.claims.silent());
    CHECK(alloc.next_deadline().is_never());
}

TEST_CASE("distributed: claimed, and taken if nobody objects") {
    auto alloc = allocator("a.IPCP");
    const auto known = members("a.IPCP", 1);
    AddressAllocator::Output out;
    const ClaimId claim = alloc.begin(at(0), known, out);
    REQUIRE(out.claims.create_all.size() == 1);
    const AddrAllocRequest said = out.claims.create_all[0];
    CHECK(said.requestor == "a.IPCP");
    CHECK(said.address.value > 1);
    CHECK(out.done.empty());
    CHECK(alloc.next_deadline() == at(4000));
    CHECK(alloc.on_timeout(at(3999), known).done.empty());
    CHECK(alloc.on_timeout(at(4000), known).done ==
          std::vector{AddressAllocator::Done{claim, said.address}});
    CHECK(alloc.on_timeout(at(9000), known).done.empty());
    CHECK(alloc.next_deadline().is_never());
    CHECK(alloc.snapshot() == std::vector{said});
    // Objections come too late now.
    CHECK(alloc.apply_claim(at(9000), Action::remove, said, known, "b.IPCP").claims.known == 1);
}

TEST_CASE("neither none, nor ours, nor a known one is chosen") {
    for (std::uint64_t seed = 0; seed < 200; ++seed) {
        auto alloc = allocator("a.IPCP", seed);
        const auto known = members("a.IPCP", 3, {{"b.IPCP", 5}, {"c.IPCP", 6}});
        alloc.apply_entries(at(0), Action::create, {{{"b.IPCP", Address{2}}}}, known, "b.IPCP");
        std::set<std::uint64_t> used = {0, 1, 2, 3, 5, 6};
        for (int i = 0; i < 10; ++i) {
            AddressAllocator::Output out;
            alloc.begin(at(0), known, out);
            REQUIRE(out.claims.create_all.size() == 1);
            const Address chosen = out.claims.create_all[0].address;
            CHECK(used.insert(chosen.value).second);
            CHECK(chosen.value <= 4 * used.size() + 8);
        }
    }
}

TEST_CASE("when all are used there is none") {
    AddressConfig config;
    config.address_max = Address{4};
    auto alloc = allocator("a.IPCP", 1, config);
    const auto known = members("a.IPCP", 1, {{"b.IPCP", 2}});
    std::set<std::uint64_t> got;
    for (int i = 0; i < 2; ++i) {
        AddressAllocator::Output out;
        alloc.begin(at(0), known, out);
        got.insert(out.claims.create_all.at(0).address.value);
    }
    CHECK(got == std::set<std::uint64_t>{3, 4});
    AddressAllocator::Output out;
    const ClaimId claim = alloc.begin(at(0), known, out);
    CHECK(out.done == std::vector{AddressAllocator::Done{claim, Address{0}}});
}

TEST_CASE("an objection means another address, and another wait") {
    auto alloc = allocator("a.IPCP");
    const auto known = members("a.IPCP", 1);
    AddressAllocator::Output first;
    const ClaimId claim = alloc.begin(at(0), known, first);
    const AddrAllocRequest said = first.claims.create_all.at(0);
    const auto out = alloc.apply_claim(at(1000), Action::remove, said, known, "c.IPCP");
    CHECK(out.claims.contested == 1);
    REQUIRE(out.claims.create_all.size() == 1);
    const AddrAllocRequest again = out.claims.create_all[0];
    CHECK(again.address != said.address);
    CHECK(alloc.on_timeout(at(4000), known).done.empty());
    CHECK(alloc.on_timeout(at(5000), known).done ==
          std::vector{AddressAllocator::Done{claim, again.address}});
    CHECK(alloc.size() == 2);
    alloc.tick();
    CHECK(alloc.snapshot() == std::vector{again});
    CHECK(alloc.size() == 1);

    SECTION("not for ever") {
        AddressAllocator::Output next;
        alloc.begin(at(6000), known, next);
        int tries = 0;
        while (next.done.empty()) {
            REQUIRE(next.claims.create_all.size() == 1);
            REQUIRE(++tries < 100);
            const AddrAllocRequest tried = next.claims.create_all[0];
            next = alloc.apply_claim(at(6000), Action::remove, tried, known, "c");
        }
        CHECK(next.done[0].address == Address{0});
        CHECK(tries == 64);
    }
}

TEST_CASE("a claim of somebody else's") {
    auto alloc = allocator("b.IPCP");
    const auto known = members("b.IPCP", 3, {{"c.IPCP", 4}});
    const AddrAllocRequest claim{"a.IPCP", Address{7}};

    SECTION("is noted and passed on once") {
        CHECK(alloc.apply_claim(at(0), Action::create, claim, known, "a.IPCP").claims.create ==
              std::vector{claim});
        CHECK(alloc.apply_claim(at(0), Action::create, claim, known, "c.IPCP").claims.silent());
        CHECK(alloc.snapshot() == std::vector{claim});
    }
    SECTION("is objected to if the address is ours, known, or claimed by another") {
        alloc.apply_claim(at(0), Action::create, claim, known, "a.IPCP");
        for (const AddrAllocRequest& bad :
             {AddrAllocRequest{"a.IPCP", Address{3}}, AddrAllocRequest{"a.IPCP", Address{4}},
              AddrAllocRequest{"d.IPCP", Address{7}}}) {
            const auto out = alloc.apply_claim(at(0), Action::create, bad, known, "a.IPCP");
            CHECK(out.nacks == std::vector{bad});
            CHECK(out.claims.silent());
        }
        std::size_t nacks = 0;
        for (int i = 0; i < 1000; ++i)
            nacks += alloc.apply_claim(at(0), Action::create, {"a.IPCP", Address{3}}, known, "a")
                         .nacks.size();
        CHECK(nacks == 61);
        alloc.tick();
        CHECK(alloc.apply_claim(at(0), Action::create, {"a.IPCP", Address{3}}, known, "a")
                  .nacks.size() == 1);
    }
    SECTION("taken back by its requestor") {
        alloc.apply_claim(at(0), Action::create, claim, known, "a.IPCP");
        CHECK(alloc.apply_claim(at(0), Action::remove, {"d.IPCP", Address{7}}, known, "d")
                  .claims.known == 1);
        CHECK(alloc.apply_claim(at(0), Action::remove, claim, known, "a.IPCP").claims.remove ==
              std::vector{claim});
        CHECK(alloc.size() == 0);
    }
    SECTION("refused if it makes no sense") {
        for (const AddrAllocRequest& bad :
             {AddrAllocRequest{"", Address{3}}, AddrAllocRequest{"a", Address{0}},
              AddrAllocRequest{"a", Address{std::uint64_t{1} << 31}}}) {
            CHECK(alloc.apply_claim(at(0), Action::create, bad, known, "a")
                      .claims.refused.of(Refusal::malformed) == 1);
            CHECK(alloc.apply_entries(at(0), Action::create, {{bad}}, known, "a")
                      .entries.refused.of(Refusal::malformed) == 1);
        }
    }
}

TEST_CASE("two that claim one address: the smaller name gives way") {
    const auto known = members("m.IPCP", 3);
    for (const bool smaller : {false, true}) {
        auto alloc = allocator("m.IPCP");
        AddressAllocator::Output first;
        alloc.begin(at(0), known, first);
        const Address ours = first.claims.create_all.at(0).address;
        const AddrAllocRequest theirs{smaller ? "a.IPCP" : "z.IPCP", ours};
        const auto out = alloc.apply_claim(at(1), Action::create, theirs, known, "x.IPCP");
        CHECK(out.nacks.size() == (smaller ? 1 : 0));
        CHECK(out.claims.create_all.size() == (smaller ? 0 : 1));
        CHECK(out.claims.create.size() == (smaller ? 0 : 1));
        if (!smaller) CHECK(out.claims.create_all[0].address != ours);
    }
}

TEST_CASE("an address that turns up in use while it is claimed") {
    auto alloc = allocator("a.IPCP");
    const auto known = members("a.IPCP", 1);
    AddressAllocator::Output first;
    const ClaimId claim = alloc.begin(at(0), known, first);
    const Address address = first.claims.create_all.at(0).address;

    SECTION("by a member") {
        const auto later = members("a.IPCP", 1, {{"z.IPCP", address.value}});
        const auto out = alloc.on_timeout(at(4000), later);
        CHECK(out.done.empty());
        CHECK(out.claims.create_all.at(0).address != address);
        CHECK(alloc.next_deadline() == at(8000));
    }
    SECTION("in a neighbour's table") {
        const auto out =
            alloc.apply_entries(at(1), Action::create, {{{"z.IPCP", address}}}, known, "z.IPCP");
        CHECK(out.entries.contested == 1);
        CHECK(out.claims.create_all.at(0).address != address);
    }
    SECTION("given up") {
        CHECK(alloc.cancel(claim).remove_all == std::vector{AddrAllocRequest{"a.IPCP", address}});
        CHECK(alloc.claims() == 0);
        CHECK(alloc.size() == 0);
        CHECK(alloc.cancel(claim).silent());
    }
}

TEST_CASE("the table is kept equal") {
    auto alloc = allocator("b.IPCP");
    const auto known = members("b.IPCP", 3);
    const rina::AddrAllocEntries list{{{"b.IPCP", Address{2}}, {"a.IPCP", Address{5}}}};
    const auto out = alloc.apply_entries(at(0), Action::create, list, known, "a.IPCP");
    CHECK(out.entries.create == list.entries);
    CHECK(alloc.apply_entries(at(0), Action::create, list, known, "a.IPCP").entries.silent());
    CHECK(alloc.snapshot() == list.entries);
    const auto gone = alloc.apply_entries(at(0), Action::remove, list, known, "a.IPCP");
    CHECK(gone.entries.remove.size() == 1);  // what we gave out is ours
    CHECK(gone.entries.refused.of(Refusal::about_us) == 1);
    CHECK(alloc.release(Address{2}).remove_all.size() == 1);
    CHECK(alloc.release(Address{2}).silent());
    CHECK(alloc.size() == 0);
}

TEST_CASE("bounds of the address table") {
    AddressConfig config;
    config.entries_max = 3;
    config.claims_max = 2;
    config.updates_per_sender_max = 4;
    auto alloc = allocator("b.IPCP", 1, config);
    const auto known = members("b.IPCP", 3);
    for (std::uint64_t i = 10; i < 20; ++i)
        alloc.apply_entries(at(0), Action::create, {{{"a", Address{i}}}}, known, "a");
    CHECK(alloc.size() == 3);
    CHECK(alloc.refused().of(Refusal::table_full) == 7);
    AddressAllocator::Output out;
    alloc.begin(at(0), known, out);
    CHECK(out.done.size() == 1);
    alloc.release(Address{10});
    alloc.release(Address{11});
    alloc.release(Address{12});
    out = {};
    for (int i = 0; i < 3; ++i) alloc.begin(at(0), known, out);
    CHECK(out.claims.create_all.size() == 2);
    CHECK(out.done.size() == 1);
    for (std::uint64_t i = 10; i < 13; ++i) {
        alloc.apply_claim(at(0), Action::create, {"a", Address{i}}, known, "a");
        alloc.apply_claim(at(0), Action::remove, {"a", Address{i}}, known, "a");
    }
    CHECK(alloc.refused().of(Refusal::sender_busy) == 2);
}

TEST_CASE("of two with one address the one with the smaller name moves") {
    CHECK(AddressAllocator::must_move(members("a.IPCP", 4, {{"b.IPCP", 4}})));
    CHECK_FALSE(AddressAllocator::must_move(members("b.IPCP", 4, {{"a.IPCP", 4}})));
    CHECK_FALSE(AddressAllocator::must_move(members("a.IPCP", 4, {{"b.IPCP", 5}})));
    CHECK_FALSE(AddressAllocator::must_move(members("a.IPCP", 0, {{"b.IPCP", 0}})));
}

TEST_CASE("address allocation by name") {
    CHECK(make_address_config("static", {})->policy == AddressPolicy::static_);
    const policy::Param wait{"nack_wait_ms", "1000"};
    const auto config = make_address_config("distributed", std::span(&wait, 1));
    REQUIRE(config);
    CHECK(config->nack_wait == Duration::seconds(1));
    CHECK(make_address_config("central", {}).error().message ==
          "address allocation 'central' is not known, expected one of static, distributed");
    CHECK_FALSE(make_address_config("static", std::span(&wait, 1)));
}
