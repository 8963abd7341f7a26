#include <catch2/catch.hpp>
#include <set>

#include "node.hpp"

namespace sluice::transfer {
namespace {

TEST_CASE("What is for others goes on, with a hop less", "[transfer]") {
    Node n;
    const PduToken token = n.arrive(kThem, kFar, 1, 1, 0);
    REQUIRE(n.out.forward.size() == 1);
    CHECK(n.out.forward[0].port == kOther);
    CHECK(n.out.forward[0].token == token);
    CHECK(n.out.forward[0].bytes == 38);
    n.out.clear();
    n.arrive(kThem, Address{9}, 1, 1, 0);
    CHECK(n.dropped() == DropReason::dif_no_route);
}

TEST_CASE("Data reaches the flow of its CEP-id, and no other", "[transfer]") {
    Node n;
    n.bind(3, CepId{7});
    n.bind(4, CepId{8});
    const PduToken token = n.arrive(kThem, kUs, 4, 8, 0);
    CHECK(n.delivered() == std::vector{token});
    CHECK(n.out.deliver[0].flow == PortId{104});
    CHECK(n.out.deliver[0].item.bytes == 10);
    n.out.clear();
    n.arrive(kThem, kUs, 9, 8, 0);
    CHECK(n.dropped() == DropReason::no_flow);
    n.out.clear();
    SECTION("a stolen CEP-id") {
        n.arrive(kThem, kUs, 3, 8, 0);
        CHECK(n.dropped() == DropReason::efcp_wrong_peer);
    }
    SECTION("another member") {
        n.arrive(kFar, kUs, 4, 8, 1, kOther);
        CHECK(n.dropped() == DropReason::efcp_wrong_peer);
    }
    SECTION("our own address, from outside") {
        n.arrive(kUs, kUs, 4, 8, 1);
        CHECK(n.dropped() == DropReason::efcp_wrong_peer);
    }
    SECTION("from inside, another's address") {
        n.arrive(kThem, kUs, 4, 8, 1, rmt::kNoN1Port);
        CHECK(n.dropped() == DropReason::efcp_wrong_peer);
    }
}

TEST_CASE("Data that overtakes the answer waits for it", "[transfer]") {
    Node n;
    const mgmt::Bind bound = n.bind(3, std::nullopt);
    std::vector<PduToken> tokens;
    for (std::uint64_t i = 0; i < 4; ++i) tokens.push_back(n.arrive(kThem, kUs, 3, 7, i));
    CHECK(n.out.empty());
    n.arrive(kThem, kUs, 3, 7, 4);
    CHECK(n.dropped() == DropReason::efcp_reorder_full);
    n.out.clear();
    n.arrive(kFar, kUs, 3, 7, 4, kOther);
    CHECK(n.dropped() == DropReason::efcp_wrong_peer);
    n.out.clear();
    SECTION("and is delivered then") {
        n.data.set_peer(kNow,
                        {bound.port, bound.cep, bound.peer, CepId{7}, bound.qos, bound.terms},
                        n.out);
        CHECK(n.delivered() == tokens);
        CHECK(n.out.drop.empty());
    }
    SECTION("and is looked at with what the answer says") {
        n.data.set_peer(kNow,
                        {bound.port, bound.cep, bound.peer, CepId{8}, bound.qos, bound.terms},
                        n.out);
        CHECK(n.out.deliver.empty());
        CHECK(n.out.drop.size() == tokens.size());
    }
    SECTION("and is given back if none comes") {
        n.data.unbind({bound.port, bound.cep}, n.out);
        CHECK(n.out.drop.size() == tokens.size());
        CHECK(n.data.flows() == 0);
    }
}

TEST_CASE("What is written goes out by the forwarding table", "[transfer]") {
    Node n;
    const mgmt::Bind bound = n.bind(3, CepId{7}, true);
    std::vector<efcp::TxItem> items;
    for (std::uintptr_t i = 1; i <= 10; ++i) items.push_back({static_cast<PduToken>(i), 100});
    REQUIRE(n.data.submit(kNow, bound.port, items, n.out) == 10);
    REQUIRE_FALSE(n.out.originate.empty());
    for (const auto& o : n.out.originate) {
        CHECK(o.port == kPort);
        CHECK(o.item.kept);
        CHECK(o.item.pci.destination == kThem);
    }
    CHECK(n.data.next_deadline() > kNow);
    CHECK_FALSE(n.data.next_deadline().is_never());
    n.out.clear();

    SECTION("again after a while") {
        const Instant later = n.data.next_deadline();
        n.data.on_timeout(later, n.out);
        CHECK_FALSE(n.out.originate.empty());
    }
    SECTION("and each buffer comes back once") {
        n.data.unbind_all(n.out);
        std::set<PduToken> back;
        for (const auto& d : n.out.drop) CHECK(back.insert(d.token).second);
        CHECK(back.size() == 10);
        CHECK(n.data.next_deadline().is_never());
        CHECK(n.data.submit(kNow, bound.port, items, n.out) == 0);
    }
    SECTION("but not after the user has gone") {
        n.data.drain(kNow, {bound.port, bound.cep}, n.out);
        CHECK(n.data.submit(kNow, bound.port, items, n.out) == 0);
    }
    SECTION("while its port is down, nothing leaves and nothing is lost") {
        n.data.set_port(kPort, false);
        n.data.on_timeout(n.data.next_deadline(), n.out);
        CHECK(n.out.originate.empty());
        CHECK(n.out.drop.empty());
    }
}

TEST_CASE("A table that contradicts itself changes nothing", "[transfer]") {
    Node n;
    CHECK_FALSE(n.data.set_routes({{kThem, {}, {{{kPort, 1}}, {}}},
                                   {kThem, {}, {{{kOther, 1}}, {}}}}));
    n.arrive(kThem, kFar, 1, 1, 0);
    CHECK(n.out.forward.size() == 1);
}

}  // namespace
}  // namespace sluice::transfer
