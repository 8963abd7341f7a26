#include "dataplane/plan.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <set>

#include "base/check.hpp"
#include "dataplane/burst.hpp"

namespace sluice::dp {
namespace {

std::string at(const std::string& where) { return where.empty() ? "" : where + ": "; }

// Packets on their way: a burst in hand on each lcore, and what its pool cache may keep back.
constexpr std::uint32_t kMbufsPerLcore = 4 * kBurstMax;
constexpr std::uint32_t kMbufsLeast = 1024;
constexpr std::uint64_t kMbufsMost = (1ull << 30) - 1;
constexpr unsigned kOutletsMost = 32;  // KindInfo's masks

class Planner {
  public:
    Planner(const Graph& graph, const KindTable& kinds, const Placement& placement)
        : kinds_(kinds), placement_(placement) {
        plan_.graph = graph;
    }

    Result<Plan> run() {
        SLUICE_TRY_VOID(check_nodes());
        SLUICE_TRY_VOID(check_edges());
        SLUICE_TRY_VOID(place());
        realise_edges();
        make_run_lists();
        SLUICE_TRY_VOID(size_pool());
        return std::move(plan_);
    }

  private:
    const KindInfo& kind(const std::string& node) const { return *kind_of_.find(node)->second; }

    Result<> check_nodes() {
        for (const NodeSpec& node : plan_.graph.nodes) {
            auto found = kinds_.find(node.kind + ":" + node.name);
            if (found == kinds_.end()) found = kinds_.find(node.kind);
            if (found == kinds_.end()) {
                std::string known;
                for (const auto& [name, unused] : kinds_)
                    if (name.find(':') == std::string::npos)
                        known += (known.empty() ? "" : ", ") + name;
                return fail(EINVAL, "{}stage '{}' is of kind '{}', expected one of {}",
                            at(node.where), node.name, node.kind, known);
            }
            const KindInfo& info = found->second;
            SLUICE_CHECK(info.inlet_reaches.size() == info.inlets);
            if (info.outlets > kOutletsMost)
                return fail(EINVAL, "{}stage '{}' has {} outlets, expected at most {}",
                            at(node.where), node.name, info.outlets, kOutletsMost);
            if (!kind_of_.emplace(node.name, &info).second)
                return fail(EEXIST, "{}there is already a stage named '{}'", at(node.where),
                            node.name);
        }
        return {};
    }

    Result<> check_edges() {
        std::set<std::pair<std::string, unsigned>> outlets;
        for (const EdgeSpec& edge : plan_.graph.edges) {
            for (const std::string& end : {edge.from, edge.to})
                if (kind_of_.find(end) == kind_of_.end())
                    return fail(ENOENT, "{}edge {} -> {} names '{}', which is no stage here",
                                at(edge.where), edge.from, edge.to, end);
            if (edge.outlet >= kind(edge.from).outlets)
                return fail(EINVAL, "{}'{}' has no outlet {}; a {} has {}", at(edge.where),
                            edge.from, edge.outlet, kind(edge.from).name, kind(edge.from).outlets);
            if (edge.inlet >= kind(edge.to).inlets)
                return fail(EINVAL, "{}'{}' has no inlet {}; a {} has {}", at(edge.where), edge.to,
                            edge.inlet, kind(edge.to).name, kind(edge.to).inlets);
            if (!outlets.emplace(edge.from, edge.outlet).second)
                return fail(EEXIST, "{}outlet {} of '{}' is connected already; put a tee between",
                            at(edge.where), edge.outlet, edge.from);
            if (edge.capacity < 2 * kBurstMax || !std::has_single_bit(edge.capacity))
                return fail(EINVAL,
                            "{}capacity of edge {} -> {} is {}, expected a power of two of at "
                            "least {}",
                            at(edge.where), edge.from, edge.to, edge.capacity, 2 * kBurstMax);
        }
        return {};
    }

