#include <rapidcheck.h>

#include <algorithm>
#include <array>
#include <catch2/catch.hpp>
#include <map>
#include <optional>
#include <set>
#include <vector>

#include "base/rng.hpp"
#include "normal_dif/core/rmt/rmt.hpp"
#include "rina/inet_checksum.hpp"

using namespace sluice;
using namespace sluice::rmt;
using rina::Address;
using rina::CepId;
using rina::Pci;
using rina::QosId;
using Bytes = std::vector<std::byte>;

namespace {

// Few values, so that entries and PDUs meet; in ranges that make tables of each kind.
Address any_address(std::uint64_t base) {
    return Address{base + *rc::gen::inRange<std::uint64_t>(1, 12) *
                              (base == 0 ? 1 : (std::uint64_t{1} << 29) + 7)};
}
QosId any_qos() { return QosId{*rc::gen::inRange<std::uint16_t>(0, 4)}; }
N1PortId any_port() { return N1PortId{*rc::gen::inRange<std::uint16_t>(0, 10)}; }

Hops any_hops() {
    Hops hops;
    const auto ports = *rc::gen::inRange<std::size_t>(1, 5);
    while (hops.ports.size() < ports) {
        const N1PortId port = any_port();
        if (std::none_of(hops.ports.begin(), hops.ports.end(),
                         [&](const NextHop& h) { return h.port == port; }))
            hops.ports.push_back({port, *rc::gen::inRange<std::uint16_t>(1, 9)});
    }
    if (*rc::gen::arbitrary<bool>()) hops.alternate = any_port();
    return hops;
}

FlowKey any_flow(std::uint64_t base) {
    return {any_address(base), any_address(base), CepId{*rc::gen::inRange(0u, 3u)},
            CepId{*rc::gen::inRange(0u, 3u)}, any_qos()};
}

Pci pci_of(const FlowKey& flow) {
    Pci pci;
    pci.destination = flow.destination;
    pci.source = flow.source;
    pci.destination_cep = flow.destination_cep;
    pci.source_cep = flow.source_cep;
    pci.qos = flow.qos;
    return pci;
}

// The rules as one would tell them.
struct Naive {
    std::map<std::pair<std::uint64_t, std::optional<std::uint16_t>>, Hops> routes;
    std::map<FlowKey, Hops> flows;

    const Hops* find(const FlowKey& flow) const {
        if (const auto at = flows.find(flow); at != flows.end()) return &at->second;
        for (const std::uint64_t address : {flow.destination.value, std::uint64_t{0}}) {
            for (const std::optional<std::uint16_t> qos :
                 {std::optional(flow.qos.value), std::optional<std::uint16_t>()})
                if (const auto at = routes.find({address, qos}); at != routes.end())
                    return &at->second;
        }
        return nullptr;
    }
};

bool is_right(const NextPort& next, const Hops* hops, const N1PortSet& up) {
    if (hops == nullptr) return next == NextPort{};
    std::set<std::uint16_t> may;
    for (const NextHop& hop : hops->ports)
        if (up.test(hop.port)) may.insert(hop.port.value);
    if (may.empty() && hops->alternate && up.test(*hops->alternate))
        may.insert(hops->alternate->value);
    if (may.empty()) return next == NextPort{kNoN1Port, RouteStatus::down};
    return next.status == RouteStatus::found && may.contains(next.port.value);
}

N1PortSet any_ports_up() {
    N1PortSet up;
    for (std::uint16_t port = 0; port < 10; ++port)
        up.set(N1PortId{port}, *rc::gen::inRange(0, 10) < 7);
    return up;
}

Bytes any_pdu(const rina::PciFormat& format) {
    Pci pci = pci_of(any_flow(0));
    pci.ttl = *rc::gen::arbitrary<std::uint16_t>();
    pci.flags = *rc::gen::arbitrary<std::uint16_t>();
    pci.checksum = *rc::gen::arbitrary<std::uint16_t>();
    pci.sequence = *rc::gen::arbitrary<std::uint32_t>() & format.sequence_mask();
    const auto payload = *rc::gen::arbitrary<std::vector<std::uint8_t>>();
    Bytes pdu(format.bytes());
    for (const std::uint8_t byte : payload) pdu.push_back(std::byte{byte});
    pci.length = static_cast<std::uint32_t>(pdu.size());
    rina::write(pci, format, pdu.data());
    return pdu;
}

RxPdu rx(Bytes& frame) {
    RxPdu pdu;
    pdu.head = frame.data();
    pdu.head_bytes = static_cast<std::uint32_t>(std::min(frame.size(), rina::kPciBytesMax));
    pdu.frame_bytes = static_cast<std::uint32_t>(frame.size());
    pdu.arrival = N1PortId{100};
    return pdu;
}

Pft one_way_out() {
    PftBuilder builder(1);
    RC_ASSERT(builder.add(Route{kDefaultRoute, {}, {{{N1PortId{1}, 1}}, {}}}).has_value());
    auto pft = builder.build();
    RC_ASSERT(pft.has_value());
    return std::move(*pft);
}

}  // namespace

