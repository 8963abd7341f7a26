#include "normal_dif/core/mgmt/routing.hpp"

#include <catch2/catch.hpp>

using namespace sluice;
using namespace sluice::mgmt;
using policy::Param;
using rina::Address;
using rmt::N1PortId;

namespace {

constexpr Instant at(std::int64_t seconds) { return Instant::zero() + Duration::seconds(seconds); }

// s is we. Addresses: s 1, then in the order of names.
struct Dif {
    Lfdb lfdb{"s"};
    NeighborTable members{"s"};
    NeighborPorts ports;

    Dif() { members.set_own(Address{1}, {}); }
    void link(const std::string& a, const std::string& b, std::uint32_t cost = 1) {
        for (const auto& [from, to] : {std::pair(a, b), std::pair(b, a)}) {
            if (from == "s")
                lfdb.add_neighbor(at(0), to, cost);
            else
                lfdb.apply(at(0), Action::create, {{{from, to, cost, 1, true, 0}}}, "x");
        }
    }
    void name(const std::string& node, std::uint64_t address) {
        members.apply(at(0), Action::create, {{{node, "", Address{address}, {}}}}, node);
    }
    void port(const std::string& node, std::uint16_t number) {
        ports[node].push_back(N1PortId{number});
    }
    RouteList routes(std::string_view policy, std::vector<Param> params = {}) const {
        auto made = make_routing(policy, params);
        REQUIRE(made);
        RouteList list = (*made)->routes({lfdb, members, ports});
        // Whatever comes out, the forwarding table takes it.
        rmt::PftBuilder builder(1);
        for (const rmt::Route& route : list.routes) REQUIRE(builder.add(route));
        REQUIRE(builder.build());
        return list;
    }
};

rmt::Route route(std::uint64_t address, std::vector<std::uint16_t> ports,
                 std::optional<std::uint16_t> alternate = std::nullopt) {
    rmt::Route made{Address{address}, std::nullopt, {}};
    for (const std::uint16_t port : ports) made.hops.ports.push_back({N1PortId{port}, 1});
    if (alternate) made.hops.alternate = N1PortId{*alternate};
    return made;
}

using Routes = std::vector<rmt::Route>;

// s - b - d, s - c - d, d - e
Dif diamond() {
    Dif dif;
    dif.link("s", "b");
    dif.link("s", "c");
    dif.link("b", "d");
    dif.link("c", "d");
    dif.link("d", "e");
    dif.name("b", 2);
    dif.name("c", 3);
    dif.name("d", 4);
    dif.name("e", 5);
    dif.port("b", 10);
    dif.port("c", 11);
    return dif;
}

}  // namespace

TEST_CASE("link-state: routes to all, over all shortest paths") {
    const Dif dif = diamond();
    const RouteList list = dif.routes("link-state");
    CHECK(list.routes ==
          Routes{route(2, {10}), route(3, {11}), route(4, {10, 11}), route(5, {10, 11})});
    CHECK(list.reachable == 4);
    CHECK(list.unnamed == 0);
    CHECK(dif.routes("link-state", {{"multipath", "0"}}).routes ==
          Routes{route(2, {10}), route(3, {11}), route(4, {10}), route(5, {10})});
    CHECK(dif.routes("link-state", {{"default_entry", "1"}}).routes ==
          Routes{route(0, {10, 11}), route(2, {10}), route(3, {11})});
}

TEST_CASE("link-state: what it cannot route to") {
    Dif dif = diamond();
    dif.link("e", "f");                 // no address
    dif.name("g", 9);                   // nothing leads there
    dif.link("e", "h");
    dif.name("h", 0);
    dif.link("e", "i");
    dif.name("i", 5);                   // e's address; e is to change it
    dif.link("e", "j");
    dif.name("j", 1);                   // ours; we are not to give way
    const RouteList list = dif.routes("link-state");
    CHECK(list.routes.size() == 4);
    CHECK(list.unnamed == 2);
    CHECK(list.doubled == 2);
    CHECK(list.routes.back() == route(5, {10, 11}));
}

TEST_CASE("link-state: several ports to a neighbour, and none") {
    Dif dif = diamond();
    dif.port("b", 12);
    dif.port("b", 12);
    dif.ports.erase("c");
    CHECK(dif.routes("link-state").routes ==
          Routes{route(2, {10, 12}), route(4, {10, 12}), route(5, {10, 12})});
    CHECK(dif.routes("link-state", {{"multipath", "0"}}).routes ==
          Routes{route(2, {10}), route(4, {10}), route(5, {10})});
    for (std::uint16_t i = 100; i < 300; ++i) dif.port("b", i);
    CHECK(dif.routes("link-state").routes[0].hops.ports.size() == rmt::kHopsMax);
}

