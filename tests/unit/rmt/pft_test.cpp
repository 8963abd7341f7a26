#include <algorithm>
#include <array>
#include <catch2/catch.hpp>
#include <map>

#include "base/rng.hpp"
#include "normal_dif/core/rmt/pft.hpp"
#include "pdus.hpp"

using namespace sluice;
using namespace sluice::rmt;
using rina::Address;
using rina::CepId;
using rina::QosId;
using test::all_up;
using test::data_pci;
using test::to_port;

namespace {

constexpr NextPort found(std::uint16_t port) { return {N1PortId{port}, RouteStatus::found}; }
constexpr NextPort kNoRoute{kNoN1Port, RouteStatus::no_route};
constexpr NextPort kDown{kNoN1Port, RouteStatus::down};

Route route_to(std::uint64_t address, Hops hops) { return {Address{address}, {}, std::move(hops)}; }
Route route_to(std::uint64_t address, std::uint16_t qos, Hops hops) {
    return {Address{address}, QosId{qos}, std::move(hops)};
}

Pft built(const std::vector<Route>& routes, const std::vector<FlowRoute>& flows = {}) {
    PftBuilder builder(1);
    for (const Route& route : routes) REQUIRE(builder.add(route));
    for (const FlowRoute& flow : flows) REQUIRE(builder.add(flow));
    auto pft = builder.build();
    REQUIRE(pft);
    return std::move(*pft);
}

std::string error_of(const std::vector<Route>& routes, const std::vector<FlowRoute>& flows = {}) {
    PftBuilder builder(1);
    for (const Route& route : routes)
        if (auto added = builder.add(route); !added) return added.error().message;
    for (const FlowRoute& flow : flows)
        if (auto added = builder.add(flow); !added) return added.error().message;
    auto pft = builder.build();
    return pft ? "" : pft.error().message;
}

rina::Pci with_qos(rina::Pci pci, std::uint16_t qos) {
    pci.qos = QosId{qos};
    return pci;
}

}  // namespace

TEST_CASE("a table without entries leads nowhere") {
    CHECK(Pft().route(data_pci(5), all_up()) == kNoRoute);
    CHECK(built({}).route(data_pci(5), all_up()) == kNoRoute);
    CHECK(built({route_to(5, to_port(1))}).route(data_pci(6), all_up()) == kNoRoute);
}

TEST_CASE("addresses of all sizes are found") {
    const auto base = GENERATE(std::uint64_t{1}, std::uint64_t{1} << 20, std::uint64_t{1} << 31,
                               std::uint64_t{1} << 40, ~std::uint64_t{0} - 5000);
    const auto step = GENERATE(std::uint64_t{1}, std::uint64_t{3});
    std::vector<Route> routes;
    for (std::uint64_t i = 0; i < 1000; ++i)
        routes.push_back(route_to(base + step * i, to_port(static_cast<std::uint16_t>(i % 99))));
    const Pft pft = built(routes);
    CHECK(pft.destinations() == 1000);
    for (std::uint64_t i = 0; i < 1000; ++i)
        REQUIRE(pft.route(data_pci(base + step * i), all_up()) ==
                found(static_cast<std::uint16_t>(i % 99)));
    CHECK(pft.route(data_pci(base - 1), all_up()) == kNoRoute);
    CHECK(pft.route(data_pci(base + step * 1000), all_up()) == kNoRoute);
    // What differs in the upper half only is another address.
    CHECK(pft.route(data_pci(base ^ std::uint64_t{1} << 33), all_up()) == kNoRoute);
    // Entries and empty slots stay within a cache line's bounds.
    CHECK(pft.bytes() <= 32 * 1024);
}

TEST_CASE("the most specific entry wins") {
    const FlowKey flow{Address{5}, Address{7}, CepId{3}, CepId{4}, QosId{2}};
    const Pft pft = built({route_to(5, to_port(1)), route_to(5, 2, to_port(2)),
                           route_to(6, 2, to_port(3)), route_to(0, to_port(4)),
                           route_to(0, 9, to_port(5))},
                          {{flow, to_port(6)}});
    const N1PortSet up = all_up();
    CHECK(pft.route(with_qos(data_pci(5), 1), up) == found(1));
    CHECK(pft.route(with_qos(data_pci(5, 8), 2), up) == found(2));
    CHECK(pft.route(with_qos(data_pci(6), 2), up) == found(3));
    CHECK(pft.route(with_qos(data_pci(6), 1), up) == found(4));
    CHECK(pft.route(with_qos(data_pci(77), 1), up) == found(4));
    CHECK(pft.route(with_qos(data_pci(6), 9), up) == found(5));
    CHECK(pft.route(with_qos(data_pci(77), 9), up) == found(5));
    CHECK(pft.route(with_qos(data_pci(5), 9), up) == found(1));
    CHECK(pft.route(with_qos(data_pci(5), 2), up) == found(6));
    // Every part of a flow's name counts.
    rina::Pci other = with_qos(data_pci(5), 2);
    other.destination_cep = CepId{4};
    CHECK(pft.route(other, up) == found(2));
    other = with_qos(data_pci(5), 2);
    other.source_cep = CepId{3};
    CHECK(pft.route(other, up) == found(2));
    CHECK(pft.has_entry(Address{5}));
    CHECK_FALSE(pft.has_entry(Address{77}));
    CHECK_FALSE(pft.has_entry(Address{0}));
}