    Result<> place() {
        if (placement_.workers.empty())
            return fail(EINVAL,
                        "no lcore is left for the dataplane: expected at least one worker in -l or "
                        "--lcores");
        const auto& workers = placement_.workers;
        const auto known = [&](LcoreId id) {
            return std::find(workers.begin(), workers.end(), id) != workers.end();
        };
        std::string list;
        for (LcoreId id : workers) list += (list.empty() ? "" : ", ") + fmt::format("{}", id.value);
        if (std::set<LcoreId>(workers.begin(), workers.end()).size() != workers.size())
            return fail(EINVAL, "the workers {} name an lcore twice, expected each once", list);
        for (const NodeSpec& node : plan_.graph.nodes) {
            if (!node.lcore) continue;
            if (!known(*node.lcore))
                return fail(EINVAL, "{}'{}' is placed on lcore {}, expected one of the workers {}",
                            at(node.where), node.name, node.lcore->value, list);
            plan_.placed[node.name] = *node.lcore;
        }
        SLUICE_TRY_VOID(place_beside());
        // A stage that is fed runs where its feeder runs even if it has work of its own, such as a
        // transmit backlog. Only loops of such stages have no beginning, and take their first.
        place_sources(false);
        place_sources(true);
        for (const NodeSpec& node : plan_.graph.nodes)
            plan_.placed.try_emplace(node.name, placement_.workers.front());
        return place_beside();
    }

    // Follows "with", also through chains; complains about contradictions.
    Result<> place_beside() {
        for (bool changed = true; changed;) {
            changed = false;
            for (const NodeSpec& node : plan_.graph.nodes) {
                if (node.with.empty()) continue;
                if (kind_of_.find(node.with) == kind_of_.end())
                    return fail(ENOENT, "{}'{}' is to run beside '{}', which is no stage here",
                                at(node.where), node.name, node.with);
                const auto mine = plan_.placed.find(node.name);
                const auto other = plan_.placed.find(node.with);
                if (mine != plan_.placed.end() && other != plan_.placed.end()) {
                    if (mine->second != other->second)
                        return fail(EINVAL,
                                    "{}'{}' is placed on lcore {}, but must run beside '{}' on "
                                    "lcore {}",
                                    at(node.where), node.name, mine->second.value, node.with,
                                    other->second.value);
                } else if (other != plan_.placed.end()) {
                    plan_.placed[node.name] = other->second;
                    changed = true;
                } else if (mine != plan_.placed.end()) {
                    plan_.placed[node.with] = mine->second;
                    changed = true;
                }
            }
        }
        return {};
    }

    bool is_fed(const std::string& node) const {
        for (const EdgeSpec& edge : plan_.graph.edges)
            if (edge.to == node) return true;
        return false;
    }

    // Sources that nobody placed go round the workers, the emptiest first.
    void place_sources(bool fed) {
        for (const NodeSpec& node : plan_.graph.nodes) {
            if (!kind(node.name).source || plan_.placed.count(node.name) != 0) continue;
            if (is_fed(node.name) != fed) continue;
            std::map<LcoreId, unsigned> load;
            for (const auto& [name, id] : plan_.placed)
                if (kind(name).source && is_fed(name) == fed) ++load[id];
            LcoreId best = placement_.workers.front();
            for (LcoreId id : placement_.workers)
                if (load[id] < load[best]) best = id;
            plan_.placed[node.name] = best;
            static_cast<void>(place_beside());
            if (fed) place_downstream();
        }
        place_downstream();
    }

    // Everything else runs where its first feeder runs: run to completion is the default.
    void place_downstream() {
        for (bool changed = true; changed;) {
            changed = false;
            for (const EdgeSpec& edge : plan_.graph.edges) {
                const auto from = plan_.placed.find(edge.from);
                if (from == plan_.placed.end() || plan_.placed.count(edge.to) != 0) continue;
                plan_.placed[edge.to] = from->second;
                // At once, or two feeders would part what is to run together.
                static_cast<void>(place_beside());
                changed = true;
            }
        }
    }

