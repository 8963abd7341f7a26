#include "capture/flow_cutoff.hpp"

#include <rte_mbuf.h>
#include <rte_prefetch.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>
#include <utility>

#include "base/rng.hpp"

namespace sluice::capture {
namespace {

// About a millisecond: 32 bits of them last for 52 days.
constexpr unsigned kTickShift = 20;
// Half the range, so that older and newer can be told apart.
constexpr std::int64_t kIdleMaxNs = std::int64_t{1} << (31 + kTickShift);
constexpr std::uint32_t kFlowsMax = 1u << 28;

// Ethernet, two tags, IPv6 with some options, TCP up to its flags.
constexpr std::uint32_t kHeadBytes = 192;

constexpr std::uint8_t kTcp = 6, kUdp = 17, kDccp = 33, kSctp = 132, kUdpLite = 136;
constexpr std::uint8_t kHopByHop = 0, kRouting = 43, kFragment = 44, kAuthentication = 51,
                       kDestination = 60;

constexpr std::uint16_t be16(const std::uint8_t* at) noexcept {
    return static_cast<std::uint16_t>(at[0] << 8 | at[1]);
}
inline std::uint64_t load64(const std::uint8_t* at) noexcept {
    std::uint64_t v;
    std::memcpy(&v, at, sizeof v);
    return v;
}
inline std::uint32_t load32(const std::uint8_t* at) noexcept {
    std::uint32_t v;
    std::memcpy(&v, at, sizeof v);
    return v;
}

// One side of a flow. IPv4 addresses stand in `low`.
struct End {
    std::uint64_t high = 0;
    std::uint64_t low = 0;
    std::uint16_t port = 0;

    auto operator<=>(const End&) const noexcept = default;
};

struct Flow {
    End a, b;
    std::uint32_t vlans = 0;
    std::uint8_t version = 0;  // 0: not a packet that has a flow
    std::uint8_t protocol = 0;
    bool syn = false;
};

// Both halves of the product, so that every bit of both factors has its say.
constexpr std::uint64_t fold(std::uint64_t x, std::uint64_t y) noexcept {
    const Uint128 p = static_cast<Uint128>(x) * y;
    return static_cast<std::uint64_t>(p) ^ static_cast<std::uint64_t>(p >> 64);
}

std::uint64_t key_of(const Flow& f, std::uint64_t seed) noexcept {
    const bool in_order = f.a <= f.b;
    const End& x = in_order ? f.a : f.b;
    const End& y = in_order ? f.b : f.a;
    const std::uint64_t rest = std::uint64_t{f.vlans} << 32 | std::uint64_t{x.port} << 16 | y.port;
    const std::uint64_t kind = std::uint64_t{f.version} << 8 | f.protocol;
    std::uint64_t h = seed ^ 0x9e3779b97f4a7c15ull;
    if (f.version == 6) {
        h = fold(x.high ^ h, y.high ^ 0xbf58476d1ce4e5b9ull ^ seed);
        h = fold(x.low ^ h, y.low ^ 0x94d049bb133111ebull ^ seed);
    } else {
        h = fold((x.low << 32 | y.low) ^ h, 0xbf58476d1ce4e5b9ull ^ seed);
    }
    h = fold(h ^ rest, kind ^ 0xa0761d6478bd642full ^ std::rotl(seed, 32));
    h = fold(h ^ seed, 0xe7037ed1a0b428dbull ^ h);
    return h == 0 ? 1 : h;  // 0 marks a free entry
}

// Reads what lies within the frame's first bytes; what it says nothing about stays out of `flow`.
class HeaderReader {
  public:
    HeaderReader(const std::uint8_t* data, std::uint32_t size) noexcept
        : data_(data), size_(size) {}

    void read(Flow& flow, std::uint32_t stripped_vlan) noexcept {
        flow.vlans = stripped_vlan;
        if (!has(14)) return;
        std::uint16_t type = be16(data_ + 12);
        at_ = 14;
        for (unsigned tags = 0;
             tags < 2 && (type == 0x8100 || type == 0x88a8 || type == 0x9100); ++tags) {
            if (!has(4)) return;
            flow.vlans = flow.vlans << 12 | (be16(data_ + at_) & 0xfffu);
            type = be16(data_ + at_ + 2);
            at_ += 4;
        }
        if (type == 0x0800) read_ipv4(flow);
        if (type == 0x86dd) read_ipv6(flow);
    }

