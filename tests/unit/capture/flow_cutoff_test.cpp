#include "capture/flow_cutoff.hpp"

#include <numeric>

#include "base/rng.hpp"
#include "support.hpp"

namespace sluice::capture {
namespace {

using test::Packet;
using test::Pool;
using Bytes = std::vector<std::uint8_t>;

constexpr std::uint8_t kSyn = 0x02, kAck = 0x10;

void put16(Bytes& b, std::uint32_t v) {
    b.push_back(static_cast<std::uint8_t>(v >> 8));
    b.push_back(static_cast<std::uint8_t>(v));
}
void put32(Bytes& b, std::uint32_t v) {
    put16(b, v >> 16);
    put16(b, v);
}

struct Spec {
    std::uint32_t from = 0x0a000001, to = 0x0a000002;
    std::uint16_t from_port = 1000, to_port = 80;
    std::uint8_t protocol = 6;
    std::uint8_t flags = kAck;
    unsigned size = 100;
    std::uint16_t fragment = 0;
    std::vector<std::uint16_t> vlans{};
    bool six = false;
    Bytes extensions{};  // of IPv6; the first is a hop-by-hop header

    Spec back() const {
        Spec s = *this;
        std::swap(s.from, s.to);
        std::swap(s.from_port, s.to_port);
        return s;
    }
};

Bytes frame_of(const Spec& s) {
    Bytes b(12, 2);
    for (const std::uint16_t vlan : s.vlans) {
        put16(b, 0x8100);
        put16(b, vlan);
    }
    if (s.six) {
        put16(b, 0x86dd);
        put32(b, 0x60000000);
        put16(b, 100);
        b.push_back(s.extensions.empty() ? s.protocol : std::uint8_t{0});
        b.push_back(64);
        for (const std::uint32_t end : {s.from, s.to}) {
            for (const std::uint32_t word : {0x20010db8u, 0u, 0u, end}) put32(b, word);
        }
        b.insert(b.end(), s.extensions.begin(), s.extensions.end());
    } else {
        put16(b, 0x0800);
        put32(b, 0x45000064);
        put16(b, 1);
        put16(b, s.fragment);
        b.push_back(64);
        b.push_back(s.protocol);
        put16(b, 0);
        put32(b, s.from);
        put32(b, s.to);
    }
    put16(b, s.from_port);
    put16(b, s.to_port);
    put32(b, 0);
    put32(b, 0);
    b.push_back(0x50);
    b.push_back(s.flags);
    if (b.size() < s.size) b.resize(s.size);
    return b;
}

class Cutoff {
  public:
    explicit Cutoff(std::uint64_t bytes, std::uint32_t flows = 1024,
                    Duration idle = Duration::seconds(10))
        : cutoff(*FlowCutoff::create({bytes, flows, idle, 42})) {}

    Packet packet(const Bytes& b, std::uint16_t segment = 2048) {
        Packet p(pool.packet(static_cast<unsigned>(b.size()), 0, segment));
        std::size_t at = 0;
        for (rte_mbuf* m = p.get(); m != nullptr; m = m->next) {
            if (m->data_len != 0)
                std::memcpy(rte_pktmbuf_mtod(m, void*), &b[at], m->data_len);
            at += m->data_len;
        }
        return p;
    }
    bool keeps(const Bytes& b, std::uint16_t segment = 2048) {
        const Packet p = packet(b, segment);
        rte_mbuf* one = p.get();
        std::uint16_t out = 0xffff;
        const unsigned n = cutoff.keep(&one, 1, &out, now);
        REQUIRE(n <= 1);
        if (n == 1) REQUIRE(out == 0);
        return n == 1;
    }
    bool keeps(const Spec& s) { return keeps(frame_of(s)); }