    // Would a direct call along `edge` come back to where it started? Walks what the entry point
    // behind the edge may emit to, over direct edges only.
    bool closes_loop(const PlannedEdge& edge) const {
        std::set<std::pair<std::string, unsigned>> seen;
        std::vector<std::pair<std::string, unsigned>> open{{edge.spec.to, edge.spec.inlet}};
        while (!open.empty()) {
            const auto [node, inlet] = open.back();
            open.pop_back();
            if (!seen.emplace(node, inlet).second) continue;
            const std::uint32_t mask = kind(node).inlet_reaches.at(inlet);
            for (const PlannedEdge& next : plan_.edges) {
                if (next.spec.from != node || next.via != PlannedEdge::Via::direct) continue;
                if ((mask >> next.spec.outlet & 1u) == 0) continue;
                if (&next == &edge) return true;
                open.emplace_back(next.spec.to, next.spec.inlet);
            }
        }
        return false;
    }

    void realise_edges() {
        for (const EdgeSpec& spec : plan_.graph.edges) {
            PlannedEdge edge;
            edge.spec = spec;
            edge.via = plan_.placed[spec.from] == plan_.placed[spec.to] ? PlannedEdge::Via::direct
                                                                        : PlannedEdge::Via::ring;
            plan_.edges.push_back(edge);
        }
        // A loop on one lcore is cut with a ring, at the edge that was written last.
        for (std::size_t i = plan_.edges.size(); i-- > 0;)
            if (plan_.edges[i].via == PlannedEdge::Via::direct && closes_loop(plan_.edges[i]))
                plan_.edges[i].via = PlannedEdge::Via::ring;
        for (PlannedEdge& edge : plan_.edges)
            if (edge.via == PlannedEdge::Via::ring) edge.ring = ring_for(edge.spec);
    }

    std::size_t ring_for(const EdgeSpec& spec) {
        const std::string name = fmt::format("{}.{}", spec.to, spec.inlet);
        auto ring = std::find_if(plan_.rings.begin(), plan_.rings.end(),
                                 [&](const PlannedRing& r) { return r.name == name; });
        if (ring == plan_.rings.end()) {
            plan_.rings.push_back({name, spec.to, spec.inlet, plan_.placed[spec.to], spec.capacity,
                                   false, {}});
            ring = plan_.rings.end() - 1;
        }
        ring->capacity = std::max(ring->capacity, spec.capacity);
        ring->producers.push_back(spec.from);
        std::set<LcoreId> lcores;
        for (const std::string& producer : ring->producers) lcores.insert(plan_.placed[producer]);
        ring->multi_producer = lcores.size() > 1;
        return static_cast<std::size_t>(ring - plan_.rings.begin());
    }

    // The hold and credit edges that packets from `node` can reach by direct calls alone.
    void collect_holds(const std::string& node, std::uint32_t mask, std::set<std::size_t>& holds,
                       std::set<std::pair<std::string, unsigned>>& seen) const {
        for (std::size_t i = 0; i < plan_.edges.size(); ++i) {
            const PlannedEdge& edge = plan_.edges[i];
            if (edge.spec.from != node || (mask >> edge.spec.outlet & 1u) == 0) continue;
            if (edge.spec.backpressure != Backpressure::drop_tail) holds.insert(i);
            if (edge.via == PlannedEdge::Via::ring) continue;
            if (!seen.emplace(edge.spec.to, edge.spec.inlet).second) continue;
            collect_holds(edge.spec.to, kind(edge.spec.to).inlet_reaches.at(edge.spec.inlet), holds,
                          seen);
        }
    }

    PlannedEntry entry_of(const std::string& node, std::uint32_t mask) const {
        PlannedEntry entry;
        entry.node = node;
        std::set<std::size_t> holds;
        std::set<std::pair<std::string, unsigned>> seen;
        collect_holds(node, mask, holds, seen);
        entry.hold_edges.assign(holds.begin(), holds.end());
        return entry;
    }