TEST_CASE("link-state: one direction is not enough, unless it is to be") {
    Dif dif;
    dif.lfdb.add_neighbor(at(0), "b");
    dif.name("b", 2);
    dif.port("b", 10);
    CHECK(dif.routes("link-state").routes.empty());
    CHECK(dif.routes("link-state", {{"both_ways", "0"}}).routes == Routes{route(2, {10})});
    const Dif alone;
    CHECK(alone.routes("link-state").routes.empty());
    CHECK(alone.routes("link-state", {{"default_entry", "1"}}).routes.empty());
}

TEST_CASE("neighbours at the edge of the DIF") {
    Dif dif;
    for (const char* name : {"b", "c", "d", "f"}) {
        dif.link("s", name);
        dif.port(name, 1);
    }
    dif.link("b", "e");
    // c says that it leads to e, and e says of d that it does: neither of them is believed.
    dif.lfdb.apply(at(0), Action::create, {{{"c", "e", 1, 1, true, 0}}}, "c");
    dif.lfdb.apply(at(0), Action::create, {{{"e", "d", 1, 1, true, 0}}}, "e");
    // A link that is down leads nowhere.
    dif.lfdb.apply(at(0), Action::create, {{{"f", "e", 1, 1, false, 0}}}, "f");
    dif.lfdb.apply(at(0), Action::create, {{{"e", "f", 1, 1, true, 0}}}, "e");
    dif.port("new", 2);  // nothing is known of it
    using Names = std::vector<std::string_view>;
    CHECK(transit_neighbors(dif.lfdb, dif.ports) == Names{"b"});
    dif.link("d", "e");
    CHECK(transit_neighbors(dif.lfdb, dif.ports) == Names{"b", "d"});
}

TEST_CASE("lfa: alternates") {
    Dif dif = diamond();
    dif.link("b", "c");
    const RouteList list = dif.routes("link-state-lfa");
    CHECK(list.routes ==
          Routes{route(2, {10}, 11), route(3, {11}, 10), route(4, {10, 11}), route(5, {10, 11})});
    CHECK(list.alternates == 2);
    dif.ports.erase("c");
    CHECK(dif.routes("link-state-lfa").routes ==
          Routes{route(2, {10}), route(4, {10}), route(5, {10})});
}

TEST_CASE("static routes") {
    Dif dif = diamond();
    const RouteList list = dif.routes("static", {{"route.1", "d via b"},
                                                 {"route.2", "77 via b,c"},
                                                 {"route.3", "default via c"},
                                                 {"route.4", "e via nobody"},
                                                 {"route.5", "nobody via b"},
                                                 {"route.6", "4 via c"}});
    CHECK(list.routes == Routes{route(0, {11}), route(4, {10}), route(77, {10, 11})});
    CHECK(list.unnamed == 1);
    for (const char* bad : {"d", "d via", "d via ", "0 via b", " via b", "d via b,,c"}) {
        const Param param{"route.1", bad};
        const auto made = make_routing("static", std::span(&param, 1));
        REQUIRE_FALSE(made);
        CHECK(made.error().message.find("routing static: parameter 'route.1'") == 0);
    }
    const std::vector<Param> twice = {{"route.1", "d via b"}, {"route.2", "d via c"}};
    CHECK_FALSE(make_routing("static", twice));
}

TEST_CASE("routing by name") {
    CHECK(make_routing("rip", {}).error().message ==
          "routing 'rip' is not known, expected one of link-state, link-state-lfa, static");
    const Param unknown{"multipaht", "1"};
    CHECK_FALSE(make_routing("link-state", std::span(&unknown, 1)));
    for (const RoutingPolicyInfo& info : routing_policies()) CHECK(make_routing(info.name, {}));
}

TEST_CASE("when to compute") {
    RoutingSchedule schedule;
    CHECK(schedule.next_deadline().is_never());
    schedule.mark(at(100), 1000);
    CHECK(schedule.is_due(at(100)));
    schedule.done(at(100));
    CHECK_FALSE(schedule.is_due(at(1000)));
    schedule.mark(at(101), 51);
    CHECK(schedule.next_deadline() == at(105));
    schedule.mark(at(102), 51);
    CHECK(schedule.next_deadline() == at(105));
    schedule.mark(at(103), 50);
    CHECK(schedule.is_due(at(103)));
    schedule.done(at(103));
    schedule.mark(at(200), 1000);
    CHECK(schedule.is_due(at(200)));
    RoutingSchedule young;  // on a time line that begins at 0
    young.mark(at(1), 1000);
    CHECK(young.is_due(at(1)));
}