TEST_CASE("a forwarding table does what its entries say", "[prop]") {
    CHECK(rc::check("against the rules", [] {
        const auto base = *rc::gen::element<std::uint64_t>(0, 1000, std::uint64_t{1} << 40);
        Naive naive;
        PftBuilder builder(*rc::gen::arbitrary<std::uint64_t>());
        const auto routes = *rc::gen::inRange(0, 25);
        for (int i = 0; i < routes; ++i) {
            const Address to = *rc::gen::inRange(0, 6) == 0 ? kDefaultRoute : any_address(base);
            std::optional<QosId> qos;
            if (*rc::gen::arbitrary<bool>()) qos = any_qos();
            const auto number = qos ? std::optional(qos->value) : std::nullopt;
            if (const auto [at, is_new] = naive.routes.try_emplace({to.value, number}, any_hops());
                is_new)
                RC_ASSERT(builder.add(Route{to, qos, at->second}).has_value());
        }
        const auto flows = *rc::gen::inRange(0, 6);
        for (int i = 0; i < flows; ++i)
            if (const auto [at, is_new] = naive.flows.try_emplace(any_flow(base), any_hops());
                is_new)
                RC_ASSERT(builder.add(FlowRoute{at->first, at->second}).has_value());
        const auto pft = builder.build();
        RC_ASSERT(pft.has_value());
        RC_ASSERT(pft->routes().size() == naive.routes.size());
        RC_ASSERT(pft->flow_routes().size() == naive.flows.size());
        const N1PortSet up = any_ports_up();
        for (int i = 0; i < 40; ++i) {
            const FlowKey flow = any_flow(base);
            const NextPort next = pft->route(pci_of(flow), up);
            RC_ASSERT(is_right(next, naive.find(flow), up));
            RC_ASSERT(pft->route(pci_of(flow), up) == next);
        }
        for (const auto& [flow, hops] : naive.flows)
            RC_ASSERT(is_right(pft->route(pci_of(flow), up), &hops, up));
    }));
}

TEST_CASE("large tables of random addresses", "[prop]") {
    CHECK(rc::check("every one is found, and no other", [] {
        Rng rng(*rc::gen::arbitrary<std::uint64_t>());
        const auto count = *rc::gen::inRange<std::size_t>(1, 3000);
        const auto shift = *rc::gen::inRange(0u, 54u);
        const auto low = *rc::gen::inRange(0u, 10u);
        std::map<std::uint64_t, std::uint16_t> naive;
        for (std::size_t i = 0; i < count; ++i)
            if (const std::uint64_t a = rng.next() >> shift << low; a != 0)
                naive.emplace(a, static_cast<std::uint16_t>(rng.below(kN1PortsMax)));
        PftBuilder builder(rng.next());
        for (const auto& [address, port] : naive)
            RC_ASSERT(builder.add(Route{Address{address}, {}, {{{N1PortId{port}, 1}}, {}}})
                          .has_value());
        const auto pft = builder.build();
        RC_ASSERT(pft.has_value());
        RC_ASSERT(pft->destinations() == naive.size());
        N1PortSet up;
        up.set_all(true);
        for (const auto& [address, port] : naive) {
            RC_ASSERT(pft->route(pci_of({Address{address}, {}, {}, {}, {}}), up).port.value ==
                      port);
            for (const std::uint64_t other : {address + 1, address ^ std::uint64_t{1} << 32})
                if (!naive.contains(other))
                    RC_ASSERT(pft->route(pci_of({Address{other}, {}, {}, {}, {}}), up) ==
                              NextPort{});
        }
    }));
}

