#include "capture/filter.hpp"

#include <pcap/pcap.h>
#include <rte_mbuf.h>
#include <rte_prefetch.h>

#include <algorithm>
#include <array>
#include <limits>
#include <span>
#include <utility>
#include <vector>

#include "capture/bpf_code.hpp"

namespace sluice::capture {
namespace {

constexpr std::uint32_t kTypeAt = 12;  // of an untagged Ethernet frame
constexpr std::uint32_t kTagBytes = 4;
constexpr unsigned kTagsMax = 2;
// What a program may look at of a packet in several segments, if it is not known to need less.
constexpr std::uint32_t kFlatBytes = 65536;
constexpr unsigned kAhead = 4;  // packets whose first bytes are fetched before they are needed
constexpr std::size_t kExpressionMax = 65536;

constexpr bool is_tag(std::uint16_t type) noexcept {
    return type == 0x8100 || type == 0x88a8 || type == 0x9100;
}

struct ClosePcap {
    void operator()(pcap_t* p) const noexcept { pcap_close(p); }
};

// One compiled program, as libpcap runs it and as native code.
class Program {
  public:
    Program() = default;
    Program(Program&& o) noexcept
        : classic_(std::exchange(o.classic_, {})), native_(std::move(o.native_)),
          reach_(o.reach_) {}
    Program& operator=(Program&& o) noexcept {
        std::swap(classic_, o.classic_);
        std::swap(native_, o.native_);
        std::swap(reach_, o.reach_);
        return *this;
    }
    ~Program() { pcap_freecode(&classic_); }

    bpf_program& classic() noexcept { return classic_; }

    // Once the program is there. False without native code.
    bool prepare() {
        std::vector<BpfInstruction> program;
        for (const bpf_insn& i : std::span(classic_.bf_insns, classic_.bf_len))
            program.push_back({i.code, i.jt, i.jf, i.k});
        reach_ = bpf_reach(program).value_or(std::numeric_limits<std::uint32_t>::max());
        native_ = BpfCode::make(program);
        return static_cast<bool>(native_);
    }

    bool run_native(const rte_mbuf* m) const noexcept {
        const auto run = [this](const std::uint8_t* at, std::uint32_t wire, std::uint32_t n) {
            return native_.function()(at, wire, n) != 0;
        };
        return m->nb_segs == 1 || m->data_len >= reach_
                   ? run(rte_pktmbuf_mtod(m, const std::uint8_t*), m->pkt_len, m->data_len)
                   : run_flat(m, run);
    }
    bool run_libpcap(const rte_mbuf* m) const noexcept {
        const auto run = [this](const std::uint8_t* at, std::uint32_t wire, std::uint32_t n) {
            return bpf_filter(classic_.bf_insns, at, wire, n) != 0;
        };
        return m->nb_segs == 1 || m->data_len >= reach_
                   ? run(rte_pktmbuf_mtod(m, const std::uint8_t*), m->pkt_len, m->data_len)
                   : run_flat(m, run);
    }

  private:
    template <typename Run>
    [[gnu::noinline]] bool run_flat(const rte_mbuf* m, const Run& run) const noexcept {
        std::array<std::uint8_t, kFlatBytes> flat;
        const std::uint32_t n = std::min({m->pkt_len, reach_, kFlatBytes});
        const void* data = rte_pktmbuf_read(m, 0, n, flat.data());
        return data != nullptr && run(static_cast<const std::uint8_t*>(data), m->pkt_len, n);
    }

    bpf_program classic_{};
    BpfCode native_;
    std::uint32_t reach_ = 0;
};

// The big-endian word at `at`; 0, which is no tag, if the frame ends before.
inline std::uint16_t type_at(const rte_mbuf* m, std::uint32_t at) noexcept {
    std::array<std::uint8_t, 2> copy;
    const std::uint8_t* type;
    if (at + copy.size() <= m->data_len) [[likely]]
        type = rte_pktmbuf_mtod_offset(m, const std::uint8_t*, at);
    else
        type = static_cast<const std::uint8_t*>(
            rte_pktmbuf_read(m, at, static_cast<std::uint32_t>(copy.size()), copy.data()));
    return type == nullptr ? std::uint16_t{0} : static_cast<std::uint16_t>(type[0] << 8 | type[1]);
}

inline unsigned tags_of(const rte_mbuf* m) noexcept {
    if (!is_tag(type_at(m, kTypeAt))) [[likely]]
        return 0;
    return is_tag(type_at(m, kTypeAt + kTagBytes)) ? 2 : 1;
}

// Whether a program that was not optimised compares the frame's type with that of a tag. Code
// made by libpcap loads what it compares right before it does.
bool asks_for_tags(const bpf_program& program) {
    for (unsigned i = 1; i < program.bf_len; ++i) {
        const bpf_insn& load = program.bf_insns[i - 1];
        const bpf_insn& compare = program.bf_insns[i];
        if (load.code == (BPF_LD | BPF_H | BPF_ABS) && load.k == kTypeAt &&
            compare.code == (BPF_JMP | BPF_JEQ | BPF_K) && compare.k <= 0xffff &&
            is_tag(static_cast<std::uint16_t>(compare.k)))
            return true;
    }
    return false;
}

bool is_blank(const std::string& text) {
    return text.find_first_not_of(" \t\r\n\v\f") == std::string::npos;
}

struct Compiler {
    std::unique_ptr<pcap_t, ClosePcap> dead;
    const std::string& expression;  // as the operator wrote it

