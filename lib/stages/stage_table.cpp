#include "stages/stage_table.hpp"

#include <rte_mbuf.h>

#include <array>

#include "stages/pcap_in.hpp"
#include "stages/pcap_out.hpp"
#include "stages/simple_stages.hpp"
#include "stages/txgen.hpp"

namespace sluice::stages {

namespace {

using Made = Result<std::unique_ptr<dp::Stage>>;

std::uint32_t holds_none(const Values&) { return 0; }

template <typename S>
Made make_plain(const Values&, const StageEnv&) {
    return std::make_unique<S>();
}

Result<> needs_pool(const StageEnv& env) {
    if (env.pool == nullptr) return fail(EINVAL, "there is no packet pool to take packets from");
    return {};
}

Made make_txgen(const Values& values, const StageEnv& env) {
    SLUICE_TRY_VOID(needs_pool(env));
    const TxGen::Options options = TxGen::options_of(values);
    const unsigned room = rte_pktmbuf_data_room_size(env.pool) - RTE_PKTMBUF_HEADROOM;
    if (options.size > room) {
        return fail(EMSGSIZE, "size = '{}' is more than an mbuf of the pool holds, {} bytes",
                    options.size, room);
    }
    return std::make_unique<TxGen>(options, env.pool);
}

Made make_pcap_in(const Values& values, const StageEnv& env) {
    SLUICE_TRY_VOID(needs_pool(env));
    return PcapIn::make(values, env.pool);
}

Made make_pcap_out(const Values& values, const StageEnv&) { return PcapOut::make(values); }

Made make_tee(const Values&, const StageEnv& env) {
    SLUICE_TRY_VOID(needs_pool(env));
    return std::make_unique<Tee>(env.pool);
}

std::span<const StageKind> table() noexcept {
    static const std::array<StageKind, 7> kinds = {{
        {"io", "hands packets on as they are", {}, &Io::kind, &make_plain<Io>, &holds_none},
        {"null", "discards packets", {}, &Null::kind, &make_plain<Null>, &holds_none},
        {"pcap_in", "sends the packets of a capture file", PcapIn::params(), &PcapIn::kind,
         &make_pcap_in, &holds_none},
        {"pcap_out", "writes packets to a capture file", PcapOut::params(), &PcapOut::kind,
         &make_pcap_out, &PcapOut::mbufs_held},
        {"sink", "receives packets and checks the numbers of txgen", {}, &Sink::kind,
         &make_plain<Sink>, &holds_none},
        {"tee", "gives each packet to both of its outlets", {}, &Tee::kind, &make_tee,
         &holds_none},
        {"txgen", "sends numbered Ethernet frames", TxGen::params(), &TxGen::kind, &make_txgen,
         &holds_none},
    }};
    return kinds;
}

Result<const StageKind*> kind_of(const dp::NodeSpec& node) {
    if (const StageKind* const kind = find_kind(node.kind)) return kind;
    std::string names;
    for (const StageKind& k : table()) {
        if (!names.empty()) names += ", ";
        names += k.name;
    }
    return fail(EINVAL, "{}there is no such kind of stage, expected one of {}", place_of(node),
                names);
}

}  // namespace

std::span<const StageKind> stage_table() noexcept { return table(); }

const StageKind* find_kind(std::string_view name) noexcept {
    for (const StageKind& kind : table()) {
        if (kind.name == name) return &kind;
    }
    return nullptr;
}

void add_kinds(dp::KindTable& kinds) {
    for (const StageKind& kind : table()) {
        kinds.insert_or_assign(std::string(kind.name), kind.info());
    }
}

Result<std::uint32_t> mbufs_held(const dp::NodeSpec& node) {
    SLUICE_TRY(const StageKind* const kind, kind_of(node));
    SLUICE_TRY(const Values values, resolve(node, kind->params));
    return kind->mbufs_held(values);
}

Result<std::unique_ptr<dp::Stage>> make_stage(const dp::NodeSpec& node, const StageEnv& env) {
    SLUICE_TRY(const StageKind* const kind, kind_of(node));
    SLUICE_TRY(const Values values, resolve(node, kind->params));
    auto stage = kind->make(values, env);
    if (!stage) return fail(stage.error().code, "{}{}", place_of(node), stage.error().message);
    return stage;
}

}  // namespace sluice::stages
