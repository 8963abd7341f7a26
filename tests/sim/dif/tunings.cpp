#include <array>

#include "world.hpp"

// An operator who changes parameters while everything runs, within what a DIF has to live with.
namespace sluice::sim {

namespace {

struct Tuning {
    const char* component;
    const char* name;
    std::array<const char*, 3> values;
};
constexpr Tuning kTunings[] = {
    {"enrollment", "keepalive_ms", {"5000", "20000", "10000"}},
    {"enrollment", "step_ms", {"9000", "10000", "20000"}},
    {"enrollment", "connect_retry_ms", {"500", "2000", "4000"}},
    {"enrollment", "reconnect_ms", {"5000", "10000", "15000"}},
    {"replication", "sync_ms", {"10000", "30000", "20000"}},
    {"replication", "gather_ms", {"0", "20", "200"}},
    {"replication", "links_refresh_s", {"10", "30", "60"}},
    {"replication", "links_renew_age_s", {"20", "270", "100"}},
    {"replication", "members_refresh_s", {"10", "30", "60"}},
    {"routing", "policy", {"link-state", "link-state-lfa", "link-state"}},
    {"routing", "multipath", {"0", "1", ""}},
    {"routing", "interval_ms", {"0", "5000", "1000"}},
    {"address-allocation", "nack_wait_ms", {"1000", "4000", "6000"}},
    {"admission", "policy", {"none", "user", "bandwidth"}},
    {"flow-allocation", "allocation_timeout_ms", {"5000", "8000", "6000"}},
    {"flow-allocation", "flow_del_wait_ms", {"1000", "4000", "8000"}},
    {"flow-allocation", "create_retry_ms", {"200", "1000", "2000"}},
    {"flow-allocation", "extensions", {"0", "1", "1"}},
    {"efcp", "policy", {"aimd", "none", "rate-estimate"}},
    {"efcp", "credit", {"64", "512", "2000"}},
    {"efcp", "rtx_timeout_ms", {"500", "1000", "2000"}},
};

}  // namespace

void World::plan_tunings(Duration begin, Duration end) {
    for (unsigned i = 0; i < scenario_.tunings; ++i) {
        const std::size_t n = env_.rng.below(nodes_.size());
        const std::size_t level = env_.rng.below(scenario_.levels);
        const Tuning& tuning = kTunings[env_.rng.below(std::size(kTunings))];
        const char* const value = tuning.values[env_.rng.below(tuning.values.size())];
        plan(begin, end, [this, n, level, &tuning, value] {
            if (!nodes_[n].is_up || level >= nodes_[n].levels.size()) return;
            env_.trace.note(env_.now(), "tuning", n);
            const auto done =
                nodes_[n].levels[level]->set_parameter(tuning.component, tuning.name, value);
            if (!done) env_.verdicts.fail("parameters", done.error().message);
        });
    }
}

}  // namespace sluice::sim
