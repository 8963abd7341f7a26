#include <catch2/catch.hpp>
#include <set>

#include "node.hpp"

// What there is no flow for, how flows end, and what does not fit an outbox.
namespace sluice::transfer {
namespace {

std::vector<efcp::TxItem> items_of(std::size_t count) {
    std::vector<efcp::TxItem> items;
    for (std::size_t i = 1; i <= count; ++i) items.push_back({static_cast<PduToken>(i), 100});
    return items;
}

TEST_CASE("Of a flow that there is not, nothing changes anything", "[transfer]") {
    Node n;
    const mgmt::Bind bound = n.bind(3, CepId{7});
    const auto nobody = GENERATE(CepId{2}, CepId{4000});  // within the table, and beyond
    n.data.set_peer(kNow, {PortId{9}, nobody, bound.peer, CepId{8}, bound.qos, bound.terms}, n.out);
    n.data.drain(kNow, {PortId{9}, nobody}, n.out);
    n.data.shut(kNow, {PortId{9}, nobody}, n.out);
    n.data.unbind({PortId{9}, nobody}, n.out);
    n.data.consumed(kNow, PortId{9}, 1, n.out);
    CHECK(n.data.submit(kNow, PortId{9}, items_of(1), n.out) == 0);
    CHECK(n.data.find(PortId{9}) == nullptr);
    CHECK(n.out.empty());
    CHECK(n.data.flows() == 1);
    CHECK(n.data.find(bound.port) != nullptr);
}

TEST_CASE("A peer that is known stays the same", "[transfer]") {
    Node n;
    const mgmt::Bind bound = n.bind(3, CepId{7});
    n.data.set_peer(kNow,
                    {bound.port, bound.cep, bound.peer, CepId{8}, bound.qos, bound.terms},
                    n.out);
    const PduToken token = n.arrive(kThem, kUs, 3, 7, 0);
    CHECK(n.delivered() == std::vector{token});
}

TEST_CASE("A flow whose peer is not known yet sends nothing and ends nothing", "[transfer]") {
    Node n;
    const mgmt::Bind bound = n.bind(3, std::nullopt);
    CHECK(n.data.find(bound.port) == nullptr);
    CHECK(n.data.submit(kNow, bound.port, items_of(3), n.out) == 0);
    n.data.consumed(kNow, bound.port, 1, n.out);
    n.data.shut(kNow, {bound.port, bound.cep}, n.out);
    CHECK(n.out.empty());
    CHECK(n.data.next_deadline().is_never());
    // Nobody reads any more what comes meanwhile.
    const PduToken token = n.arrive(kThem, kUs, 3, 7, 0);
    n.data.drain(kNow, {bound.port, bound.cep}, n.out);
    n.data.set_peer(kNow,
                    {bound.port, bound.cep, bound.peer, CepId{7}, bound.qos, bound.terms},
                    n.out);
    CHECK(n.out.deliver.empty());
    CHECK(n.dropped() == DropReason::no_flow);
    CHECK(n.out.drop[0].token == token);
}

TEST_CASE("What came for a user that has gone is given back", "[transfer]") {
    Node n;
    const mgmt::Bind bound = n.bind(3, CepId{7}, true);
    REQUIRE(n.data.submit(kNow, bound.port, items_of(1), n.out) == 1);  // else it is over at once
    n.data.drain(kNow, {bound.port, bound.cep}, n.out);
    n.out.clear();
    n.arrive(kThem, kUs, 3, 7, 0);
    CHECK(n.out.deliver.empty());
    CHECK(n.dropped() == DropReason::no_flow);
}

TEST_CASE("A flow whose peer is gone gives back at once what was not acknowledged", "[transfer]") {
    Node n;
    const mgmt::Bind bound = n.bind(3, CepId{7}, true);
    REQUIRE(n.data.submit(kNow, bound.port, items_of(10), n.out) == 10);
    n.out.clear();
    n.data.shut(kNow, {bound.port, bound.cep}, n.out);
    CHECK(n.out.drop.size() == 10);
    REQUIRE(n.out.events.size() == 1);
    CHECK(n.out.events[0].flow == bound.port);
    CHECK((n.out.events[0].events & efcp::event::kDrained) != 0);
    n.out.clear();
    // The timer of before finds nothing to do.
    n.data.on_timeout(n.data.next_deadline(), n.out);
    CHECK(n.out.empty());
    CHECK(n.data.next_deadline().is_never());
    // It is there until it is unbound, and takes nothing.
    CHECK(n.data.flows() == 1);
    n.arrive(kThem, kUs, 3, 7, 0);
    CHECK(n.dropped() == DropReason::no_flow);
}

TEST_CASE("More than an outbox holds is taken, and comes back when the flow ends", "[transfer]") {
    Node n;
    constexpr std::size_t kMany = 2 * efcp::Outbox::kRoom;
    mgmt::Bind bound;
    bound.port = PortId{103};
    bound.cep = CepId{3};
    bound.peer_cep = CepId{7};
    bound.peer = kThem;
    bound.terms.policies = efcp::EfcpPolicies::sluice_reliable(kMany);
    bound.terms.policies.congestion = efcp::Congestion::none;
    n.data.bind(kNow, bound);
    REQUIRE(n.data.submit(kNow, bound.port, items_of(kMany), n.out) == kMany);
    n.out.clear();
    n.data.unbind({bound.port, bound.cep}, n.out);
    std::set<PduToken> back;
    for (const auto& d : n.out.drop) CHECK(back.insert(d.token).second);
    CHECK(back.size() == kMany);
    CHECK(n.data.flows() == 0);
}

TEST_CASE("A flow to ourselves does not leave the node, nor do its acknowledgements",
          "[transfer]") {
    Node n;
    const mgmt::Bind bound = n.bind(3, CepId{4}, true, kUs);
    REQUIRE(n.data.submit(kNow, bound.port, items_of(1), n.out) == 1);
    REQUIRE(n.out.originate.size() == 1);
    CHECK(n.out.originate[0].port == rmt::kNoN1Port);
    n.out.clear();
    const PduToken token = n.arrive(kUs, kUs, 3, 4, 0, rmt::kNoN1Port);
    CHECK(n.delivered() == std::vector{token});
    n.data.consumed(kNow, bound.port, 1, n.out);
    n.data.on_timeout(kNow + Duration::seconds(1), n.out);
    REQUIRE_FALSE(n.out.control.empty());
    for (const auto& control : n.out.control) CHECK(control.port == rmt::kNoN1Port);
}

TEST_CASE("Without a route, what nobody keeps is dropped, and acknowledgements are as lost",
          "[transfer]") {
    Node n;
    const auto reliable = GENERATE(false, true);
    const mgmt::Bind bound = n.bind(3, CepId{7}, reliable);
    REQUIRE(n.data.set_routes({}));
    REQUIRE(n.data.submit(kNow, bound.port, items_of(1), n.out) == 1);
    CHECK(n.out.originate.empty());
    if (reliable)
        CHECK(n.out.drop.empty());
    else
        CHECK(n.dropped() == DropReason::dif_no_route);
    n.out.clear();
    const PduToken token = n.arrive(kThem, kUs, 3, 7, 0);
    CHECK(n.delivered() == std::vector{token});
    n.data.on_timeout(kNow + Duration::milliseconds(500), n.out);
    CHECK(n.out.control.empty());
}

TEST_CASE("A burst for several flows reaches each in its order", "[transfer]") {
    Node n;
    n.bind(3, CepId{7});
    n.bind(4, CepId{8});
    struct Frame {
        std::byte bytes[38]{};
    };
    std::vector<Frame> frames(200);
    std::vector<rmt::RxPdu> pdus;
    std::vector<PduToken> of_3, of_4;
    std::uint64_t next_3 = 0, next_4 = 0;
    for (std::size_t i = 0; i < frames.size(); ++i) {
        // More than a pass in a row for one flow, then by turns.
        const bool is_3 = i < 100 || i % 2 == 0;
        rina::Pci pci;
        pci.source = kThem;
        pci.destination = kUs;
        pci.destination_cep = CepId{is_3 ? 3u : 4u};
        pci.source_cep = CepId{is_3 ? 7u : 8u};
        pci.sequence = is_3 ? next_3++ : next_4++;
        if (pci.sequence == 0) pci.flags = rina::pci_flag::kDrf;
        pci.length = sizeof frames[i].bytes;
        rina::write(pci, rina::kDefaultFormat, frames[i].bytes);
        const auto token = static_cast<PduToken>(i + 1);
        (is_3 ? of_3 : of_4).push_back(token);
        pdus.push_back({token, frames[i].bytes, sizeof frames[i].bytes, sizeof frames[i].bytes,
                        kPort});
    }
    n.data.on_pdus(kNow, pdus, n.out);
    std::vector<PduToken> got_3, got_4;
    for (const auto& d : n.out.deliver)
        (d.flow == PortId{103} ? got_3 : got_4).push_back(d.item.token);
    CHECK(got_3 == of_3);
    CHECK(got_4 == of_4);
    CHECK(n.out.drop.empty());
}

TEST_CASE("Management goes to management, from the port that it came by", "[transfer]") {
    Node n;
    rina::Pci pci;
    pci.type = static_cast<std::uint8_t>(rina::PduType::management);
    pci.source = kThem;
    pci.length = 28 + 10;
    std::byte frame[38]{};
    rina::write(pci, rina::kDefaultFormat, frame);
    const rmt::RxPdu pdu{static_cast<PduToken>(1), frame, sizeof frame, sizeof frame, kOther};
    n.data.on_pdus(kNow, {&pdu, 1}, n.out);
    REQUIRE(n.out.management.size() == 1);
    CHECK(n.out.management[0].from == kOther);
    // Routes say nothing of neighbours.
    CHECK(n.data.route(pci).reason == DropReason::dif_no_destination);
}

TEST_CASE("A table with an entry that cannot be is refused", "[transfer]") {
    Node n;
    CHECK_FALSE(n.data.set_routes({{kThem, {}, {}}}));
    CHECK(n.data.pft().route({.destination = kThem}, [] {
        rmt::N1PortSet up;
        up.set(kPort, true);
        return up;
    }()).status == rmt::RouteStatus::found);
}

}  // namespace
}  // namespace sluice::transfer
