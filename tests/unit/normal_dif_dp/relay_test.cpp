#include <algorithm>
#include <catch2/catch.hpp>
#include <cstring>

#include "dataplane/pdu_meta.hpp"
#include "harness.hpp"
#include "normal_dif/dp/relay_stage.hpp"

using namespace sluice;
using namespace sluice::normal_dif;
using dp::meta_of;
using rina::Address;
using rina::PduType;
using rmt::N1PortId;
using stages::bytes_of;
using stages::pool;

namespace {

constexpr std::uint64_t kOwn = 2;
constexpr std::uint16_t kIn = 3, kOut = 4;

rina::Pci pci_to(std::uint64_t destination, PduType type = PduType::data) {
    rina::Pci pci;
    pci.type = static_cast<std::uint8_t>(type);
    pci.source = Address{9};
    pci.destination = Address{destination};
    pci.destination_cep = rina::CepId{77};
    pci.ttl = 10;
    return pci;
}

// A PDU and, if wanted, padding behind it, in as many segments as it takes.
rte_mbuf* pdu(rina::Pci pci, std::uint32_t payload, std::uint16_t port = kIn,
              std::uint32_t padding = 0) {
    pci.length = static_cast<std::uint32_t>(rina::kDefaultFormat.bytes() + payload);
    std::vector<std::byte> frame(pci.length + padding);
    for (std::size_t i = 0; i < frame.size(); ++i) frame[i] = static_cast<std::byte>(i * 7);
    rina::write(pci, rina::kDefaultFormat, frame.data());
    rte_mbuf* first = nullptr;
    rte_mbuf* last = nullptr;
    for (std::size_t at = 0; at < frame.size();) {
        rte_mbuf* const m = rte_pktmbuf_alloc(pool().get());
        REQUIRE(m != nullptr);
        const std::size_t part = std::min<std::size_t>(frame.size() - at, 1500);
        std::memcpy(rte_pktmbuf_append(m, static_cast<std::uint16_t>(part)), &frame[at], part);
        at += part;
        if (first == nullptr) {
            first = m;
        } else {
            last->next = m;
            ++first->nb_segs;
            first->pkt_len += m->data_len;
        }
        last = m;
    }
    meta_of(first) = {port, 0, 0};
    return first;
}

rina::Pci pci_of(const rte_mbuf* m) {
    const auto bytes = bytes_of(m);
    rina::Pci pci;
    REQUIRE(rina::parse(bytes, bytes.size(), rina::kDefaultFormat, pci) == rina::PciError::none);
    return pci;
}

struct Port {
    Port(N1PortId id, std::uint32_t channel, std::string_view protection,
         std::vector<policy::Param> queue)
        : flow(*rmt::make_scheduler("fifo", queue),
               *sdup::make_protection(protection, {}, rina::kDefaultFormat)) {
        flow.port = id;
        flow.channel = channel;
        flow.max_sdu = 65000;
        flow.gate = &gate;
    }
    void with_credits(std::uint64_t units) {
        gate.has_credits = true;
        gate.unit_shift = 11;
        gate.header = 4;
        gate.send_limit = units;
    }
    dp::FlowGate gate;
    N1Flow flow;
};

// Two N-1 flows of one device: address 5 is behind kOut, and behind kIn are all else.
struct Relay {
    explicit Relay(std::string_view in = "none", std::string_view out = "none",
                   std::vector<policy::Param> queue = {})
        : first(N1PortId{kIn}, 30, in, queue), second(N1PortId{kOut}, 40, out, queue) {
        rmt::PftBuilder builder(1);
        const std::pair<std::uint64_t, std::uint16_t> entries[] = {{5, kOut}, {6, kIn}, {8, 100}};
        for (const auto& [to, port] : entries)
            REQUIRE(builder.add(rmt::Route{Address{to}, {}, {{{N1PortId{port}, 1}}, {}}}));
        routes.publish(std::make_unique<const rmt::Pft>(*builder.build()));
        static int made = 0;
        auto ring = dp::Punt::create("relay" + std::to_string(made++), 64);
        REQUIRE(ring);
        punt = std::move(*ring);
        RelayStage::Options options;
        options.rmt.own = Address{kOwn};
        options.routes = &routes;
        options.punt = punt.get();
        options.punt_quota = 4;
        options.pool = pool().get();
        stage.emplace(options);
        run.emplace(*stage);
        for (Port* port : {&first, &second}) {
            mail(RelayMail::attach, 0, 0, &port->flow);
            mail(RelayMail::port_up, port->flow.port.value, 1);
        }
    }
    ~Relay() {
        run->stop();
        run->out[0].clear();
        run->out[1].clear();
        drain_punt();
        CHECK(pool().in_use() == 0);
    }
    void mail(RelayMail type, std::uint32_t arg, std::uint64_t word, void* pointer = nullptr) {
        dp::Mail m;
        m.type = static_cast<std::uint32_t>(type);
        m.arg = arg;
        m.words[0] = word;
        m.pointer = pointer;
        run->mail(m);
    }
    std::vector<dp::PuntItem> drain_punt() {
        std::vector<dp::PuntItem> items(64);
        items.resize(punt->drain(items.data(), 64));
        for (const dp::PuntItem& item : items) rte_pktmbuf_free(item.packet);
        return items;
    }
    std::vector<rte_mbuf*>& sent() { return run->out[0].packets; }