    void make_run_lists() {
        for (LcoreId id : placement_.workers) {
            PlannedLcore lcore;
            lcore.id = id;
            const auto idle = placement_.idle_of.find(id);
            lcore.idle = idle == placement_.idle_of.end() ? placement_.idle : idle->second;
            for (const NodeSpec& node : plan_.graph.nodes) {
                if (plan_.placed[node.name] != id) continue;
                lcore.nodes.push_back(node.name);
                if (kind(node.name).source)
                    lcore.run.push_back(entry_of(node.name, kind(node.name).poll_reaches));
            }
            for (std::size_t i = 0; i < plan_.rings.size(); ++i) {
                const PlannedRing& ring = plan_.rings[i];
                if (ring.consumer != id) continue;
                PlannedEntry entry =
                    entry_of(ring.to, kind(ring.to).inlet_reaches.at(ring.inlet));
                entry.from_ring = true;
                entry.ring = i;
                lcore.run.push_back(std::move(entry));
            }
            plan_.lcores.push_back(std::move(lcore));
        }
    }

    // Every place a packet can rest has its own packets, so that no queue can starve another: a
    // pool smaller than the receive rings of all ports loses everything without an error.
    Result<> size_pool() {
        std::uint64_t total = placement_.mbufs_extra;
        for (const NodeSpec& node : plan_.graph.nodes) total += node.mbufs_held;
        for (const PlannedRing& ring : plan_.rings) total += ring.capacity;
        total += plan_.edges.size() * 2 * kBurstMax;
        total += plan_.lcores.size() * (kMbufsPerLcore + 2ull * placement_.mbuf_cache);
        total = std::max<std::uint64_t>(total, kMbufsLeast);
        if (total > kMbufsMost)
            return fail(EINVAL, "the graph may hold {} mbufs at once, expected at most {}", total,
                        kMbufsMost);
        // 2^n - 1 is what a mempool's ring holds without waste.
        plan_.mbufs = static_cast<std::uint32_t>(std::bit_ceil(total + 1) - 1);
        return {};
    }