TEST_CASE("a default entry alone leads everywhere") {
    const Pft pft = built({route_to(0, to_port(4))});
    CHECK(pft.route(data_pci(1), all_up()) == found(4));
    CHECK(pft.route(data_pci(~std::uint64_t{0}), all_up()) == found(4));
}

TEST_CASE("the alternate is used while the port is down") {
    const Pft pft = built({route_to(5, to_port(1, 2)), route_to(6, to_port(3))});
    N1PortSet up = all_up();
    CHECK(pft.route(data_pci(5), up) == found(1));
    up.set(N1PortId{1}, false);
    CHECK(pft.route(data_pci(5), up) == found(2));
    up.set(N1PortId{2}, false);
    CHECK(pft.route(data_pci(5), up) == kDown);
    up.set(N1PortId{1}, true);
    CHECK(pft.route(data_pci(5), up) == found(1));
    up.set(N1PortId{3}, false);
    CHECK(pft.route(data_pci(6), up) == kDown);
    CHECK(pft.route(data_pci(5), N1PortSet{}) == kDown);
}

TEST_CASE("the highest port and the last bit of the set") {
    const std::uint16_t last = kN1PortsMax - 1;
    const Pft pft = built({route_to(5, to_port(last, 0))});
    N1PortSet up;
    up.set(N1PortId{last}, true);
    CHECK(pft.route(data_pci(5), up) == found(last));
    up.set(N1PortId{last}, false);
    up.set(N1PortId{0}, true);
    CHECK(pft.route(data_pci(5), up) == found(0));
    up.set(kNoN1Port, true);
    CHECK_FALSE(up.test(kNoN1Port));
}

namespace {

Hops three_ports() {
    return {{{N1PortId{10}, 1}, {N1PortId{20}, 2}, {N1PortId{30}, 5}}, N1PortId{40}};
}

// Where 8000 flows to address 5 go, by flow.
std::vector<std::uint16_t> paths(const Pft& pft, const N1PortSet& up) {
    std::vector<std::uint16_t> ports;
    for (std::uint64_t i = 0; i < 8000; ++i) {
        rina::Pci pci = data_pci(5, 1 + i / 16);
        pci.source_cep = CepId{static_cast<std::uint32_t>(i % 16)};
        const NextPort next = pft.route(pci, up);
        REQUIRE(next.status == RouteStatus::found);
        REQUIRE(pft.route(pci, up) == next);
        ports.push_back(next.port.value);
    }
    return ports;
}

std::map<std::uint16_t, double> shares(const std::vector<std::uint16_t>& ports) {
    std::map<std::uint16_t, double> of;
    for (const std::uint16_t port : ports) of[port] += 1.0 / static_cast<double>(ports.size());
    return of;
}

}  // namespace