    dp::Qsbr qsbr;
    dp::Published<rmt::Pft> routes{qsbr};
    std::unique_ptr<dp::Punt> punt;
    Port first, second;
    std::optional<RelayStage> stage;
    std::optional<stages::Harness> run;
};

}  // namespace

TEST_CASE("a PDU goes from one N-1 flow to the other with a hop less") {
    Relay r;
    r.first.with_credits(0);
    r.run->process({pdu(pci_to(5), 100), pdu(pci_to(5), 0, kIn, 20), pdu(pci_to(5), 4000)});
    REQUIRE(r.sent().size() == 3);
    const std::uint32_t lengths[] = {128, 28, 4028};
    for (std::size_t i = 0; i < 3; ++i) {
        const rte_mbuf* const m = r.sent()[i];
        CHECK(m->pkt_len == lengths[i]);
        CHECK(meta_of(m).port_id == 40);
        const rina::Pci pci = pci_of(m);
        CHECK(pci.ttl == 9);
        CHECK(pci.length == lengths[i]);
    }
    CHECK(r.run->own(RelayStage::kRelayed) == 3);
    CHECK(r.run->own(RelayStage::kRelayedBytes) == 128 + 28 + 4028);
    // The device may have its buffers back: 132, 52 and 4032 bytes in units of 2 KiB.
    CHECK(r.first.gate.consumed == 1 + 1 + 2);
}

TEST_CASE("padding in segments of its own is cut off") {
    Relay r;
    r.run->process({pdu(pci_to(5), 1400, kIn, 3000)});
    REQUIRE(r.sent().size() == 1);
    CHECK(r.sent()[0]->pkt_len == 1428);
    CHECK(r.sent()[0]->nb_segs == 1);
    CHECK(bytes_of(r.sent()[0]).size() == 1428);
}

TEST_CASE("what is for this IPC process") {
    Relay r;
    r.run->process({pdu(pci_to(kOwn), 10), pdu(pci_to(5), 10), pdu(pci_to(kOwn), 20, kIn, 5),
                    pdu(pci_to(0, PduType::management), 30, kIn, 9)});
    REQUIRE(r.run->out[1].packets.size() == 2);
    CHECK(r.run->out[1].packets[1]->pkt_len == 48);
    CHECK(meta_of(r.run->out[1].packets[0]).port_id == 77);
    CHECK(r.sent().size() == 1);
    std::vector<dp::PuntItem> items(8);
    items.resize(r.punt->drain(items.data(), 8));
    REQUIRE(items.size() == 1);
    CHECK(items[0].type == kPuntManagementPdu);
    CHECK(items[0].words[0] == kIn);
    CHECK(items[0].packet->pkt_len == 58);
    rte_pktmbuf_free(items[0].packet);
    // One neighbour that floods management does not take all of the control thread.
    r.drain_punt();
    for (int i = 0; i < 6; ++i) r.run->process({pdu(pci_to(0, PduType::management), 30)});
    CHECK(r.run->drops(DropReason::punt_quota) >= 1);
}

TEST_CASE("what cannot be relayed is dropped, each for its reason") {
    Relay r;
    rina::Pci dead = pci_to(5);
    dead.ttl = 0;
    rte_mbuf* const shorter = pdu(pci_to(5), 0);
    REQUIRE(rte_pktmbuf_trim(shorter, 4) == 0);
    r.run->process({pdu(dead, 10), shorter, pdu(pci_to(7), 10), pdu(pci_to(6), 10),
                    pdu(pci_to(8), 10), pdu(pci_to(5), 10, 99)});
    CHECK(r.sent().empty());
    CHECK(r.run->drops(DropReason::dif_ttl_expired) == 1);
    CHECK(r.run->drops(DropReason::too_short) == 1);
    CHECK(r.run->drops(DropReason::dif_no_route) == 1);
    CHECK(r.run->drops(DropReason::dif_returning) == 1);
    CHECK(r.run->drops(DropReason::dif_n1_down) == 2);  // a port that is down, and none
    r.mail(RelayMail::allow_source, kIn, 10);
    r.run->process({pdu(pci_to(5), 10)});
    CHECK(r.run->drops(DropReason::dif_wrong_source) == 1);
    r.mail(RelayMail::allow_source, kIn, 9);
    r.run->process({pdu(pci_to(5), 10)});
    CHECK(r.sent().size() == 1);
    r.second.flow.max_sdu = 100;
    r.run->process({pdu(pci_to(5), 73)});
    CHECK(r.run->drops(DropReason::too_long) == 1);
    CHECK(r.stage->acked() == 6);
}