TEST_CASE("flows are spread by weight", "[prop]") {
    CHECK(rc::check("whatever their names look like", [] {
        Hops hops;
        double weights = 0;
        const auto ports = *rc::gen::inRange<std::uint16_t>(2, 9);
        for (std::uint16_t port = 0; port < ports; ++port) {
            hops.ports.push_back({N1PortId{port}, *rc::gen::inRange<std::uint16_t>(1, 20)});
            weights += hops.ports.back().weight;
        }
        PftBuilder builder(*rc::gen::inRange<std::uint64_t>(0, 1000));
        RC_ASSERT(builder.add(Route{kDefaultRoute, {}, hops}).has_value());
        const auto pft = builder.build();
        N1PortSet up;
        up.set_all(true);
        // Names differ in one part only, by steps: what address and CEP-id allocation makes.
        const auto part = *rc::gen::inRange(0, 4);
        const std::uint64_t step = std::uint64_t{1} << *rc::gen::inRange(0, 8);
        constexpr std::uint64_t kFlows = 4000;
        std::vector<double> flows(ports);
        for (std::uint64_t i = 1; i <= kFlows; ++i) {
            FlowKey flow{Address{5}, Address{6}, CepId{7}, CepId{8}, QosId{0}};
            const std::uint64_t name = i * step;
            if (part == 0) flow.destination = Address{name};
            if (part == 1) flow.source = Address{name};
            if (part == 2) flow.destination_cep = CepId{static_cast<std::uint32_t>(name)};
            if (part == 3) flow.source_cep = CepId{static_cast<std::uint32_t>(name)};
            flows[pft->route(pci_of(flow), up).port.value] += 1;
        }
        for (const NextHop& hop : hops.ports) {
            const double share = flows[hop.port.value] / kFlows;
            // Shares are counted in 256ths; chance adds 0.008 for the standard deviation.
            RC_ASSERT(std::abs(share - hop.weight / weights) < 0.005 + 5 * 0.008);
        }
    }));
}

TEST_CASE("relayed PDUs", "[prop]") {
    CHECK(rc::check("a checksum that was adjusted is the one computed anew", [] {
        const bool wide = *rc::gen::arbitrary<bool>();
        RmtParams params;
        params.format = wide ? rina::kWideFormat : rina::kDefaultFormat;
        params.own = Address{1000};
        params.inet_checksum = true;
        Bytes frame = any_pdu(params.format);
        rina::seal_inet_checksum(frame);
        const Pft pft = one_way_out();
        N1PortSet up;
        up.set_all(true);
        const RxPdu pdu = rx(frame);
        std::array<Decision, 1> out;
        Rmt(params).decide(std::span(&pdu, 1), pft, up, out);
        if (out[0].pci.ttl == 0) {
            RC_ASSERT(out[0].reason == DropReason::dif_ttl_expired);
        } else {
            RC_ASSERT(out[0].kind == Decision::Kind::forward);
        }
        RC_ASSERT(rina::has_inet_checksum(frame));
        Bytes anew = frame;
        rina::seal_inet_checksum(anew);
        RC_ASSERT(frame == anew);
        mark_congestion(frame.data(), true);
        anew = frame;
        rina::seal_inet_checksum(anew);
        RC_ASSERT(frame == anew);
    }));
    CHECK(rc::check("any bytes: a decision, and nothing rewritten but the TTL", [] {
        RmtParams params;
        params.own = Address{*rc::gen::inRange<std::uint64_t>(0, 12)};
        const bool wide = *rc::gen::arbitrary<bool>();
        if (wide) params.format = rina::kWideFormat;
        Bytes frame = any_pdu(params.format);
        const auto flips = *rc::gen::container<std::vector<std::pair<std::size_t, std::uint8_t>>>(
            rc::gen::pair(rc::gen::inRange<std::size_t>(0, 40),
                          rc::gen::arbitrary<std::uint8_t>()));
        for (const auto& [at, mask] : flips)
            if (at < frame.size() && flips.size() < 6) frame[at] ^= std::byte{mask};
        frame.resize(*rc::gen::inRange<std::size_t>(0, frame.size() + 30));
        const Pft pft = one_way_out();
        N1PortSet up;
        up.set_all(true);
        const Bytes before = frame;
        const RxPdu pdu = rx(frame);
        std::array<Decision, 1> out;
        Rmt(params).decide(std::span(&pdu, 1), pft, up, out);
        const Decision& decision = out[0];
        Bytes expected = before;
        Pci pci;
        const bool parses =
            rina::parse(before, before.size(), params.format, pci) == rina::PciError::none;
        RC_ASSERT(parses || decision.kind == Decision::Kind::drop);
        if (decision.kind != Decision::Kind::drop) {
            RC_ASSERT(decision.pci == pci);
        }
        if (decision.kind == Decision::Kind::forward) {
            RC_ASSERT(pci.destination != rina::kThisHop);
            --pci.ttl;
            rina::write(pci, params.format, expected.data());
        }
        RC_ASSERT(frame == expected);
    }));
}
