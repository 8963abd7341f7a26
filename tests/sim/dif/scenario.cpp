#include "scenario.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <map>
#include <toml++/toml.h>

#include "base/rng.hpp"

namespace sluice::sim {

namespace {

constexpr const char* kTopologies[] = {"line", "ring", "star", "tree", "mesh", "random"};
constexpr const char* kMoreTopologies[] = {"segments", "hosts"};  // never drawn for their own sake
constexpr const char* kKinds[] = {"wire", "shim-eth", "shim-udp", "shim-hv", "mixed"};

using Setter = std::function<bool(Scenario&, const toml::node&)>;

template <typename T>
Setter set(T Scenario::*member) {
    return [member](Scenario& s, const toml::node& node) {
        using V = std::conditional_t<
            std::is_same_v<T, bool>, bool,
            std::conditional_t<std::is_same_v<T, std::string>, std::string, double>>;
        const auto value = node.value<V>();
        if (!value) return false;
        if constexpr (std::is_arithmetic_v<V> && !std::is_same_v<V, bool>)
            if (*value < 0) return false;
        s.*member = static_cast<T>(*value);
        return true;
    };
}

const std::map<std::string_view, Setter>& setters() {
    using S = Scenario;
    static const std::map<std::string_view, Setter> kSetters{
        {"lower", set(&S::lower)},             {"segment", set(&S::segment)},
        {"trunk", set(&S::trunk)},             {"lossy_rings", set(&S::lossy_rings)},
        {"disturbances", set(&S::disturbances)}, {"tunings", set(&S::tunings)},
        {"topology", set(&S::topology)},       {"nodes", set(&S::nodes)},
        {"levels", set(&S::levels)},           {"wide", set(&S::wide)},
        {"scheduler", set(&S::scheduler)},     {"protection", set(&S::protection)},
        {"link_mbps", set(&S::link_mbps)},     {"delay_ms", set(&S::delay_ms)},
        {"loss", set(&S::loss)},               {"duplicate", set(&S::duplicate)},
        {"reorder", set(&S::reorder)},         {"flows", set(&S::flows)},
        {"sdus", set(&S::sdus)},               {"sdu_bytes_max", set(&S::sdu_bytes_max)},
        {"reliable", set(&S::reliable)},       {"gap_ms", set(&S::gap_ms)},
        {"closes_early", set(&S::closes_early)}, {"cuts", set(&S::cuts)},
        {"silent_cuts", set(&S::silent_cuts)}, {"crashes", set(&S::crashes)},
        {"partitions", set(&S::partitions)},   {"slow_readers", set(&S::slow_readers)},
        {"crash_first", set(&S::crash_first)}, {"hostile", set(&S::hostile)},
        {"safety_s", set(&S::safety_s)},       {"liveness_s", set(&S::liveness_s)},
        {"checks_all_pairs", set(&S::checks_all_pairs)},
        {"releases", set(&S::releases)},       {"late_numbers", set(&S::late_numbers)},
        {"flow_control", set(&S::flow_control)}, {"same_size", set(&S::same_size)},
        {"bandwidth", set(&S::bandwidth)},     {"departs", set(&S::departs)},
        {"address_clash", set(&S::address_clash)}, {"impostor", set(&S::impostor)},
    };
    return kSetters;
}

}  // namespace

Result<> Scenario::check_lower(const std::string& list) {
    for (std::size_t from = 0; from <= list.size();) {
        const std::size_t comma = std::min(list.find(',', from), list.size());
        const std::string kind = list.substr(from, comma - from);
        if (std::find(std::begin(kKinds), std::end(kKinds), kind) == std::end(kKinds))
            return fail(EINVAL, "'{}' joins no nodes, expected wire, shim-eth, shim-udp, shim-hv "
                        "or mixed", kind);
        from = comma + 1;
    }
    return {};
}

Result<Scenario> Scenario::load(const std::string& path) {
    toml::table file;
    try {
        file = toml::parse_file(path);
    } catch (const toml::parse_error& error) {
        return fail(EINVAL, "{}:{}: {}", path, error.source().begin.line, error.description());
    }
    Scenario out;
    const std::size_t slash = path.rfind('/') + 1;
    out.name = path.substr(slash, path.rfind('.') - slash);
    for (const auto& [key, node] : file) {
        const auto setter = setters().find(key.str());
        if (setter == setters().end())
            return fail(EINVAL, "{}:{}: key '{}' is unknown", path, node.source().begin.line,
                        key.str());
        if (!setter->second(out, node))
            return fail(EINVAL, "{}:{}: '{}' cannot be that", path, node.source().begin.line,
                        key.str());
    }
    const auto is_one_of = [](const auto& all, const std::string& it) {
        return std::find(std::begin(all), std::end(all), it) != std::end(all);
    };
    if (!is_one_of(kTopologies, out.topology) && !is_one_of(kMoreTopologies, out.topology))
        return fail(EINVAL, "{}: topology '{}', expected line, ring, star, tree, mesh, random, "
                    "segments or hosts", path, out.topology);
    SLUICE_TRY_VOID(check_lower(out.lower));
    if (out.segment < 2)
        return fail(EINVAL, "{}: a segment of {} nodes, expected at least 2", path, out.segment);
    if (out.nodes < 2 || out.levels < 1 || out.levels > 8)
        return fail(EINVAL, "{}: at least 2 nodes and 1 to 8 levels", path);
    return out;
}

// Every run draws other features ("swarm testing", Groce et al., ISSTA 2012): with fewer kinds of
// trouble a run goes deeper.
Scenario Scenario::draw(std::uint64_t seed) {
    Rng rng(Rng(seed ^ 0x6469662d73696dull).next());
    Scenario s;
    s.seed = seed;
    s.topology = kTopologies[rng.below(6)];
    s.nodes = rng.between(2, 7);
    s.levels = rng.chance(0.15) ? 2 : 1;
    if (s.levels == 1 && rng.chance(0.05)) s.levels = 3;
    if (s.levels > 1) s.nodes = std::min<std::size_t>(s.nodes, 4);
    s.wide = rng.chance(0.2);
    constexpr const char* kSchedulers[] = {"fifo", "pfifo", "wrr", "drr", "qos"};
    s.scheduler = kSchedulers[rng.below(5)];
    constexpr const char* kProtections[] = {"none", "none", "inet", "crc32c", "ttl"};
    s.protection = kProtections[rng.below(5)];
    s.link_mbps = rng.chance(0.2) ? 2 : 1000;
    s.delay_ms = rng.chance(0.3) ? 20 : 1;
    if (rng.chance(0.5)) s.loss = rng.chance(0.5) ? 0.05 : 0.01;
    if (rng.chance(0.3)) s.duplicate = 0.02;
    if (rng.chance(0.3)) s.reorder = 0.05;
    s.flows = static_cast<unsigned>(rng.between(1, 8));
    s.sdus = static_cast<unsigned>(rng.between(1, 200));
    if (rng.chance(0.3)) s.sdu_bytes_max = 20'000;
    s.gap_ms = rng.chance(0.5) ? 0 : 20;
    if (rng.chance(0.3)) s.cuts = static_cast<unsigned>(rng.between(1, 3));
    if (rng.chance(0.2)) s.silent_cuts = 1;
    if (rng.chance(0.3)) s.crashes = static_cast<unsigned>(rng.between(1, 2));
    if (rng.chance(0.1)) s.partitions = 1;
    if (rng.chance(0.2)) s.slow_readers = 1;
    s.crash_first = rng.chance(0.1);
    s.hostile = s.nodes > 2 && s.levels == 1 && rng.chance(0.15);
    s.draw_rarer();
    return s;
}

// From numbers of their own: a seed keeps what it had before there were these.
void Scenario::draw_rarer() {
    Rng rng(Rng(seed ^ 0x6d6f72652d73696dull).next());
    if (rng.chance(0.15)) releases = static_cast<unsigned>(rng.between(1, 2));
    late_numbers = rng.chance(0.2);
    flow_control = rng.chance(0.2);
    same_size = rng.chance(0.2);
    bandwidth = rng.chance(0.2);
    if (rng.chance(0.1)) protection = "aes-128-gcm";
    const bool can_die = rng.chance(0.2), can_clash = rng.chance(0.3);
    impostor = hostile && rng.chance(0.5);
    if (!is_orderly() || nodes < 3) return;
    departs = can_die;
    address_clash = can_clash;
}

bool Scenario::is_orderly() const {
    return cuts + silent_cuts + crashes + partitions + releases + disturbances == 0 &&
           !crash_first && !hostile && !address_clash && levels == 1;
}

// From numbers of their own, so that a seed keeps whatever else it has.
void Scenario::draw_media() {
    Rng rng(Rng(seed ^ 0x6d656469612d73ull).next());
    constexpr const char* kDrawn[] = {"wire",    "wire",  "shim-eth", "shim-udp",
                                      "shim-hv", "mixed", "mixed",    "shim-hv,shim-eth,shim-hv"};
    lower = kDrawn[rng.below(std::size(kDrawn))];
    // Keys are fixed here, and go with numbers that begin anew with a flow: both ends have to know
    // that one has ended, or what one sends is old to the other.
    const bool is_sealed = protection.starts_with("aes");
    if (is_sealed && lower != "wire") lower = "shim-hv";
    if (!is_sealed && rng.chance(0.2)) {
        topology = "segments";
        segment = rng.between(3, 4);
    } else if (!is_sealed && nodes > 3 && rng.chance(0.15)) {
        topology = "hosts";
        lower = "shim-eth,shim-hv";
        segment = rng.between(2, 3);
    }
    // One slow card for all of a node's links would have no room for its own management.
    trunk = rng.chance(0.3) && link_mbps >= 100;
    lossy_rings = rng.chance(0.3);
    if (rng.chance(0.4)) disturbances = static_cast<unsigned>(rng.between(1, 4));
}

std::string Scenario::to_string() const {
    std::string rarer;
    const auto say = [&](bool is_so, std::string_view what) {
        if (is_so) rarer += fmt::format(", {}", what);
    };
    say(releases != 0, "releases");
    say(late_numbers, "late numbers");
    say(flow_control, "flow control");
    say(same_size, "same size");
    say(bandwidth, "bandwidth");
    say(departs, "departs");
    say(impostor, "impostor");
    say(address_clash, "address clash");
    return fmt::format(
        "{} seed {}: {} of {} nodes, {} level(s), {} bytes PCI, {}, {}; {} Mb/s, {} ms, loss {}, "
        "duplicate {}, reorder {}; {} flows of {} SDUs to {} B, gap {} ms; cuts {}, silent {}, "
        "crashes {}{}, partitions {}, slow {}{}{}",
        name, seed, fmt::format("{} by {}{}", topology, lower, trunk ? ", VLANs" : ""),
        nodes, levels, wide ? 34 : 28, scheduler, protection, link_mbps,
        delay_ms, loss, duplicate, reorder, flows, sdus, sdu_bytes_max, gap_ms, cuts, silent_cuts,
        crashes, crash_first ? " and the first" : "", partitions, slow_readers,
        hostile ? ", hostile" : "", rarer);
}

}  // namespace sluice::sim