TEST_CASE("flows are spread by weight and keep their path") {
    const Pft pft = built({route_to(5, three_ports())});
    N1PortSet up = all_up();
    const std::vector<std::uint16_t> before = paths(pft, up);
    auto share = shares(before);
    CHECK(share.size() == 3);
    CHECK(share[10] == Approx(1.0 / 8).margin(0.015));
    CHECK(share[20] == Approx(2.0 / 8).margin(0.02));
    CHECK(share[30] == Approx(5.0 / 8).margin(0.02));

    SECTION("while one port is down, only its flows move, by weight") {
        up.set(N1PortId{30}, false);
        const std::vector<std::uint16_t> during = paths(pft, up);
        for (std::size_t i = 0; i < before.size(); ++i)
            if (before[i] != 30) REQUIRE(during[i] == before[i]);
        share = shares(during);
        CHECK(share[10] == Approx(1.0 / 3).margin(0.03));
        CHECK(share[20] == Approx(2.0 / 3).margin(0.03));
    }
    SECTION("one port is found among many that are down") {
        up.set_all(false);
        up.set(N1PortId{10}, true);
        CHECK(paths(pft, up) == std::vector<std::uint16_t>(8000, 10));
    }
    SECTION("the alternate comes last") {
        for (const N1PortId port : {N1PortId{10}, N1PortId{20}, N1PortId{30}}) up.set(port, false);
        CHECK(paths(pft, up) == std::vector<std::uint16_t>(8000, 40));
        up.set(N1PortId{40}, false);
        CHECK(pft.route(data_pci(5), up) == kDown);
    }
    SECTION("the order of the ports says nothing") {
        Hops turned = three_ports();
        std::reverse(turned.ports.begin(), turned.ports.end());
        CHECK(paths(built({route_to(5, turned)}), up) == before);
    }
    SECTION("in a table without one of the ports, the flows of the others mostly stay") {
        Hops fewer = three_ports();
        fewer.ports.erase(fewer.ports.begin());
        const std::vector<std::uint16_t> after = paths(built({route_to(5, fewer)}), up);
        std::size_t moved = 0;
        for (std::size_t i = 0; i < before.size(); ++i)
            if (before[i] != 10 && before[i] != after[i]) ++moved;
        // A deal from scratch would move about 3000 of them.
        CHECK(moved < 700);
    }
    SECTION("another seed chooses otherwise") {
        PftBuilder builder(2);
        REQUIRE(builder.add(route_to(5, three_ports())));
        CHECK(paths(*builder.build(), up) != before);
    }
}

TEST_CASE("64 ports, one of them nearly everything") {
    Hops hops;
    for (std::uint16_t port = 0; port < kHopsMax; ++port)
        hops.ports.push_back({N1PortId{port}, static_cast<std::uint16_t>(port == 9 ? 65535 : 1)});
    const auto share = shares(paths(built({route_to(5, hops)}), all_up()));
    // Each has a share at least, so that none that routing has chosen is idle.
    CHECK(share.size() == kHopsMax);
    CHECK(share.at(9) == Approx(193.0 / 256).margin(0.02));
}

TEST_CASE("what was put in comes out") {
    const std::vector<Route> routes = {
        route_to(0, to_port(4)),          route_to(0, 3, to_port(4, 5)),
        route_to(5, three_ports()),       route_to(5, 1, to_port(2)),
        route_to(9, 65535, three_ports()), route_to(1 << 30, to_port(8, 9))};
    const FlowRoute flow{{Address{5}, Address{7}, CepId{3}, CepId{4}, QosId{2}}, three_ports()};
    std::vector<Route> shuffled(routes.rbegin(), routes.rend());
    const Pft pft = built(shuffled, {flow});
    CHECK(pft.routes() == routes);
    CHECK(pft.flow_routes() == std::vector<FlowRoute>{flow});
    CHECK(pft.destinations() == 3);
}

TEST_CASE("many destinations over the same ports share their memory") {
    std::vector<Route> routes;
    for (std::uint64_t i = 1; i <= 5000; ++i) routes.push_back(route_to(i, three_ports()));
    CHECK(built(routes).bytes() < 5001 * 4 + 1024);
}

TEST_CASE("entries that make no sense are refused with a reason") {
    const std::string half = "route to address 5: ";
    CHECK(error_of({route_to(5, Hops{})}) == half + "0 N-1 ports, expected 1 to 64");
    CHECK(error_of({route_to(5, to_port(4096))}) ==
          half + "N-1 port 4096, expected one below 4096");
    CHECK(error_of({route_to(5, to_port(1, 5000))}) ==
          half + "alternate N-1 port 5000, expected one below 4096");
    CHECK(error_of({route_to(5, Hops{{{N1PortId{1}, 0}}, {}})}) ==
          half + "N-1 port 1 has weight 0, expected 1 or more");
    CHECK(error_of({route_to(5, Hops{{{N1PortId{1}, 1}, {N1PortId{1}, 2}}, {}})}) ==
          half + "N-1 port 1 is given twice, expected once");
    CHECK(error_of({route_to(5, to_port(1)), route_to(6, to_port(1)), route_to(5, to_port(2))}) ==
          "two routes to address 5, expected one");
    CHECK(error_of({route_to(0, 3, to_port(1)), route_to(0, 3, to_port(2))}) ==
          "two routes to the default route, QoS-id 3, expected one");
    const FlowRoute flow{{Address{5}, Address{7}, CepId{3}, CepId{4}, QosId{2}}, to_port(1)};
    CHECK(error_of({}, {flow, flow}) ==
          "two routes of the flow from address 7 CEP-id 4 to address 5 CEP-id 3, expected one");
    CHECK(error_of({}, {{flow.flow, {}}}) ==
          "route to the flow from address 7 CEP-id 4 to address 5 CEP-id 3: 0 N-1 ports, expected "
          "1 to 64");
}
