// rte_bpf_convert() still counts as experimental in DPDK 22.11.
#define ALLOW_EXPERIMENTAL_API
#include "capture/filter.hpp"

#include <pcap/pcap.h>
#include <rte_bpf.h>
#include <rte_malloc.h>
#include <rte_mbuf.h>

#include <algorithm>
#include <array>
#include <limits>
#include <optional>
#include <span>
#include <utility>
#include <vector>

namespace sluice::capture {
namespace {

constexpr std::uint32_t kTypeAt = 12;  // of an untagged Ethernet frame
constexpr std::uint32_t kTagBytes = 4;
constexpr unsigned kTagsMax = 2;
// What libpcap's own engine sees of a frame in several segments.
constexpr std::uint32_t kFlatBytes = 65536;
constexpr std::size_t kExpressionMax = 65536;

constexpr bool is_tag(std::uint16_t type) noexcept {
    return type == 0x8100 || type == 0x88a8 || type == 0x9100;
}

struct ClosePcap {
    void operator()(pcap_t* p) const noexcept { pcap_close(p); }
};
struct DestroyBpf {
    void operator()(rte_bpf* b) const noexcept { rte_bpf_destroy(b); }
};
struct FreeRte {
    void operator()(void* p) const noexcept { rte_free(p); }
};

bool jumps(const ebpf_insn& i) noexcept {
    const int op = BPF_OP(i.code);
    return BPF_CLASS(i.code) == BPF_JMP && op != EBPF_CALL && op != EBPF_EXIT;
}

// DPDK's JIT for x86 encodes a JSET against a constant that fits into a byte as a TEST with an
// immediate of a byte, which that opcode does not have: the rest of the constant's place is taken
// from the code that follows. Seen in 22.11.11, with "tcp[13] & 3 != 0".
bool tests_small_constant(const ebpf_insn& i) noexcept {
    return i.code == (BPF_JMP | BPF_JSET | BPF_K) && i.imm >= -128 && i.imm <= 127;
}

bool loads_packet(const ebpf_insn& i) noexcept {
    return BPF_CLASS(i.code) == BPF_LD && (BPF_MODE(i.code) == BPF_ABS ||
                                           BPF_MODE(i.code) == BPF_IND);
}
bool loads_indirectly(const ebpf_insn& i) noexcept {
    return loads_packet(i) && BPF_MODE(i.code) == BPF_IND;
}

constexpr std::uint8_t kX = EBPF_REG_7;     // where rte_bpf_convert() keeps classic BPF's X
constexpr std::uint8_t kFree = EBPF_REG_9;  // which it does not use

constexpr ebpf_insn instruction(int code, std::uint8_t dst, std::uint8_t src, std::int16_t off,
                                std::int32_t imm) noexcept {
    ebpf_insn i{};
    i.code = static_cast<std::uint8_t>(code);
    i.dst_reg = dst & 0xfu;
    i.src_reg = src & 0xfu;
    i.off = off;
    i.imm = imm;
    return i;
}

// What takes the place of an instruction; jumps are relative to its last one.
std::vector<ebpf_insn> repaired(ebpf_insn i) {
    std::vector<ebpf_insn> out;
    if (tests_small_constant(i)) {
        out.push_back(instruction(BPF_ALU | EBPF_MOV | BPF_K, kFree, 0, 0, i.imm));
        i = instruction(BPF_JMP | BPF_JSET | BPF_X, i.dst_reg, kFree, i.off, 0);
    } else if (loads_indirectly(i)) {
        // rte_bpf_convert() takes the bit that means 16 bits here for the one that means X, and
        // loads of 8 and 32 bits go by A instead. Also, X and the offset are added in 32 bits,
        // so that the sum may come round; classic BPF has nothing there and does not match.
        constexpr std::int32_t kFar = std::numeric_limits<std::int32_t>::max();
        out.push_back(instruction(BPF_JMP | EBPF_JLE | BPF_K, kX, 0, 2, kFar));
        out.push_back(instruction(BPF_ALU | EBPF_MOV | BPF_K, EBPF_REG_0, 0, 0, 0));
        out.push_back(instruction(BPF_JMP | EBPF_EXIT, 0, 0, 0, 0));
        i.src_reg = kX;
    }
    out.push_back(i);
    return out;
}

// The program that was meant, in instructions that DPDK runs as they are meant. Nothing if it has
// to be left to libpcap.
std::optional<std::vector<ebpf_insn>> repaired(const rte_bpf_prm& program) {
    const std::span<const ebpf_insn> old(program.ins, program.nb_ins);
    std::vector<std::int64_t> place;  // where what takes an instruction's place begins
    std::int64_t n = 0;
    for (const ebpf_insn& i : old) {
        if (i.dst_reg == kFree || i.src_reg == kFree) return std::nullopt;
        if (loads_packet(i) && i.imm < 0) return std::nullopt;  // would be read before the packet
        place.push_back(n);
        n += static_cast<std::int64_t>(repaired(i).size());
    }
    std::vector<ebpf_insn> made;
    for (std::size_t at = 0; at < old.size(); ++at) {
        for (const ebpf_insn& i : repaired(old[at])) made.push_back(i);
        if (!jumps(old[at])) continue;
        const std::int64_t to = static_cast<std::int64_t>(at) + 1 + old[at].off;
        if (to < 0 || to >= static_cast<std::int64_t>(old.size())) return std::nullopt;
        const std::int64_t off =
            place[static_cast<std::size_t>(to)] - static_cast<std::int64_t>(made.size());
        if (off != static_cast<std::int16_t>(off)) return std::nullopt;
        made.back().off = static_cast<std::int16_t>(off);
    }
    return made;
}

// One compiled program in the forms that there are of it.
class Program {
  public:
    Program() = default;
    Program(Program&& o) noexcept
        : classic_(std::exchange(o.classic_, {})), loaded_(std::move(o.loaded_)), jit_(o.jit_) {}
    Program& operator=(Program&& o) noexcept {
        std::swap(classic_, o.classic_);
        std::swap(loaded_, o.loaded_);
        std::swap(jit_, o.jit_);
        return *this;
    }
    ~Program() { pcap_freecode(&classic_); }

