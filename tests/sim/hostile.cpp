#include "hostile.hpp"

namespace sluice::sim {

namespace vmpi = rina::vmpi;

namespace {

using Frame = std::vector<std::byte>;

std::uint32_t bad_channel(Rng& rng, std::uint32_t max_channels) {
    switch (rng.below(4)) {
        case 0: return 0;
        case 1: return max_channels + 1;
        case 2: return max_channels + 1 + static_cast<std::uint32_t>(rng.below(1000));
        default: return static_cast<std::uint32_t>(rng.next()) | 0x01000000u;
    }
}

void flip_bytes(Rng& rng, Frame& frame, std::size_t from) {
    for (std::uint64_t i = rng.below(4); i > 0 && frame.size() > from; --i)
        frame[from + rng.below(frame.size() - from)] ^= static_cast<std::byte>(rng.between(1, 255));
}

void spoil_sluice_control(Rng& rng, Frame& frame, std::uint32_t max_channels) {
    vmpi::Message message;
    if (vmpi::parse(std::span(frame).subspan(4), message) != vmpi::ParseError::none) return;
    std::byte* body = frame.data() + 4;
    const bool names_channel =
        message.type >= vmpi::Type::allocate_req && message.type <= vmpi::Type::credit_probe;
    if (message.type == vmpi::Type::hello || (names_channel && rng.chance(0.3)))
        vmpi::store_le64(body + 4, message.epoch ^ rng.between(1, ~0ull >> 1));
    else if (names_channel)
        vmpi::store_le32(body + vmpi::kCommonBytes, bad_channel(rng, max_channels));
}

}  // namespace

Frame make_garbage(Rng& rng, vmpi::Profile profile, std::uint32_t max_channels,
                   const std::vector<Frame>& samples) {
    Frame frame;
    if (samples.empty() || rng.chance(0.1)) {
        frame.resize(rng.below(100));
        for (std::byte& b : frame) b = static_cast<std::byte>(rng.next());
        // Not on a data channel by accident.
        if (frame.size() >= 4) frame[2] |= std::byte{0x80};
        return frame;
    }
    frame = samples[rng.below(samples.size())];
    const bool irati = profile == vmpi::Profile::irati;
    if (vmpi::load_le32(frame.data()) != vmpi::kControlChannel) {
        flip_bytes(rng, frame, 4);
        if (irati || rng.chance(0.5))
            vmpi::store_le32(frame.data(), bad_channel(rng, max_channels) | 0x00400000u);
        else
            frame[3] ^= static_cast<std::byte>(rng.between(1, 127));
    } else if (irati) {
        flip_bytes(rng, frame, 9);
        if (frame.size() >= 9) vmpi::store_le32(frame.data() + 5, bad_channel(rng, max_channels));
        if (rng.chance(0.2)) frame[4] = static_cast<std::byte>(rng.next());
    } else {
        flip_bytes(rng, frame, 4);
        spoil_sluice_control(rng, frame, max_channels);
    }
    // Cut or padded. What parses after being cut is what parsed before.
    if (rng.chance(0.2)) frame.resize(rng.below(frame.size() + 1));
    if (rng.chance(0.2)) frame.resize(frame.size() + rng.below(64));
    return frame;
}

}  // namespace sluice::sim
