#include "link_model/link_model.hpp"

#include <algorithm>

namespace sluice::link_model {
namespace {

constexpr std::int64_t kNanosecondsPerSecond = 1000000000;

bool is_probability(double p) noexcept { return p >= 0 && p <= 1; }

Duration transmission_time(std::size_t size, std::uint64_t bits_per_second) noexcept {
    const auto bits = static_cast<Uint128>(size) * 8;
    return Duration{static_cast<std::int64_t>(bits * kNanosecondsPerSecond / bits_per_second)};
}

}  // namespace

Result<> check(const Config& c) {
    for (const double p : {c.loss.probability, c.loss.to_bad, c.loss.to_good, c.duplicate,
                           c.reorder.probability})
        if (!is_probability(p)) return fail(EINVAL, "a probability is {}, expected 0..1", p);
    if (c.loss.kind == Loss::Kind::burst && c.loss.to_good == 0)
        return fail(EINVAL, "burst loss never ends: to_good is 0, expected more");
    if (c.rate.kind == Rate::Kind::limited && c.rate.bits_per_second == 0)
        return fail(EINVAL, "rate is 0 bit/s, expected at least 1");
    if (c.delay.least < Duration{0} || c.delay.most < c.delay.least ||
        c.reorder.extra < Duration{0})
        return fail(EINVAL, "delay is {} to {} and extra {}, expected no negative one, in order",
                    to_string(c.delay.least), to_string(c.delay.most), to_string(c.reorder.extra));
    return {};
}

bool LinkModel::is_lost(Rng& rng) noexcept {
    switch (config_.loss.kind) {
        case Loss::Kind::none: return false;
        case Loss::Kind::uniform: return rng.chance(config_.loss.probability);
        case Loss::Kind::burst:
            bad_ = rng.chance(bad_ ? 1 - config_.loss.to_good : config_.loss.to_bad);
            return bad_ && rng.chance(config_.loss.probability);
    }
    return false;
}

Duration LinkModel::draw_delay(Rng& rng) const noexcept {
    const Delay& d = config_.delay;
    switch (d.kind) {
        case Delay::Kind::none: return {};
        case Delay::Kind::fixed: return d.least;
        case Delay::Kind::uniform: {
            const auto span = static_cast<std::uint64_t>((d.most - d.least).ns);
            return d.least + Duration{static_cast<std::int64_t>(rng.below(span + 1))};
        }
    }
    return {};
}

std::uint64_t LinkModel::backlog_bytes(Instant now) const noexcept {
    if (config_.rate.kind == Rate::Kind::unlimited || sent_until_ <= now) return 0;
    const auto left = static_cast<Uint128>((sent_until_ - now).ns) * config_.rate.bits_per_second;
    return static_cast<std::uint64_t>(left / (8 * static_cast<Uint128>(kNanosecondsPerSecond)));
}

// The order is fixed: loss, duplication, room, rate, delay, order. A lost frame takes no room; a
// duplicate is born behind the transmitter, so that it costs no rate.
LinkVerdict LinkModel::apply(Instant now, Rng& rng, std::size_t size) noexcept {
    LinkVerdict verdict;
    if (is_lost(rng)) {
        verdict.fate = Fate::lost;
        return verdict;
    }
    verdict.copies = rng.chance(config_.duplicate) ? 2 : 1;
    Instant sent = now;
    if (config_.rate.kind == Rate::Kind::limited) {
        if (backlog_bytes(now) + size > config_.rate.room_bytes) {
            verdict.fate = Fate::no_room;
            verdict.copies = 0;
            return verdict;
        }
        sent_until_ = std::max(sent_until_, now) +
                      transmission_time(size, config_.rate.bits_per_second);
        sent = sent_until_;
    }
    verdict.overtaken =
        config_.reorder.kind == Reorder::Kind::late && rng.chance(config_.reorder.probability);
    for (std::uint8_t i = 0; i < verdict.copies; ++i) {
        const Instant arrival = sent + draw_delay(rng);
        if (verdict.overtaken) {
            verdict.at[i] = arrival + config_.reorder.extra;
        } else {
            last_arrival_ = std::max(last_arrival_, arrival);
            verdict.at[i] = last_arrival_;
        }
    }
    return verdict;
}

}  // namespace sluice::link_model