  private:
    bool has(std::uint32_t n) const noexcept { return size_ - at_ >= n; }

    void read_ipv4(Flow& flow) noexcept {
        if (!has(20)) return;
        const std::uint8_t* ip = data_ + at_;
        const std::uint32_t header = (ip[0] & 0xfu) * 4;
        if (ip[0] >> 4 != 4 || header < 20 || !has(header)) return;
        flow.protocol = ip[9];
        flow.a.low = load32(ip + 12);
        flow.b.low = load32(ip + 16);
        at_ += header;
        const bool fragment = (be16(ip + 6) & 0x3fff) != 0;
        if (fragment || read_ports(flow)) flow.version = 4;
    }

    void read_ipv6(Flow& flow) noexcept {
        if (!has(40)) return;
        const std::uint8_t* ip = data_ + at_;
        if (ip[0] >> 4 != 6) return;
        flow.a.high = load64(ip + 8);
        flow.a.low = load64(ip + 16);
        flow.b.high = load64(ip + 24);
        flow.b.low = load64(ip + 32);
        flow.protocol = ip[6];
        at_ += 40;
        bool fragment = false;
        for (;;) {
            const std::uint8_t kind = flow.protocol;
            if (kind != kHopByHop && kind != kRouting && kind != kDestination &&
                kind != kAuthentication && kind != kFragment)
                break;
            if (!has(8)) return;
            const std::uint8_t* extension = data_ + at_;
            // Of a later fragment, what follows is not a header.
            fragment = kind == kFragment && (be16(extension + 2) & 0xfff9) != 0;
            const std::uint32_t bytes = kind == kFragment         ? 8u
                                        : kind == kAuthentication ? (extension[1] + 2u) * 4
                                                                  : (extension[1] + 1u) * 8;
            flow.protocol = extension[0];
            if (fragment) break;
            if (!has(bytes)) return;
            at_ += bytes;
        }
        if (fragment || read_ports(flow)) flow.version = 6;
    }

    // False if they should be there and are not.
    bool read_ports(Flow& flow) noexcept {
        switch (flow.protocol) {
            case kTcp: case kUdp: case kDccp: case kSctp: case kUdpLite: break;
            default: return true;
        }
        if (!has(4)) return false;
        flow.a.port = be16(data_ + at_);
        flow.b.port = be16(data_ + at_ + 2);
        constexpr std::uint8_t kSyn = 0x02, kAck = 0x10;
        flow.syn = flow.protocol == kTcp && has(14) &&
                   (data_[at_ + 13] & (kSyn | kAck)) == kSyn;
        return true;
    }