    Pool pool{511};
    FlowCutoff cutoff;
    Instant now = Instant::zero() + Duration::seconds(1);
};

}  // namespace

TEST_CASE("a flow is cut after so many bytes, both directions together") {
    Cutoff c(250);
    const Spec s;
    CHECK(c.keeps(s));
    CHECK(c.keeps(s.back()));
    CHECK(c.keeps(s));  // crosses the limit, and is kept whole
    CHECK_FALSE(c.keeps(s.back()));
    CHECK_FALSE(c.keeps(s));
    CHECK(c.cutoff.counters().flows == 1);
    CHECK(c.cutoff.counters().cut_packets == 2);
    CHECK(c.cutoff.counters().cut_bytes == 200);
    CHECK(c.cutoff.counters().forgotten == 0);
}

TEST_CASE("a limit that is met exactly is used up") {
    Cutoff c(200);
    CHECK(c.keeps(Spec{}));
    CHECK(c.keeps(Spec{}));
    CHECK_FALSE(c.keeps(Spec{}));
}

TEST_CASE("each part of the tuple makes another flow") {
    for (const bool six : {false, true}) {
        Cutoff c(1);
        const Spec base{.six = six};
        REQUIRE(c.keeps(base));
        REQUIRE_FALSE(c.keeps(base));
        std::vector<Spec> others(6, base);
        others[0].from = 0x0a000003;
        others[1].to = 0x0a000003;
        others[2].from_port = 1001;
        others[3].to_port = 81;
        others[4].protocol = 17;
        others[5].vlans = {7};
        for (const Spec& s : others) {
            CHECK(c.keeps(s));
            CHECK_FALSE(c.keeps(s.back()));
        }
        // The ports change sides without the addresses: not the same flow the other way round.
        Spec crossed = base;
        std::swap(crossed.from_port, crossed.to_port);
        CHECK(c.keeps(crossed));
    }
}

TEST_CASE("IPv4 and IPv6, and one and two tags, are not mixed up") {
    Cutoff c(1);
    for (const bool six : {false, true}) {
        for (const std::vector<std::uint16_t>& vlans :
             std::vector<std::vector<std::uint16_t>>{{}, {5}, {5, 6}, {6, 5}}) {
            CHECK(c.keeps(Spec{.vlans = vlans, .six = six}));
            CHECK_FALSE(c.keeps(Spec{.vlans = vlans, .six = six}));
        }
    }
    // Priority bits are not part of a VLAN's number.
    CHECK_FALSE(c.keeps(Spec{.vlans = {0x6005}}));
}

TEST_CASE("a tag that the NIC took away still counts") {
    Cutoff c(1);
    REQUIRE(c.keeps(Spec{.vlans = {9}}));
    const Packet p = c.packet(frame_of(Spec{}));
    p->ol_flags |= RTE_MBUF_F_RX_VLAN | RTE_MBUF_F_RX_VLAN_STRIPPED;
    p->vlan_tci = 9;
    rte_mbuf* one = p.get();
    std::uint16_t out = 0;
    CHECK(c.cutoff.keep(&one, 1, &out, c.now) == 0);
    p->vlan_tci = 10;
    CHECK(c.cutoff.keep(&one, 1, &out, c.now) == 1);
}

TEST_CASE("a SYN starts its flow again, its answer does not") {
    Cutoff c(1);
    CHECK(c.keeps(Spec{.flags = kSyn}));
    CHECK_FALSE(c.keeps(Spec{.flags = kSyn | kAck}.back()));
    CHECK_FALSE(c.keeps(Spec{}));
    CHECK(c.keeps(Spec{.flags = kSyn}));
    CHECK_FALSE(c.keeps(Spec{}));
    CHECK(c.cutoff.counters().flows == 2);
    // The same bit in UDP is payload.
    CHECK(c.keeps(Spec{.protocol = 17, .flags = kSyn}));
    CHECK_FALSE(c.keeps(Spec{.protocol = 17, .flags = kSyn}));
}

TEST_CASE("a silent flow starts again") {
    Cutoff c(1, 1024, Duration::seconds(10));
    REQUIRE(c.keeps(Spec{}));
    c.now = c.now + Duration::seconds(9);
    CHECK_FALSE(c.keeps(Spec{}));
    c.now = c.now + Duration::seconds(9);  // since it was last seen, not since it began
    CHECK_FALSE(c.keeps(Spec{}));
    c.now = c.now + Duration::seconds(11);
    CHECK(c.keeps(Spec{}));
    CHECK(c.cutoff.counters().flows == 2);
}

TEST_CASE("what has no flow is always kept") {
    Cutoff c(1);
    Bytes arp(60, 0);
    arp[12] = 0x08;
    arp[13] = 0x06;
    Bytes odd = frame_of(Spec{});
    odd[14] = 0x65;  // says IPv6 in an IPv4 frame
    Bytes short_header = frame_of(Spec{});
    short_header[14] = 0x44;
    for (const Bytes& b : {arp, odd, short_header, Bytes{}, Bytes(13, 0), Bytes(14, 0x81)}) {
        CHECK(c.keeps(b));
        CHECK(c.keeps(b));
    }
    // Wherever a frame ends, up to its ports it has no flow.
    for (const bool six : {false, true}) {
        for (const auto& vlans : {std::vector<std::uint16_t>{}, std::vector<std::uint16_t>{3, 4}}) {
            const Bytes whole = frame_of(Spec{.vlans = vlans, .six = six});
            const std::size_t ports = 14 + 4 * vlans.size() + (six ? 40 : 20) + 4;
            for (std::size_t n = 0; n < ports; ++n) {
                const Bytes cut(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(n));
                CHECK(c.keeps(cut));
                CHECK(c.keeps(cut));
            }
        }
    }
    CHECK(c.cutoff.counters().flows == 0);
}

TEST_CASE("fragments and protocols without ports go by addresses") {
    Cutoff c(1);
    CHECK(c.keeps(Spec{.from_port = 1, .fragment = 0x2000}));
    CHECK_FALSE(c.keeps(Spec{.from_port = 2, .fragment = 0x0010}));
    CHECK(c.keeps(Spec{.from_port = 1, .fragment = 0x4000}));  // "do not fragment" is no fragment
    CHECK(c.keeps(Spec{.from_port = 1, .protocol = 1}));
    CHECK_FALSE(c.keeps(Spec{.from_port = 2, .protocol = 1}.back()));
    CHECK(c.keeps(Spec{.from_port = 1, .protocol = 50}));
}

TEST_CASE("IPv6 extension headers are stepped over") {
    Cutoff c(1);
    REQUIRE(c.keeps(Spec{.six = true}));
    // Hop-by-hop of 8 bytes, destination options of 16 bytes, then TCP.
    Bytes extensions(24, 0);
    extensions[0] = 60;
    extensions[8] = 6;
    extensions[9] = 1;
    CHECK_FALSE(c.keeps(Spec{.six = true, .extensions = extensions}));
    // An atomic fragment (RFC 6946) still has its ports; a real one does not.
    extensions[0] = 44;
    extensions.resize(16);
    extensions[8] = 6;
    extensions[9] = 0;
    CHECK_FALSE(c.keeps(Spec{.six = true, .extensions = extensions}));
    extensions[11] = 0x01;
    CHECK(c.keeps(Spec{.from_port = 7, .six = true, .extensions = extensions}));
    CHECK_FALSE(c.keeps(Spec{.from_port = 8, .six = true, .extensions = extensions}));
    // One that says it is longer than the frame.
    extensions[0] = 60;
    extensions[9] = 255;
    CHECK(c.keeps(Spec{.six = true, .extensions = extensions}));
    CHECK(c.keeps(Spec{.six = true, .extensions = extensions}));
}

TEST_CASE("segments make no difference") {
    for (const bool six : {false, true}) {
        for (std::uint16_t segment = 1; segment < 90; ++segment) {
            Cutoff c(1);
            const Bytes b = frame_of(Spec{.vlans = {1, 2}, .six = six});
            CHECK(c.keeps(b));
            CHECK_FALSE(c.keeps(b, segment));
        }
    }
}

TEST_CASE("bursts longer than what is looked up at once keep their order") {
    Cutoff c(350);
    std::vector<Packet> packets;
    std::vector<rte_mbuf*> burst;
    for (unsigned i = 0; i < 300; ++i) {
        Spec s;
        s.from_port = static_cast<std::uint16_t>(i % 3);
        packets.push_back(c.packet(frame_of(s)));
        burst.push_back(packets.back().get());
    }
    std::vector<std::uint16_t> out(burst.size());
    // Four packets of each of three flows fit.
    const unsigned n = c.cutoff.keep(burst.data(), 300, out.data(), c.now);
    REQUIRE(n == 12);
    std::vector<std::uint16_t> expected(12);
    std::iota(expected.begin(), expected.end(), std::uint16_t{0});
    CHECK(std::equal(expected.begin(), expected.end(), out.begin()));
    CHECK(c.cutoff.counters().cut_packets == 288);
}

TEST_CASE("memory stays fixed, and who was silent longest makes room") {
    Cutoff c(1, 64);
    CHECK(c.cutoff.memory_bytes() == 64 * 16);
    // Many more flows than there is room for: all are kept, none cut that was not seen before.
    for (std::uint32_t i = 0; i < 5000; ++i) {
        Spec s;
        s.from = i;
        REQUIRE(c.keeps(s));
        REQUIRE_FALSE(c.keeps(s));  // the newest is not the one that was forgotten
    }
    CHECK(c.cutoff.counters().flows == 5000);
    CHECK(c.cutoff.counters().forgotten == 5000 - 64);
    CHECK(c.cutoff.memory_bytes() == 64 * 16);
    // Idle ones are no loss.
    c.now = c.now + Duration::seconds(60);
    const auto before = c.cutoff.counters().forgotten;
    CHECK(c.keeps(Spec{.from = 77}));
    CHECK(c.cutoff.counters().forgotten == before);
}

TEST_CASE("time stamps that wrap do not matter") {
    Cutoff c(1, 64, Duration::seconds(10));
    // Ticks of 2^20 ns in 32 bits come round after 52 days.
    c.now = Instant{(std::int64_t{1} << 52) - 1'000'000};
    REQUIRE(c.keeps(Spec{}));
    c.now = c.now + Duration::seconds(5);
    CHECK_FALSE(c.keeps(Spec{}));
    c.now = c.now + Duration::seconds(11);
    CHECK(c.keeps(Spec{}));
}

TEST_CASE("many flows agree with a plain model") {
    Cutoff c(1000, 4096);
    Rng rng(7);
    std::vector<std::uint32_t> carried(200, 0);
    unsigned wrong = 0;
    for (int i = 0; i < 20000; ++i) {
        const auto flow = static_cast<std::uint32_t>(rng.below(carried.size()));
        Spec s;
        s.from = 0x0a000000 + flow / 10;
        s.from_port = static_cast<std::uint16_t>(flow % 10);
        s.size = static_cast<unsigned>(rng.between(60, 400));
        s.six = flow % 2 == 1;
        const Spec sent = rng.chance(0.5) ? s : s.back();
        const std::uint32_t size = static_cast<std::uint32_t>(frame_of(sent).size());
        const bool expected = carried[flow] < 1000;
        if (expected) carried[flow] += size;
        wrong += c.keeps(sent) != expected ? 1 : 0;
    }
    CHECK(wrong == 0);
    CHECK(c.cutoff.counters().flows == carried.size());
}

TEST_CASE("options that cannot be are refused") {
    const auto why = [](const FlowCutoff::Options& o) {
        const auto c = FlowCutoff::create(o);
        REQUIRE_FALSE(c);
        return c.error().message;
    };
    CHECK(why({0, 64, Duration::seconds(1), 0}).find("after 0 bytes") != std::string::npos);
    CHECK_FALSE(why({1ull << 32, 64, Duration::seconds(1), 0}).empty());
    CHECK_FALSE(why({1, 0, Duration::seconds(1), 0}).empty());
    CHECK_FALSE(why({1, 0xffffffff, Duration::seconds(1), 0}).empty());
    CHECK_FALSE(why({1, 64, Duration{0}, 0}).empty());
    CHECK_FALSE(why({1, 64, Duration::seconds(86400 * 40), 0}).empty());
    CHECK(FlowCutoff::create({1, 1, Duration{1}, 0}));
}

}  // namespace sluice::capture