    Result<Program> compile(const std::string& text, bool optimise) const {
        Program p;
        if (pcap_compile(dead.get(), &p.classic(), text.c_str(), optimise ? 1 : 0,
                         PCAP_NETMASK_UNKNOWN) != 0)
            return fail(EINVAL, "filter \"{}\": {}; expected an expression of pcap-filter(7)",
                        expression, pcap_geterr(dead.get()));
        return p;
    }
};

}  // namespace

struct Filter::Programs {
    std::array<Program, kTagsMax + 1> by_tags;  // only the first if tags are not looked into
};

Filter::Filter(std::string expression, std::unique_ptr<const Programs> programs)
    : expression_(std::move(expression)), programs_(std::move(programs)) {}

Filter::~Filter() = default;

Result<std::unique_ptr<const Filter>> Filter::compile(const std::string& expression,
                                                      pcap::Linktype linktype,
                                                      std::uint32_t snaplen, Engine best) {
    if (expression.size() > kExpressionMax)
        return fail(E2BIG, "filter of {} bytes, at most {} are possible", expression.size(),
                    kExpressionMax);
    if (expression.find('\0') != std::string::npos)
        return fail(EINVAL, "filter with a zero byte, expected an expression of pcap-filter(7)");
    // A program returns the snaplen for a match, so that one of 0 would never match.
    const std::uint32_t limit = snaplen == 0 ? pcap::kSnaplenMax
                                             : std::min(snaplen, pcap::kSnaplenMax);
    const Compiler compiler{std::unique_ptr<pcap_t, ClosePcap>(pcap_open_dead(
                                static_cast<int>(linktype), static_cast<int>(limit))),
                            expression};
    if (!compiler.dead) return fail(ENOMEM, "filter \"{}\": out of memory", expression);

    auto programs = std::make_unique<Programs>();
    SLUICE_TRY(programs->by_tags[0], compiler.compile(expression, true));
    bool into_vlans = linktype == pcap::Linktype::ethernet && !is_blank(expression);
    if (into_vlans) {
        SLUICE_TRY(Program plain, compiler.compile(expression, false));
        into_vlans = !asks_for_tags(plain.classic());
    }
    if (into_vlans) {
        // "vlan" shifts the offsets of all that follows it in the same expression.
        SLUICE_TRY(programs->by_tags[1], compiler.compile("vlan and (" + expression + ")", true));
        SLUICE_TRY(programs->by_tags[2],
                   compiler.compile("vlan and vlan and (" + expression + ")", true));
    }
    Engine engine = best;
    for (unsigned tags = 0; tags <= (into_vlans ? kTagsMax : 0); ++tags)
        if (!programs->by_tags[tags].prepare()) engine = Engine::libpcap;
    // The constructor is private, which make_unique cannot reach.
    std::unique_ptr<Filter> filter(new Filter(expression, std::move(programs)));
    filter->engine_ = engine;
    filter->looks_into_vlans_ = into_vlans;
    return filter;
}

template <typename Run>
unsigned Filter::match_with(rte_mbuf* const* packets, unsigned count, std::uint16_t* out,
                            Run run) const noexcept {
    const auto fetch = [packets, count](unsigned i) noexcept {
        if (i < count) rte_prefetch0(rte_pktmbuf_mtod(packets[i], const void*));
    };
    for (unsigned i = 0; i < kAhead; ++i) fetch(i);
    unsigned n = 0;
    // An index is always written and counted only if it matched: there is no branch to miss.
    if (looks_into_vlans_) {
        for (unsigned i = 0; i < count; ++i) {
            fetch(i + kAhead);
            out[n] = static_cast<std::uint16_t>(i);
            n += run(programs_->by_tags[tags_of(packets[i])], packets[i]) ? 1u : 0u;
        }
    } else {
        for (unsigned i = 0; i < count; ++i) {
            fetch(i + kAhead);
            out[n] = static_cast<std::uint16_t>(i);
            n += run(programs_->by_tags[0], packets[i]) ? 1u : 0u;
        }
    }
    return n;
}

unsigned Filter::match(rte_mbuf* const* packets, unsigned count,
                       std::uint16_t* out) const noexcept {
    if (engine_ == Engine::native)
        return match_with(packets, count, out, [](const Program& p, const rte_mbuf* m) noexcept {
            return p.run_native(m);
        });
    return match_with(packets, count, out, [](const Program& p, const rte_mbuf* m) noexcept {
        return p.run_libpcap(m);
    });
}

}  // namespace sluice::capture