TEST_CASE("without credit PDUs wait, and go in their order") {
    Relay r;
    r.second.with_credits(3);
    std::vector<rte_mbuf*> burst;
    for (std::uint32_t i = 0; i < 6; ++i) burst.push_back(pdu(pci_to(5), i));
    r.run->process(burst);
    CHECK(r.sent().size() == 3);
    CHECK(r.run->own(RelayStage::kQueued) == 3);
    CHECK(r.run->wait() == dp::Wait::poll_only);
    CHECK_FALSE(r.run->poll(Instant{1}));
    CHECK(r.second.gate.starved != dp::FlowGate::kNotStarved);
    // One behind them does not overtake.
    r.second.gate.send_limit = 5;
    r.run->process({pdu(pci_to(5), 6)});
    CHECK(r.sent().size() == 3);
    CHECK(r.run->poll(Instant{2}));
    CHECK(r.sent().size() == 5);
    r.second.gate.send_limit = 100;
    r.run->poll(Instant{3});
    REQUIRE(r.sent().size() == 7);
    for (std::uint32_t i = 0; i < 7; ++i) CHECK(r.sent()[i]->pkt_len == 28 + i);
    CHECK(r.second.gate.starved == dp::FlowGate::kNotStarved);
    CHECK(r.run->wait() == dp::Wait::armed);
    CHECK(r.second.flow.submitted == 7);
}

TEST_CASE("a PDU that costs several units waits for all of them") {
    Relay r;
    r.second.with_credits(2);
    r.run->process({pdu(pci_to(5), 5000), pdu(pci_to(5), 1)});
    CHECK(r.sent().empty());
    r.run->poll(Instant{1});
    CHECK(r.sent().empty());
    r.second.gate.send_limit = 3;
    r.run->poll(Instant{2});
    CHECK(r.sent().size() == 1);
    r.second.gate.send_limit = 4;
    r.run->poll(Instant{3});
    CHECK(r.sent().size() == 2);
    CHECK(r.second.flow.submitted == 4);
}

TEST_CASE("a device that is full, and a queue that is") {
    Relay r("none", "none", {{"queue_pdus", "2"}});
    r.run->out[0].space = 1;
    r.run->process({pdu(pci_to(5), 0), pdu(pci_to(5), 1), pdu(pci_to(5), 2), pdu(pci_to(5), 3)});
    CHECK(r.sent().size() == 1);
    CHECK(r.run->drops(DropReason::dif_queue_full) == 1);
    r.mail(RelayMail::detach, 0, 0, &r.second.flow);
    CHECK(r.run->drops(DropReason::dif_n1_down) == 2);
    r.run->out[0].space = ~0u;
    CHECK_FALSE(r.run->poll(Instant{1}));
    r.run->process({pdu(pci_to(5), 0)});
    CHECK(r.run->drops(DropReason::dif_n1_down) == 3);
}

TEST_CASE("PDUs of this IPC process leave by the same queues") {
    Relay r;
    r.second.with_credits(1);
    rte_mbuf* const a = pdu(pci_to(5), 1, kOut);
    rte_mbuf* const b = pdu(pci_to(5), 2, kOut);
    r.run->process({a, b}, Instant{0}, 1);
    REQUIRE(r.sent().size() == 1);
    CHECK(pci_of(r.sent()[0]).ttl == 10);  // its first hop is the next
    r.second.gate.send_limit = 2;
    r.run->poll(Instant{1});
    CHECK(r.sent().size() == 2);
}

TEST_CASE("each N-1 flow has its own protection, also for what is in pieces or shared") {
    Relay out("none", "crc32c"), in("crc32c", "none");
    for (const std::uint32_t payload : {0u, 100u, 1471u, 1472u, 5000u, 60000u}) {
        rte_mbuf* const m = pdu(pci_to(5), payload);
        const auto before = bytes_of(m);
        if (payload == 100) rte_mbuf_refcnt_update(m, 1);
        out.run->process({m});
        if (payload == 100) {
            CHECK(bytes_of(m).size() == before.size());  // somebody else is still looking at it
            rte_pktmbuf_free(m);
        }
        REQUIRE(out.sent().size() == 1);
        rte_mbuf* const sealed = out.sent()[0];
        out.sent().clear();
        CHECK(sealed->pkt_len == before.size() + 4);
        meta_of(sealed).port_id = kIn;
        in.run->process({sealed});
        REQUIRE(in.sent().size() == 1);
        auto after = bytes_of(in.sent()[0]);
        CHECK(pci_of(in.sent()[0]).ttl == 8);
        after[rina::PciFormat::kTtlAt] = before[rina::PciFormat::kTtlAt];
        CHECK((after == before));
        in.run->out[0].clear();
    }
    // With something else where the CRC should be.
    in.run->process({pdu(pci_to(5), 100, kIn, 4), pdu(pci_to(5), 3000, kIn, 4)});
    CHECK(in.sent().empty());
    CHECK(in.run->drops(DropReason::dif_bad_checksum) == 2);
}
