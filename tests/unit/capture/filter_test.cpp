#include "capture/filter.hpp"

#include <pcap/pcap.h>

#include <algorithm>
#include <array>

#include "base/rng.hpp"
#include "support.hpp"

namespace sluice::capture {
namespace {

using test::Packet;
using test::Pool;
using Bytes = std::vector<std::uint8_t>;
using Engine = Filter::Engine;

constexpr std::array kEngines{Engine::native, Engine::libpcap};
constexpr std::array<std::uint16_t, 3> kTagTypes{0x8100, 0x88a8, 0x9100};

void put16(Bytes& b, std::uint64_t v) {
    b.push_back(static_cast<std::uint8_t>(v >> 8));
    b.push_back(static_cast<std::uint8_t>(v));
}
void put32(Bytes& b, std::uint64_t v) {
    put16(b, v >> 16);
    put16(b, v);
}

// Frames that meet each other's addresses and ports often enough for filters to hit.
class Frames {
  public:
    explicit Frames(std::uint64_t seed) : rng_(seed) {}

    // A frame without tags.
    Bytes plain() {
        Bytes b{0x02, 0, 0, 0, 0, one_of<std::uint8_t>({1, 2}),
                0x02, 0, 0, 0, 0, one_of<std::uint8_t>({1, 3})};
        if (rng_.chance(0.1)) std::fill_n(b.begin(), 6, std::uint8_t{0xff});
        if (rng_.chance(0.05)) return garbage();
        const std::uint16_t type = one_of<std::uint16_t>({0x0800, 0x0800, 0x0800, 0x86dd, 0x86dd,
                                                          0x0806, 0x88cc, 0x05dc});
        put16(b, type);
        if (type == 0x0800) ipv4(b);
        if (type == 0x86dd) ipv6(b);
        for (auto n = rng_.below(200); n > 0; --n) b.push_back(byte());
        if (rng_.chance(0.2)) b.resize(rng_.below(b.size() + 1));
        return b;
    }
    unsigned tags() { return one_of<unsigned>({0, 0, 0, 1, 1, 2, 2, 3}); }

    Bytes tagged(const Bytes& plain, unsigned tags) {
        if (plain.size() < 12) return plain;
        Bytes b(plain.begin(), plain.begin() + 12);
        for (unsigned i = 0; i < tags; ++i) {
            put16(b, kTagTypes[rng_.below(kTagTypes.size())]);
            put16(b, one_of<std::uint16_t>({5, 0x6005, 6, 100}));
        }
        b.insert(b.end(), plain.begin() + 12, plain.end());
        return b;
    }
    std::uint64_t below(std::uint64_t n) { return rng_.below(n); }

  private:
    template <typename T>
    T one_of(std::initializer_list<T> all) {
        return all.begin()[rng_.below(all.size())];
    }
    std::uint8_t byte() { return static_cast<std::uint8_t>(rng_.next()); }
    std::uint64_t port() {
        return one_of<std::uint64_t>({53, 53, 80, 443, 33024, rng_.below(65536)});
    }
    std::uint64_t address4() {
        return one_of<std::uint64_t>({0x0a010203, 0x0a000001, 0xc0a80101, 0xc0a8ffff, 0x08080808,
                                      0xe0000001, rng_.next() & 0xffffffff});
    }
    Bytes garbage() {
        Bytes b(rng_.below(120));
        for (auto& x : b) x = byte();
        // No tag by chance: what is inside of one would be judged.
        if (b.size() > 13) b[12] = 0x77;
        return b;
    }
    std::uint8_t protocol() {
        return one_of<std::uint8_t>({6, 6, 17, 17, 17, 1, 58, 132, 47, byte()});
    }
    void transport(Bytes& b, std::uint8_t protocol) {
        if (protocol == 1 || protocol == 58) {
            put32(b, one_of<std::uint64_t>({0x08000000, 0x00000000, 0x03010000}));
            return;
        }
        put16(b, port());
        put16(b, port());
        if (protocol != 6) {
            put32(b, rng_.next());
            return;
        }
        put32(b, rng_.next());
        put32(b, rng_.next());
        put16(b, 0x5000 | one_of<std::uint64_t>({0x02, 0x12, 0x10, 0x11, 0x04}));
        put16(b, 1024);
        put32(b, 0);
    }
    void ipv4(Bytes& b) {
        const std::uint64_t words = rng_.chance(0.2) ? 5 + rng_.below(4) : 5;
        const std::uint8_t next = protocol();
        b.push_back(static_cast<std::uint8_t>(0x40 | words));
        b.push_back(byte());
        put32(b, rng_.next());
        put16(b, one_of<std::uint64_t>({0, 0, 0, 0x4000, 0x2000, 0x0010, 0x2010}));
        b.push_back(byte());
        b.push_back(next);
        put16(b, 0);
        put32(b, address4());
        put32(b, address4());
        for (std::uint64_t i = 5; i < words; ++i) put32(b, 0x01010101);
        transport(b, next);
    }
    void ipv6(Bytes& b) {
        const std::uint8_t next = rng_.chance(0.1) ? std::uint8_t{44} : protocol();
        put32(b, 0x60000000);
        put16(b, 100);
        b.push_back(next);
        b.push_back(64);
        for (int i = 0; i < 2; ++i) {
            put32(b, 0x20010db8);
            put32(b, 0);
            put32(b, 0);
            put32(b, rng_.below(3));
        }
        transport(b, next);
    }