    const KindTable& kinds_;
    const Placement& placement_;
    std::map<std::string, const KindInfo*, std::less<>> kind_of_;
    Plan plan_;
};

const NodeSpec* find_node(const Graph& graph, const std::string& name) {
    for (const NodeSpec& node : graph.nodes)
        if (node.name == name) return &node;
    return nullptr;
}

const PlannedRing* find_ring(const Plan& plan, const std::string& name) {
    for (const PlannedRing& ring : plan.rings)
        if (ring.name == name) return &ring;
    return nullptr;
}

bool same_stage(const NodeSpec& a, const NodeSpec& b) {
    return a.kind == b.kind && a.params == b.params;
}

bool same_wiring(const Plan& from, const Plan& to) {
    const auto key = [](const Plan& p) {
        std::set<std::string> edges;
        for (const PlannedEdge& e : p.edges)
            edges.insert(fmt::format("{}.{}>{}.{} {} {}", e.spec.from, e.spec.outlet, e.spec.to,
                                     e.spec.inlet, static_cast<int>(e.spec.backpressure),
                                     static_cast<int>(e.via)));
        return edges;
    };
    return key(from) == key(to);
}

// A string inside the quotes of a DOT file.
std::string dot_escaped(std::string_view text) {
    std::string out;
    for (char c : text) {
        if (c == '"' || c == '\\') out += '\\';
        out += c;
    }
    return out;
}

}  // namespace

std::string_view to_string(Backpressure b) noexcept {
    switch (b) {
        case Backpressure::drop_tail: return "drop_tail";
        case Backpressure::hold: return "hold";
        case Backpressure::credit: return "credit";
    }
    return "?";
}

std::optional<Backpressure> backpressure_of(std::string_view text) noexcept {
    for (Backpressure b : {Backpressure::drop_tail, Backpressure::hold, Backpressure::credit})
        if (text == to_string(b)) return b;
    return std::nullopt;
}

const PlannedLcore* Plan::lcore(LcoreId id) const noexcept {
    for (const PlannedLcore& l : lcores)
        if (l.id == id) return &l;
    return nullptr;
}

Result<Plan> plan(const Graph& graph, const KindTable& kinds, const Placement& placement) {
    return Planner(graph, kinds, placement).run();
}

std::vector<Action> diff(const Plan& from, const Plan& to) {
    using Kind = Action::Kind;
    std::vector<Action> actions;
    std::vector<Action> removals;
    if (to.mbufs > from.mbufs) actions.push_back({Kind::grow_pool, fmt::format("{}", to.mbufs)});
    for (const NodeSpec& node : to.graph.nodes) {
        const NodeSpec* old = find_node(from.graph, node.name);
        if (old == nullptr || !same_stage(*old, node))
            actions.push_back({Kind::add_stage, node.name});
    }
    for (const PlannedRing& ring : to.rings) {
        const PlannedRing* old = find_ring(from, ring.name);
        if (old == nullptr || !(*old == ring)) actions.push_back({Kind::add_ring, ring.name});
    }
    for (const auto& [name, lcore] : to.placed) {
        const NodeSpec* old = find_node(from.graph, name);
        if (old != nullptr && same_stage(*old, *find_node(to.graph, name)) &&
            from.placed.find(name)->second != lcore)
            actions.push_back({Kind::move_stage, name});
    }
    for (const PlannedRing& ring : from.rings) {
        const PlannedRing* kept = find_ring(to, ring.name);
        if (kept == nullptr || !(*kept == ring)) removals.push_back({Kind::remove_ring, ring.name});
    }
    for (const NodeSpec& node : from.graph.nodes) {
        const NodeSpec* kept = find_node(to.graph, node.name);
        if (kept == nullptr || !same_stage(*kept, node))
            removals.push_back({Kind::remove_stage, node.name});
    }
    if (!actions.empty() || !removals.empty() || !same_wiring(from, to))
        actions.push_back({Kind::rewire, ""});
    actions.insert(actions.end(), removals.begin(), removals.end());
    return actions;
}

std::string to_text(const Plan& plan) {
    std::string out;
    for (const PlannedLcore& lcore : plan.lcores) {
        out += fmt::format("lcore {} ({})\n", lcore.id.value,
                           lcore.idle == Idle::busy ? "busy" : "adaptive");
        if (lcore.nodes.empty()) out += "  nothing to do\n";
        for (const PlannedEntry& entry : lcore.run)
            out += entry.from_ring
                       ? fmt::format("  take ring {} -> {}\n", plan.rings[entry.ring].name,
                                     entry.node)
                       : fmt::format("  poll {}\n", entry.node);
        for (const std::string& name : lcore.nodes) {
            const NodeSpec* node = find_node(plan.graph, name);
            out += fmt::format("  stage {} ({})", name, node->kind);
            for (const auto& [key, value] : node->params) out += fmt::format(" {}={}", key, value);
            out += "\n";
        }
    }
    for (const PlannedEdge& edge : plan.edges)
        out += fmt::format(
            "edge {}.{} -> {}.{} {} {}\n", edge.spec.from, edge.spec.outlet, edge.spec.to,
            edge.spec.inlet,
            edge.via == PlannedEdge::Via::direct ? "call" : "ring",
            to_string(edge.spec.backpressure));
    for (const PlannedRing& ring : plan.rings)
        out += fmt::format("ring {} capacity {} {} -> lcore {}\n", ring.name, ring.capacity,
                           ring.multi_producer ? "MP/SC" : "SP/SC", ring.consumer.value);
    out += fmt::format("pool {} mbufs\n", plan.mbufs);
    return out;
}

std::string to_dot(const Plan& plan) {
    std::string out = "digraph sluice {\n  rankdir=LR;\n  node [shape=box];\n";
    for (const PlannedLcore& lcore : plan.lcores) {
        out += fmt::format("  subgraph \"cluster_{}\" {{\n    label=\"lcore {}\";\n",
                           lcore.id.value, lcore.id.value);
        for (const std::string& name : lcore.nodes)
            out += fmt::format("    \"{0}\" [label=\"{0}\\n{1}\"];\n", dot_escaped(name),
                               dot_escaped(find_node(plan.graph, name)->kind));
        out += "  }\n";
    }
    for (const PlannedEdge& edge : plan.edges)
        out += fmt::format("  \"{}\" -> \"{}\" [label=\"{}\"{}];\n", dot_escaped(edge.spec.from),
                           dot_escaped(edge.spec.to), to_string(edge.spec.backpressure),
                           edge.via == PlannedEdge::Via::ring ? ", style=dashed" : "");
    return out + "}\n";
}

}  // namespace sluice::dp