    const std::uint8_t* data_;
    std::uint32_t size_;
    std::uint32_t at_ = 0;
};

Flow flow_of(const rte_mbuf* m) noexcept {
    Flow flow;
    const std::uint32_t stripped =
        (m->ol_flags & RTE_MBUF_F_RX_VLAN_STRIPPED) != 0 ? m->vlan_tci & 0xfffu : 0u;
    if (m->nb_segs == 1 || m->data_len >= kHeadBytes) [[likely]] {
        HeaderReader(rte_pktmbuf_mtod(m, const std::uint8_t*), m->data_len).read(flow, stripped);
        return flow;
    }
    std::array<std::uint8_t, kHeadBytes> copy;
    const std::uint32_t n = std::min(m->pkt_len, kHeadBytes);
    const void* data = rte_pktmbuf_read(m, 0, n, copy.data());
    if (data != nullptr)
        HeaderReader(static_cast<const std::uint8_t*>(data), n).read(flow, stripped);
    return flow;
}

}  // namespace

Result<FlowCutoff> FlowCutoff::create(const Options& options) {
    constexpr std::uint64_t kBytesMax = std::numeric_limits<std::uint32_t>::max();
    if (options.bytes == 0 || options.bytes > kBytesMax)
        return fail(EINVAL, "flow cutoff after {} bytes, between 1 and {} are possible",
                    options.bytes, kBytesMax);
    if (options.flows_max == 0 || options.flows_max > kFlowsMax)
        return fail(EINVAL, "flow cutoff with room for {} flows, between 1 and {} are possible",
                    options.flows_max, kFlowsMax);
    if (options.idle.ns <= 0 || options.idle.ns > kIdleMaxNs)
        return fail(EINVAL, "flow cutoff with an idle time of {}, between 1 ms and {} are possible",
                    to_string(options.idle), to_string(Duration{kIdleMaxNs}));
    return FlowCutoff(options, std::bit_ceil((options.flows_max + kWays - 1) / kWays));
}

FlowCutoff::FlowCutoff(const Options& options, std::uint64_t sets)
    : memory_(std::make_unique<Set[]>(sets)),
      sets_(memory_.get(), sets),
      bytes_(static_cast<std::uint32_t>(options.bytes)),
      idle_ticks_(static_cast<std::uint32_t>(
          std::max<std::int64_t>(1, options.idle.ns >> kTickShift))),
      seed_(Rng(options.seed).next()) {}

inline FlowCutoff::Set& FlowCutoff::set_of(std::uint64_t key) const noexcept {
    return sets_[key & (sets_.size() - 1)];
}

// The flow's entry, or the one that it takes over.
inline FlowCutoff::Entry& FlowCutoff::entry_of(std::uint64_t key, std::uint32_t tick) noexcept {
    Set& set = set_of(key);
    Entry* oldest = &set.ways[0];
    std::uint32_t oldest_age = 0;
    for (Entry& e : set.ways) {
        if (e.key == key) return e;
        const std::uint32_t age =
            e.key == 0 ? std::numeric_limits<std::uint32_t>::max() : tick - e.seen;
        if (age > oldest_age) {
            oldest = &e;
            oldest_age = age;
        }
    }
    if (oldest->key != 0 && tick - oldest->seen <= idle_ticks_) ++counters_.forgotten;
    *oldest = {key, 0, tick - idle_ticks_ - 1};  // idle, so that the caller begins it
    return *oldest;
}

inline bool FlowCutoff::keep_one(std::uint64_t key, bool restarts, std::uint32_t length,
                                 std::uint32_t tick) noexcept {
    Entry& e = entry_of(key, tick);
    if (restarts || tick - e.seen > idle_ticks_) {
        e.bytes = 0;
        ++counters_.flows;
    }
    e.seen = tick;
    if (e.bytes >= bytes_) {
        ++counters_.cut_packets;
        counters_.cut_bytes += length;
        return false;
    }
    e.bytes = length > bytes_ - e.bytes ? bytes_ : e.bytes + length;
    return true;
}

unsigned FlowCutoff::keep(rte_mbuf* const* packets, unsigned count, std::uint16_t* out,
                          Instant now) noexcept {
    const auto tick = static_cast<std::uint32_t>(now.ns >> kTickShift);
    std::array<std::uint64_t, kBurst> keys;
    std::array<bool, kBurst> syns;
    unsigned n = 0;
    for (unsigned begin = 0; begin < count; begin += kBurst) {
        const unsigned some = std::min(kBurst, count - begin);
        for (unsigned i = 0; i < some; ++i) {
            const Flow flow = flow_of(packets[begin + i]);
            keys[i] = flow.version == 0 ? 0 : key_of(flow, seed_);
            syns[i] = flow.syn;
            if (keys[i] != 0) rte_prefetch0(&set_of(keys[i]));
        }
        for (unsigned i = 0; i < some; ++i) {
            out[n] = static_cast<std::uint16_t>(begin + i);
            const bool kept = keys[i] == 0 ||
                              keep_one(keys[i], syns[i], packets[begin + i]->pkt_len, tick);
            n += kept ? 1u : 0u;
        }
    }
    return n;
}

}  // namespace sluice::capture
