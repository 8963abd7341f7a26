#include <catch2/catch.hpp>
#include <rapidcheck.h>

#include <set>

#include "graphs.hpp"

using namespace sluice;
using namespace sluice::dp;
using namespace sluice::dp::test;

namespace {

struct Drawn {
    Graph graph;
    KindTable kinds;
    Placement placement;
};

// Any graph: node i has up to three inlets and outlets with any reach, is a source or not, and is
// placed, put beside an earlier node, or neither; `back` allows edges that go back.
Drawn draw(bool back) {
    Drawn d;
    const auto in = [](int low, int high) { return *rc::gen::inRange(low, high + 1); };
    const int lcores = in(1, 3);
    for (int i = 1; i <= lcores; ++i) d.placement.workers.emplace_back(std::uint16_t(i));
    const int nodes = in(1, 8);
    for (int i = 0; i < nodes; ++i) {
        KindInfo k;
        k.name = "any";
        k.source = in(0, 1) == 1;
        k.inlets = static_cast<unsigned>(in(0, 3));
        k.outlets = static_cast<unsigned>(in(0, 3));
        k.poll_reaches = static_cast<std::uint32_t>(in(0, 7)) & KindInfo::mask_of(k.outlets);
        for (unsigned j = 0; j < k.inlets; ++j)
            k.inlet_reaches.push_back(static_cast<std::uint32_t>(in(0, 7)) &
                                      KindInfo::mask_of(k.outlets));
        NodeSpec n = node(fmt::format("n{}", i), "any");
        d.kinds.emplace("any:" + n.name, k);
        const int where = in(0, 3);
        if (where == 0) n.lcore = LcoreId(static_cast<std::uint16_t>(in(1, lcores)));
        if (where == 1 && i > 0) n.with = fmt::format("n{}", in(0, i - 1));
        d.graph.nodes.push_back(n);
    }
    for (int i = 0; i < nodes; ++i) {
        const KindInfo& k = d.kinds.find(fmt::format("any:n{}", i))->second;
        for (unsigned o = 0; o < k.outlets; ++o) {
            const int to = back ? in(0, nodes - 1) : in(0, nodes);
            if (to >= nodes || (!back && to <= i)) continue;
            const unsigned inlets = d.kinds.find(fmt::format("any:n{}", to))->second.inlets;
            if (inlets == 0) continue;
            EdgeSpec e = edge_at(fmt::format("n{}", i), o, fmt::format("n{}", to),
                                 static_cast<unsigned>(in(0, static_cast<int>(inlets) - 1)));
            e.backpressure = static_cast<Backpressure>(in(0, 2));
            d.graph.edges.push_back(e);
        }
    }
    return d;
}

// Depth-first over direct calls: true if some entry point can come back to itself.
bool calls_itself(const Drawn& d, const Plan& p, const std::string& node, unsigned inlet,
                  std::set<std::pair<std::string, unsigned>>& stack,
                  std::set<std::pair<std::string, unsigned>>& finished) {
    const std::pair<std::string, unsigned> here{node, inlet};
    if (stack.count(here) != 0) return true;
    if (finished.count(here) != 0) return false;
    stack.insert(here);
    const std::uint32_t mask = d.kinds.find("any:" + node)->second.inlet_reaches.at(inlet);
    for (const PlannedEdge& e : p.edges)
        if (e.spec.from == node && e.via == PlannedEdge::Via::direct &&
            (mask >> e.spec.outlet & 1u) != 0 &&
            calls_itself(d, p, e.spec.to, e.spec.inlet, stack, finished))
            return true;
    stack.erase(here);
    finished.insert(here);
    return false;
}

void check_plan(const Drawn& d, const Plan& p) {
    RC_ASSERT(p.placed.size() == d.graph.nodes.size());
    for (const NodeSpec& n : d.graph.nodes) {
        if (n.lcore) RC_ASSERT(p.placed.at(n.name) == *n.lcore);
        if (!n.with.empty()) RC_ASSERT(p.placed.at(n.name) == p.placed.at(n.with));
    }
    RC_ASSERT(p.edges.size() == d.graph.edges.size());
    std::size_t producers = 0;
    for (std::size_t i = 0; i < p.edges.size(); ++i) {
        const PlannedEdge& e = p.edges[i];
        RC_ASSERT(e.spec.from == d.graph.edges[i].from);
        RC_ASSERT(e.spec.outlet == d.graph.edges[i].outlet);
        RC_ASSERT(e.spec.to == d.graph.edges[i].to);
        RC_ASSERT(e.spec.inlet == d.graph.edges[i].inlet);
        if (e.via == PlannedEdge::Via::direct) {
            RC_ASSERT(p.placed.at(e.spec.from) == p.placed.at(e.spec.to));
            continue;
        }
        ++producers;
        const PlannedRing& ring = p.rings.at(e.ring);
        RC_ASSERT(ring.to == e.spec.to);
        RC_ASSERT(ring.inlet == e.spec.inlet);
        RC_ASSERT(ring.consumer == p.placed.at(e.spec.to));
        RC_ASSERT(ring.capacity >= e.spec.capacity);
    }
    std::size_t in_rings = 0;
    for (const PlannedRing& ring : p.rings) {
        in_rings += ring.producers.size();
        std::set<LcoreId> lcores;
        for (const std::string& from : ring.producers) lcores.insert(p.placed.at(from));
        RC_ASSERT(ring.multi_producer == (lcores.size() > 1));
    }
    RC_ASSERT(in_rings == producers);
    // Every ring and every source is looked at by exactly one lcore, its own.
    std::multiset<std::string> looked;
    for (const PlannedLcore& l : p.lcores)
        for (const PlannedEntry& e : l.run) {
            RC_ASSERT(p.placed.at(e.node) == l.id);
            looked.insert(e.from_ring ? "ring " + p.rings.at(e.ring).name : "poll " + e.node);
        }
    std::multiset<std::string> due;
    for (const PlannedRing& ring : p.rings) due.insert("ring " + ring.name);
    for (const NodeSpec& n : d.graph.nodes)
        if (d.kinds.find("any:" + n.name)->second.source) due.insert("poll " + n.name);
    RC_ASSERT(looked == due);
    std::set<std::pair<std::string, unsigned>> stack, finished;
    for (const PlannedEdge& e : p.edges)
        RC_ASSERT_FALSE(calls_itself(d, p, e.spec.to, e.spec.inlet, stack, finished));
    RC_ASSERT(diff(p, p).empty());
}

void check_any(bool back) {
    const Drawn d = draw(back);
    auto result = plan(d.graph, d.kinds, d.placement);
    // The only thing that can be wrong with such a graph: "beside" against explicit lcores.
    if (!result) {
        RC_ASSERT(result.error().message.find("must run beside") != std::string::npos);
        RC_DISCARD("contradiction");
    }
    check_plan(d, *result);
    if (!back)
        for (const PlannedEdge& e : result->edges)
            RC_ASSERT((e.via == PlannedEdge::Via::direct) ==
                      (result->placed.at(e.spec.from) == result->placed.at(e.spec.to)));
}

}  // namespace

