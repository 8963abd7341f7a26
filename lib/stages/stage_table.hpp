#pragma once

#include <rte_mempool.h>

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

#include "base/result.hpp"
#include "dataplane/graph.hpp"
#include "dataplane/kind.hpp"
#include "dataplane/stage.hpp"
#include "stages/params.hpp"

// The kinds of stages that can be wired by hand. Add a stage: its hpp and cpp, and a row here.
namespace sluice::stages {

// What a stage is made with. The pool outlives the stages.
struct StageEnv {
    rte_mempool* pool = nullptr;
};

struct StageKind {
    std::string_view name;
    std::string_view help;
    std::span<const ParamDesc> params;
    dp::KindInfo (*info)();
    // The settings have been checked; what else may fail (a file) is an error without the place.
    Result<std::unique_ptr<dp::Stage>> (*make)(const Values&, const StageEnv&);
    // The most packets it keeps, for NodeSpec::mbufs_held.
    std::uint32_t (*mbufs_held)(const Values&);
};

std::span<const StageKind> stage_table() noexcept;
const StageKind* find_kind(std::string_view name) noexcept;

// For the planner: adds what it must know of all kinds of the table.
void add_kinds(dp::KindTable& kinds);

// Checks the settings without making anything, and gives the packets it would keep; needs no EAL.
Result<std::uint32_t> mbufs_held(const dp::NodeSpec& node);

// Errors start with the node's `where`, if there is one, and its name.
Result<std::unique_ptr<dp::Stage>> make_stage(const dp::NodeSpec& node, const StageEnv& env);

}  // namespace sluice::stages
