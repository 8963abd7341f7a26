#pragma once

#include <cstddef>
#include <cstdint>

#include "base/instant.hpp"
#include "base/result.hpp"
#include "base/rng.hpp"

// What a link does to frames: loss, duplication, limited room, rate, delay, reordering. Each
// effect is a small value with a kind; LinkModel applies them in a fixed order. Pure, so that the
// emulator stage and the simulation draw the same fates from the same seed.

namespace sluice::link_model {

// Frames lost by chance.
struct Loss {
    enum class Kind : std::uint8_t { none, uniform, burst };
    Kind kind = Kind::none;
    // uniform: of each frame. burst: of each frame in the bad state (Gilbert-Elliott with a
    // perfect good state).
    double probability = 0;
    double to_bad = 0;
    double to_good = 1;

    static constexpr Loss uniform(double p) noexcept { return {Kind::uniform, p, 0, 1}; }
    static constexpr Loss burst(double to_bad, double to_good, double p = 1) noexcept {
        return {Kind::burst, p, to_bad, to_good};
    }
};

// The time from the end of transmission to arrival.
struct Delay {
    enum class Kind : std::uint8_t { none, fixed, uniform };
    Kind kind = Kind::none;
    Duration least{};
    Duration most{};

    static constexpr Delay fixed(Duration d) noexcept { return {Kind::fixed, d, d}; }
    static constexpr Delay uniform(Duration least, Duration most) noexcept {
        return {Kind::uniform, least, most};
    }
};

// Transmission speed; frames wait for each other, at most `room_bytes` of them.
struct Rate {
    enum class Kind : std::uint8_t { unlimited, limited };
    Kind kind = Kind::unlimited;
    std::uint64_t bits_per_second = 0;
    std::uint64_t room_bytes = 0;

    static constexpr Rate limited(std::uint64_t bps, std::uint64_t room_bytes) noexcept {
        return {Kind::limited, bps, room_bytes};
    }
};

// A frame that is picked waits longer and lets later ones pass. Without it frames keep their
// order, whatever their delays were.
struct Reorder {
    enum class Kind : std::uint8_t { none, late };
    Kind kind = Kind::none;
    double probability = 0;
    Duration extra{};

    static constexpr Reorder late(double p, Duration extra) noexcept {
        return {Kind::late, p, extra};
    }
};

struct Config {
    Loss loss{};
    double duplicate = 0;
    Rate rate{};
    Delay delay{};
    Reorder reorder{};
};

// One sentence about what is wrong with it, or nothing.
Result<> check(const Config& config);

enum class Fate : std::uint8_t { pass, lost, no_room };

struct LinkVerdict {
    Fate fate = Fate::pass;
    std::uint8_t copies = 0;  // 0 unless it passes, else 1 or 2
    bool overtaken = false;   // picked for reordering
    Instant at[2] = {Instant::never(), Instant::never()};  // when each copy arrives
};

class LinkModel {
  public:
    LinkModel() noexcept = default;
    // The configuration must pass check().
    explicit LinkModel(const Config& config) noexcept : config_(config) {}

    const Config& config() const noexcept { return config_; }
    // Keeps the frames under way where they are.
    void set_config(const Config& config) noexcept { config_ = config; }

    // The fate of a frame of this size that enters the link now. Instants must not decrease.
    LinkVerdict apply(Instant now, Rng& rng, std::size_t size) noexcept;

    // Bytes that wait for their turn of transmission.
    std::uint64_t backlog_bytes(Instant now) const noexcept;

  private:
    bool is_lost(Rng& rng) noexcept;
    Duration draw_delay(Rng& rng) const noexcept;

    Config config_{};
    bool bad_ = false;
    Instant sent_until_{};    // the transmitter is busy until then
    Instant last_arrival_{};  // of frames that keep their order
};

}  // namespace sluice::link_model
