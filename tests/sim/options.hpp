#pragma once

#include <cstdint>
#include <string>

#include "base/instant.hpp"
#include "base/rng.hpp"
#include "link_model/link_model.hpp"
#include "rina/vmpi.hpp"

// What one run is made of. Everything is drawn from the seed, and every run draws other features
// ("swarm testing", Groce et al., ISSTA 2012): a run with fewer kinds of trouble goes deeper.

namespace sluice::sim {

struct Options {
    std::uint64_t seed = 0;
    rina::vmpi::Profile profile = rina::vmpi::Profile::sluice;
    rina::vmpi::Role roles[2] = {rina::vmpi::Role::backend, rina::vmpi::Role::frontend};
    std::uint32_t max_channels[2] = {16, 16};
    std::uint32_t max_sdu[2] = {9000, 9000};  // that each end can receive
    std::uint32_t credit_unit[2] = {2048, 2048};
    std::uint64_t window = 16;
    std::uint32_t ring_frames = 64;
    Duration mailbox_delay{};  // control thread to lcore
    Duration punt_delay{};     // lcore to control thread

    link_model::Config trouble{};  // during the safety phase, in both directions
    bool trouble_hits_data = false;
    bool trouble_reorders = false;
    std::uint32_t stalls = 0;
    std::uint32_t restarts = 0;
    std::uint32_t flaps = 0;
    bool restart_is_silent = false;  // the peer's link stays up, and old frames stay in the rings
    std::uint32_t garbage_frames = 0;
    bool greedy_peer = false;  // node 1 sends without looking at its credit

    std::uint32_t allocations = 20;
    std::uint32_t sdus_max = 40;  // of an end of a flow
    Duration safety{};            // how long the safety phase lasts

    static Options draw(std::uint64_t seed);
    std::string to_string() const;
};

}  // namespace sluice::sim