    Rng rng_;
};

// What libpcap itself says, run by libpcap itself.
class Oracle {
  public:
    explicit Oracle(const std::string& expression) {
        pcap_t* dead = pcap_open_dead(DLT_EN10MB, 65535);
        REQUIRE(pcap_compile(dead, &program_, expression.c_str(), 0, PCAP_NETMASK_UNKNOWN) == 0);
        pcap_close(dead);
    }
    ~Oracle() { pcap_freecode(&program_); }
    Oracle(const Oracle&) = delete;
    Oracle& operator=(const Oracle&) = delete;

    bool operator()(const Bytes& b, std::size_t length) const {
        // Never null, which an empty vector's data() may be.
        static const u_char kNothing = 0;
        return bpf_filter(program_.bf_insns, b.empty() ? &kNothing : b.data(),
                          static_cast<u_int>(length), static_cast<u_int>(b.size())) != 0;
    }

  private:
    bpf_program program_{};
};

Packet packet_of(Pool& pool, const Bytes& b, std::uint16_t segment = 2048) {
    Packet p(pool.packet(static_cast<unsigned>(b.size()), 0, segment));
    std::size_t at = 0;
    for (rte_mbuf* m = p.get(); m != nullptr; m = m->next) {
        if (m->data_len == 0) continue;
        std::memcpy(rte_pktmbuf_mtod(m, void*), &b[at], m->data_len);
        at += m->data_len;
    }
    return p;
}

std::unique_ptr<const Filter> filter_of(const std::string& expression,
                                        Engine best = Engine::native) {
    auto filter = Filter::compile(expression, pcap::Linktype::ethernet, 65535, best);
    if (!filter) FAIL(filter.error().message);
    return std::move(*filter);
}

// Verdicts of one burst.
std::vector<bool> verdicts(const Filter& filter, const std::vector<Packet>& packets) {
    std::vector<rte_mbuf*> pointers;
    for (const Packet& p : packets) pointers.push_back(p.get());
    std::vector<std::uint16_t> out(packets.size() + 1, 0xffff);
    const unsigned n = filter.match(pointers.data(), static_cast<unsigned>(packets.size()),
                                    out.data());
    REQUIRE(n <= packets.size());
    REQUIRE(std::is_sorted(out.begin(), out.begin() + n));
    REQUIRE(out.back() == 0xffff);  // there is room for as many as there are packets, no more
    std::vector<bool> matched(packets.size());
    for (unsigned i = 0; i < n; ++i) matched.at(out[i]) = true;
    return matched;
}

// libpcap makes a loop of this, the only one that it makes.
const std::string kBackwards = "ip6 protochain 6";
const std::vector<std::string> kThroughTags{
    "", " ", "ip", "ip6", "arp", "tcp", "udp port 53", "not udp port 53",
    "net 10.0.0.0/8 and tcp", "host 10.1.2.3", "src net 192.168.0.0/16 or icmp",
    "dst host 255.255.255.255 or src host 224.0.0.1",
    "tcp[tcpflags] & (tcp-syn|tcp-fin) != 0", "ip[6:2] & 0x1fff = 0", "portrange 80-443",
    "ether host 02:00:00:00:00:01", "ether broadcast or ether multicast", "ip6 host 2001:db8::1",
    "ip proto 47 or sctp", "udp[4:2] > 30000", "ip[8] < 64 and not tcp", "greater 100",
    "less 60 or port 443", "icmp[icmptype] = icmp-echo", "ip[(ip[0] & 0xf) * 4] = 0",
    "ip[4:4] >= 0x80000000", "ip[2:2] * 3 / 5 > 20000", "ip[2:2] % 7 = 3",
    "ip[2:2] / ip[8] > 300", "-ip[8] = 0xffffffc0 or ip[1] << 3 = 80", "udp port 33024",
    "ether proto 0x88cc", "ip[0] & 0xf > 5 and not (port 53 or port 80)",
    "tcp[((tcp[12] & 0xf0) >> 2):2] > 0x8000", "src port 53 and dst port 53",
    "udp[0] = 0", "udp[3] & 0x40 != 0", "tcp[4:4] > 0x80000000", "tcp[13] & 0x80 = 0",
    "ip[ip[8]] = ip[9]", "ip[ip[2:2] & 63:4] > 0x40000000", "ip[1] & 0x7f = 0 or ip[1] & 0x80 != 0",
    "ether[0] & 1 = 0 and ip", "ip6[6] & ip6[7] != 0", kBackwards};
const std::vector<std::string> kLiteral{
    "vlan", "not vlan", "vlan 5", "vlan and udp port 53", "vlan 5 or udp port 53",
    "vlan and vlan and tcp", "ether proto 0x8100", "not ether proto 34984 and ip",
    "udp port 53 or (vlan 6 and udp port 53)"};

struct Case {
    Bytes plain, frame;
    unsigned tags;
    std::uint16_t segment;
};

std::vector<Case> cases(std::uint64_t seed, unsigned count) {
    Frames frames(seed);
    std::vector<Case> all;
    for (unsigned i = 0; i < count; ++i) {
        Case c;
        c.plain = frames.plain();
        c.tags = c.plain.size() < 14 ? 0 : frames.tags();
        c.frame = frames.tagged(c.plain, c.tags);
        c.segment = static_cast<std::uint16_t>(1 + frames.below(40));
        all.push_back(std::move(c));
    }
    return all;
}

// What is judged: the frame without the tags that the filter looks through.
Bytes seen_through(const Case& c) {
    Bytes b = c.frame;
    for (unsigned i = 0; i < std::min(c.tags, 2u); ++i) b.erase(b.begin() + 12, b.begin() + 16);
    return b;
}

void agree(const std::vector<std::string>& expressions, bool through_tags, bool segmented) {
    constexpr unsigned kBurst = 16;
    Pool pool(8191);
    const auto all = cases(segmented ? 2 : 1, segmented ? 600 : 3000);
    for (const std::string& expression : expressions) {
        const Oracle oracle(expression);
        unsigned hits = 0;
        for (const Engine best : kEngines) {
            const auto filter = filter_of(expression, best);
            for (std::size_t begin = 0; begin < all.size(); begin += kBurst) {
                const std::size_t end = std::min(all.size(), begin + kBurst);
                std::vector<Packet> burst;
                for (std::size_t i = begin; i < end; ++i)
                    burst.push_back(packet_of(pool, all[i].frame,
                                              segmented ? all[i].segment : std::uint16_t{2048}));
                const auto got = verdicts(*filter, burst);
                for (std::size_t i = begin; i < end; ++i) {
                    const Case& c = all[i];
                    const bool expected = oracle(through_tags ? seen_through(c) : c.frame,
                                                 c.frame.size());
                    hits += expected ? 1 : 0;
                    if (got[i - begin] == expected) continue;
                    CAPTURE(expression, int(best), i, c.tags, c.frame.size(), expected);
                    FAIL("another verdict than libpcap's");
                }
            }
        }
        INFO(expression);
        CHECK(hits > 0);  // else the frames say nothing about this filter
    }
}

}  // namespace

TEST_CASE("filters agree with libpcap on what is inside of VLAN tags") {
    agree(kThroughTags, true, false);
}

TEST_CASE("filters that ask for VLAN tags are taken as libpcap takes them") {
    agree(kLiteral, false, false);
}

TEST_CASE("filters agree with libpcap on packets in many segments") {
    agree(kThroughTags, true, true);
    agree(kLiteral, false, true);
}

TEST_CASE("filters know whether tags are asked for") {
    for (const auto& e : kLiteral) {
        INFO(e);
        CHECK_FALSE(filter_of(e)->looks_into_vlans());
    }
    CHECK(filter_of("udp port 33024")->looks_into_vlans());  // the number of a tag, as a port
    CHECK(filter_of("not tcp")->looks_into_vlans());
    CHECK_FALSE(filter_of("")->looks_into_vlans());  // everything matches anyhow
}

TEST_CASE("filters run natively where that is possible") {
#if defined(__x86_64__)
    for (const auto& all : {kThroughTags, kLiteral}) {
        for (const auto& e : all) {
            if (e == kBackwards) continue;
            INFO(e);
            CHECK(filter_of(e)->jitted());
        }
    }
#endif
    CHECK_FALSE(filter_of(kBackwards)->jitted());
    CHECK(filter_of("tcp", Engine::libpcap)->engine() == Engine::libpcap);
    CHECK(filter_of("udp port 53")->expression() == "udp port 53");
}

TEST_CASE("filters do not mind the snaplen") {
    Pool pool;
    std::vector<Packet> one;
    one.push_back(packet_of(pool, Bytes(60, 0)));
    for (const std::uint32_t snaplen : {0u, 1u, 96u, 65535u, 262144u, 0xffffffffu}) {
        auto filter = Filter::compile("ether[20] = 0", pcap::Linktype::ethernet, snaplen);
        REQUIRE(filter);
        CHECK(verdicts(**filter, one)[0]);
    }
}

TEST_CASE("filters take empty bursts and large ones") {
    Pool pool;
    const auto filter = filter_of("udp port 53");
    CHECK(filter->match(nullptr, 0, nullptr) == 0);
    const Packet p = packet_of(pool, Bytes(60, 0));
    const auto all = filter_of("");
    std::vector<rte_mbuf*> many(50000, p.get());
    std::vector<std::uint16_t> out(many.size());
    CHECK(filter->match(many.data(), 50000, out.data()) == 0);
    REQUIRE(all->match(many.data(), 50000, out.data()) == 50000);
    CHECK(out[49999] == 49999);
}

TEST_CASE("filters do not come round to the packet's beginning") {
    Pool pool;
    Bytes b(100, 1);
    b[12] = 0x08;
    b[13] = 0x00;
    b[14] = 0x45;
    // Behind the Ethernet header, at 2^32 - 14: the sum of both is 0 in 32 bits.
    b[18] = b[19] = b[20] = 0xff;
    b[21] = 0xf2;
    for (const std::string e : {"ip[ip[4:4]] = 1", "ether[0xfffffff0] = 1", "ip[0x7fffffff] = 1",
                                "ip[ip[4:4]:4] = 0x01010101", "not ip[ip[4:4]] = 7"}) {
        const Oracle oracle(e);
        for (const Engine best : kEngines) {
            std::vector<Packet> two;
            two.push_back(packet_of(pool, b));
            two.push_back(packet_of(pool, b, 9));
            CAPTURE(e, int(best));
            CHECK(verdicts(*filter_of(e, best), two) == std::vector<bool>(2, oracle(b, 100)));
        }
    }
}

TEST_CASE("filters that are wrong are explained in libpcap's words") {
    const auto why = [](const std::string& expression,
                        pcap::Linktype linktype = pcap::Linktype::ethernet) {
        auto filter = Filter::compile(expression, linktype, 65535);
        REQUIRE_FALSE(filter);
        return filter.error().message;
    };
    CHECK(why("udp prot 53").find("\"udp prot 53\"") != std::string::npos);
    CHECK(why("udp prot 53").find("syntax error") != std::string::npos);
    CHECK(why("net 10.0.0.1/8").find("non-network bits") != std::string::npos);
    CHECK(why("tcp port 99999").find("99999") != std::string::npos);
    // Parentheses are not a way out of the parentheses that we put around.
    CHECK_FALSE(why("tcp) or (udp").empty());
    CHECK_FALSE(why("(((").empty());
    CHECK_FALSE(why("tcp and").empty());
    CHECK_FALSE(why(std::string("tcp\0udp", 7)).empty());
    CHECK(why(std::string(70000, ' ')).find("70000") != std::string::npos);
    // There is no IP in frames of an unknown kind.
    CHECK_FALSE(why("tcp port 80", pcap::Linktype::user0).empty());
}

TEST_CASE("filters work on other link types as far as libpcap does") {
    Pool pool;
    auto filter = Filter::compile("link[0] = 7", pcap::Linktype::user0, 65535);
    REQUIRE(filter);
    CHECK_FALSE((*filter)->looks_into_vlans());
    std::vector<Packet> two;
    two.push_back(packet_of(pool, Bytes{7, 1, 2}));
    two.push_back(packet_of(pool, Bytes{8, 1, 2}));
    CHECK(verdicts(**filter, two) == std::vector<bool>{true, false});
}

TEST_CASE("filters may be long") {
    Pool pool;
    std::string hosts = "host 10.0.0.0";
    for (int i = 1; i < 300; ++i)
        hosts += " or host 10.0." + std::to_string(i / 256) + "." + std::to_string(i % 256);
    std::string six = "ip6 host 2001:db8::1";
    for (int i = 2; i < 12; ++i) six += " or ip6 host 2001:db8::" + std::to_string(i);
    const auto all = cases(3, 200);
    for (const std::string& expression : {hosts, six}) {
        const Oracle oracle(expression);
        const auto filter = filter_of(expression);
        for (const Case& c : all) {
            std::vector<Packet> one;
            one.push_back(packet_of(pool, c.frame));
            REQUIRE(verdicts(*filter, one)[0] == oracle(seen_through(c), c.frame.size()));
        }
    }
}

}  // namespace sluice::capture