TEST_CASE("any acyclic graph is realised faithfully, without a ring it does not need") {
    CHECK(rc::check([] { check_any(false); }));
}

TEST_CASE("any graph is realised faithfully, and no stage calls itself") {
    CHECK(rc::check([] { check_any(true); }));
}

TEST_CASE("diff leads from any plan to any other") {
    CHECK(rc::check([] {
        const Drawn from = draw(true);
        const Drawn to = draw(true);
        auto a = plan(from.graph, from.kinds, from.placement);
        auto b = plan(to.graph, to.kinds, to.placement);
        if (!a || !b) RC_DISCARD("contradiction");
        // Counted, because a stage that is replaced is there twice around the switch.
        std::map<std::string, int> things, due;
        for (const NodeSpec& n : a->graph.nodes) ++things["stage " + n.name];
        for (const PlannedRing& r : a->rings) ++things["ring " + r.name];
        for (const NodeSpec& n : b->graph.nodes) ++due["stage " + n.name];
        for (const PlannedRing& r : b->rings) ++due["ring " + r.name];
        bool rewired = false;
        for (const Action& x : diff(*a, *b)) {
            using Kind = Action::Kind;
            const bool adds = x.kind == Kind::add_stage || x.kind == Kind::add_ring;
            const bool removes = x.kind == Kind::remove_stage || x.kind == Kind::remove_ring;
            if (adds) RC_ASSERT_FALSE(rewired);
            if (removes) RC_ASSERT(rewired);
            if (x.kind == Kind::rewire) rewired = true;
            if (adds || removes) {
                const bool stage = x.kind == Kind::add_stage || x.kind == Kind::remove_stage;
                int& count = things[(stage ? "stage " : "ring ") + x.subject];
                count += adds ? 1 : -1;
                if (count == 0) things.erase((stage ? "stage " : "ring ") + x.subject);
            }
        }
        RC_ASSERT(things == due);
    }));
}
