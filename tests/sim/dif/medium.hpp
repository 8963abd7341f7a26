#pragma once

#include "link_model/link_model.hpp"
#include "sim.hpp"

namespace sluice::sim {

// What joins two nodes, or more: a DIF of the lowest level, and whatever is below it. Its stations
// are numbered from 0.
class Medium {
  public:
    virtual ~Medium() = default;
    virtual const std::string& dif() const = 0;
    virtual Provider& end(std::size_t station) = 0;
    virtual void set_config(const link_model::Config& config) = 0;

    // Between two stations. Loudly: as far as the medium can tell them. Silently: nothing arrives
    // any more, and nobody says so.
    virtual void cut(std::size_t a, std::size_t b, bool silently) = 0;
    virtual void mend(std::size_t a, std::size_t b) = 0;
    virtual bool is_up(std::size_t a, std::size_t b) const = 0;

    // The node at a station stops, in the middle of whatever it does; the medium shows it, or not.
    // Calls of a user that is being torn down do nothing from then on.
    virtual void power_off(std::size_t station, bool silently) = 0;
    virtual void power_on(std::size_t station) = 0;

    // What only this kind of medium can do to its stations, once.
    virtual void disturb() {}
    // Does the name of the DIF above, which all of its members register, lead to that station?
    virtual bool has_dif_name(std::size_t) const { return true; }

    // What it has seen, for who looks for a fault.
    virtual std::string report() const { return {}; }
};

// A card's or a socket's ring in front of a link takes so many bytes. How long until there is room
// again for some; zero: there is.
inline Duration ring_full_for(const link_model::LinkModel& model, Instant now) {
    constexpr std::uint64_t kRoom = 32'000;
    const std::uint64_t backlog = model.backlog_bytes(now);
    if (backlog <= kRoom) return {};
    const auto bps = static_cast<double>(model.config().rate.bits_per_second);
    return Duration{
        static_cast<std::int64_t>(static_cast<double>(backlog) * 4e9 / std::max(bps, 1.0))};
}

}  // namespace sluice::sim
