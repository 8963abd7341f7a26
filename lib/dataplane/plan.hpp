#pragma once

#include <string>
#include <variant>
#include <vector>

#include "base/result.hpp"
#include "dataplane/graph.hpp"

// Pure: graph + placement -> what each lcore does, which rings exist, how large the pool must be.
namespace sluice::dp {

// How one edge is realised.
struct PlannedEdge {
    EdgeSpec spec;
    enum class Via : std::uint8_t { direct, ring } via = Via::direct;
    std::size_t ring = 0;  // index into Plan::rings
};

struct PlannedRing {
    std::string name;  // stable over plans: "TO.INLET"
    std::string to;
    unsigned inlet = 0;
    LcoreId consumer{};
    unsigned capacity = 0;
    bool multi_producer = false;
    std::vector<std::string> producers;

    bool operator==(const PlannedRing&) const = default;
};

// One thing an lcore looks at in each iteration: a source, or a ring that feeds a stage.
struct PlannedEntry {
    std::string node;
    bool from_ring = false;
    std::size_t ring = 0;
    // Edges with hold or credit that this entry's packets can reach by direct calls: while one of
    // them is holding, the entry rests.
    std::vector<std::size_t> hold_edges;
};

struct PlannedLcore {
    LcoreId id{};
    Idle idle = Idle::adaptive;
    std::vector<std::string> nodes;
    std::vector<PlannedEntry> run;
};

struct Plan {
    Graph graph;
    std::map<std::string, LcoreId, std::less<>> placed;
    std::vector<PlannedEdge> edges;
    std::vector<PlannedRing> rings;
    std::vector<PlannedLcore> lcores;
    std::uint32_t mbufs = 0;  // the pool's size

    const PlannedLcore* lcore(LcoreId id) const noexcept;
};

// Errors name the node's or edge's "where" and say what was expected.
Result<Plan> plan(const Graph& graph, const KindTable& kinds, const Placement& placement);

// What leads from one plan to the next, in the order in which it must happen. Stages that both
// plans have on the same lcore are not mentioned: they keep their state.
struct Action {
    enum class Kind : std::uint8_t {
        add_stage, add_ring, rewire, move_stage, remove_ring, remove_stage, grow_pool,
    };
    Kind kind;
    std::string subject;

    bool operator==(const Action&) const = default;
};
std::vector<Action> diff(const Plan& from, const Plan& to);

std::string to_text(const Plan& plan);
std::string to_dot(const Plan& plan);

}  // namespace sluice::dp