    bpf_program& classic() noexcept { return classic_; }

    Filter::Engine load() {
        const std::unique_ptr<rte_bpf_prm, FreeRte> converted(rte_bpf_convert(&classic_));
        if (!converted) return Filter::Engine::libpcap;
        const auto sound = repaired(*converted);
        if (!sound) return Filter::Engine::libpcap;
        rte_bpf_prm program = *converted;
        program.ins = sound->data();
        program.nb_ins = static_cast<std::uint32_t>(sound->size());
        loaded_.reset(rte_bpf_load(&program));
        if (!loaded_) return Filter::Engine::libpcap;
        rte_bpf_jit jit{};
        if (rte_bpf_get_jit(loaded_.get(), &jit) != 0 || jit.func == nullptr)
            return Filter::Engine::interpreter;
        jit_ = jit.func;
        return Filter::Engine::jit;
    }

    bool run_jit(rte_mbuf* m) const noexcept { return jit_(m) != 0; }
    bool run_interpreter(rte_mbuf* m) const noexcept {
        return rte_bpf_exec(loaded_.get(), m) != 0;
    }
    bool run_libpcap(const rte_mbuf* m) const noexcept {
        if (m->nb_segs > 1) [[unlikely]]
            return run_flat(m);
        return bpf_filter(classic_.bf_insns, rte_pktmbuf_mtod(m, const u_char*), m->pkt_len,
                          m->data_len) != 0;
    }

  private:
    [[gnu::noinline]] bool run_flat(const rte_mbuf* m) const noexcept {
        std::array<u_char, kFlatBytes> flat;
        const std::uint32_t n = std::min(m->pkt_len, kFlatBytes);
        const void* data = rte_pktmbuf_read(m, 0, n, flat.data());
        return data != nullptr && bpf_filter(classic_.bf_insns, static_cast<const u_char*>(data),
                                             m->pkt_len, n) != 0;
    }

    bpf_program classic_{};
    std::unique_ptr<rte_bpf, DestroyBpf> loaded_;
    std::uint64_t (*jit_)(void*) = nullptr;
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

Result<std::shared_ptr<const Filter>> Filter::compile(const std::string& expression,
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
    for (unsigned tags = 0; tags <= (into_vlans ? kTagsMax : 0) && engine != Engine::libpcap;
         ++tags)
        engine = std::max(engine, programs->by_tags[tags].load());
    // The constructor is private, which make_shared cannot reach.
    std::shared_ptr<Filter> filter(new Filter(expression, std::move(programs)));
    filter->engine_ = engine;
    filter->looks_into_vlans_ = into_vlans;
    return filter;
}

template <typename Run>
unsigned Filter::match_with(rte_mbuf* const* packets, unsigned count, std::uint16_t* out,
                            Run run) const noexcept {
    unsigned n = 0;
    // An index is always written and counted only if it matched: there is no branch to miss.
    if (looks_into_vlans_) {
        for (unsigned i = 0; i < count; ++i) {
            out[n] = static_cast<std::uint16_t>(i);
            n += run(programs_->by_tags[tags_of(packets[i])], packets[i]) ? 1u : 0u;
        }
    } else {
        for (unsigned i = 0; i < count; ++i) {
            out[n] = static_cast<std::uint16_t>(i);
            n += run(programs_->by_tags[0], packets[i]) ? 1u : 0u;
        }
    }
    return n;
}

unsigned Filter::match(rte_mbuf* const* packets, unsigned count,
                       std::uint16_t* out) const noexcept {
    switch (engine_) {
        case Engine::jit:
            return match_with(packets, count, out, [](const Program& p, rte_mbuf* m) noexcept {
                return p.run_jit(m);
            });
        case Engine::interpreter:
            return match_with(packets, count, out, [](const Program& p, rte_mbuf* m) noexcept {
                return p.run_interpreter(m);
            });
        case Engine::libpcap: break;
    }
    return match_with(packets, count, out, [](const Program& p, rte_mbuf* m) noexcept {
        return p.run_libpcap(m);
    });
}

}  // namespace sluice::capture
