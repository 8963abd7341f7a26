#include "options.hpp"

#include <fmt/format.h>

namespace sluice::sim {

using link_model::Delay;
using link_model::Loss;
using link_model::Reorder;
using rina::vmpi::Profile;
using rina::vmpi::Role;

namespace {

void draw_trouble(Options& o, Rng& rng) {
    const bool irati = o.profile == Profile::irati;
    if (rng.chance(0.5))
        o.trouble.delay = Delay::uniform(
            {}, Duration::microseconds(static_cast<std::int64_t>(rng.between(10, 50000))));
    // The older profile has no numbers to notice a loss by: its ring may be slow, no more.
    if (irati) return;
    if (rng.chance(0.4))
        o.trouble.loss = Loss::uniform(0.003 * static_cast<double>(rng.below(100)));
    if (rng.chance(0.15)) o.trouble.loss = Loss::burst(0.02, 0.2);
    if (rng.chance(0.3)) o.trouble.duplicate = 0.2;
    if (rng.chance(0.3)) {
        o.trouble.reorder = Reorder::late(
            0.15, Duration::milliseconds(static_cast<std::int64_t>(rng.between(1, 100))));
        o.trouble_reorders = true;
    }
    o.trouble_hits_data = rng.chance(0.4);
}

}  // namespace

Options Options::draw(std::uint64_t seed) {
    Options o;
    Rng rng(seed * 0x9e3779b97f4a7c15ull + 1);
    o.seed = seed;
    const bool irati = rng.chance(0.15);
    o.profile = irati ? Profile::irati : Profile::sluice;
    if (!irati && rng.chance(0.4))
        for (Role& role : o.roles) role = static_cast<Role>(rng.below(3));
    for (int i = 0; i < 2; ++i) {
        o.max_channels[i] = static_cast<std::uint32_t>(rng.between(irati ? 12 : 4, 32));
        constexpr std::uint32_t kSizes[] = {1500, 4092, 9000, 65000};
        o.max_sdu[i] = kSizes[rng.below(4)];
        o.credit_unit[i] = 512u << rng.below(4);
    }
    if (irati) {  // it has no message to agree by
        o.max_channels[1] = o.max_channels[0];
        o.max_sdu[1] = o.max_sdu[0];
    }
    o.window = rng.between(2, 64);
    o.ring_frames = static_cast<std::uint32_t>(rng.between(irati ? 64 : 4, 256));
    for (Duration* delay : {&o.mailbox_delay, &o.punt_delay})
        if (rng.chance(0.5))
            *delay = Duration::microseconds(static_cast<std::int64_t>(rng.below(300)));
    if (rng.chance(0.85)) draw_trouble(o, rng);
    if (rng.chance(0.4)) o.stalls = static_cast<std::uint32_t>(rng.between(1, 5));
    if (rng.chance(0.3)) o.restarts = static_cast<std::uint32_t>(rng.between(1, 3));
    if (rng.chance(0.25)) o.flaps = static_cast<std::uint32_t>(rng.between(1, 2));
    o.restart_is_silent = !irati && rng.chance(0.5);
    if (rng.chance(0.35)) o.garbage_frames = static_cast<std::uint32_t>(rng.between(10, 400));
    o.greedy_peer = !irati && rng.chance(0.1);
    o.allocations = static_cast<std::uint32_t>(rng.between(4, 40));
    o.sdus_max = static_cast<std::uint32_t>(rng.between(5, 60));
    o.safety = Duration::seconds(static_cast<std::int64_t>(rng.between(5, 25)));
    return o;
}

std::string Options::to_string() const {
    return fmt::format(
        "seed {} profile {} roles {}/{} channels {}/{} max_sdu {}/{} unit {}/{} window {} ring {} "
        "loss {:.2f} dup {:.2f} reorder {:.2f} delay {} hits_data {} stalls {} restarts {}{} "
        "flaps {} garbage {} greedy {} allocations {} sdus {} safety {}",
        seed, profile == Profile::irati ? "irati" : "sluice", static_cast<int>(roles[0]),
        static_cast<int>(roles[1]), max_channels[0], max_channels[1], max_sdu[0], max_sdu[1],
        credit_unit[0], credit_unit[1], window, ring_frames, trouble.loss.probability,
        trouble.duplicate, trouble.reorder.probability, sluice::to_string(trouble.delay.most),
        trouble_hits_data, stalls, restarts, restart_is_silent ? " (silent)" : "", flaps,
        garbage_frames, greedy_peer, allocations, sdus_max, sluice::to_string(safety));
}

}  // namespace sluice::sim
