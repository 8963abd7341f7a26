#include "shim_hv/core/demux.hpp"

namespace sluice::shim_hv {

namespace vmpi = rina::vmpi;

std::string_view to_string(VmpiDrop reason) noexcept {
    constexpr std::string_view kNames[kVmpiDropCount] = {
        "none",         "short_frame",   "malformed_short", "unknown_channel", "not_allocated",
        "stale_generation", "oversized", "credit_overrun",  "bad_control",     "stale_control",
        "bad_credit",   "control_limit", "device_down"};
    return kNames[static_cast<std::size_t>(reason)];
}

void ChannelDemux::bind(std::uint32_t channel, std::uint8_t generation, std::uint32_t flow,
                        std::uint32_t cookie) noexcept {
    ChannelEntry& entry = at(channel);
    entry.word = irati_ ? channel : vmpi::channel_word(channel, generation);
    entry.generation = generation;
    entry.flow = flow;
    entry.cookie = cookie;
    entry.bound = true;
}

void ChannelDemux::unbind(std::uint32_t channel) noexcept {
    ChannelEntry& entry = at(channel);
    entry.word = 0;
    entry.bound = false;
    entry.flow = 0;
    entry.cookie = 0;
}

Verdict ChannelDemux::classify_rare(const std::byte* head,
                                    std::uint32_t frame_len) const noexcept {
    const auto drop = [](VmpiDrop reason, std::uint32_t channel = 0) {
        return Verdict{VerdictKind::drop, reason, channel, 0, 0};
    };
    if (frame_len < vmpi::kHeaderBytes) return drop(VmpiDrop::short_frame);
    std::uint32_t word = vmpi::load_le32(head);
    if (word == vmpi::kControlChannel)
        return {VerdictKind::control, VmpiDrop::none, 0, frame_len - vmpi::kHeaderBytes, 0};

    std::uint32_t sdu_len = frame_len - vmpi::kHeaderBytes;
    if (!irati_) {
        if (vmpi::is_short(word)) {
            if (frame_len != vmpi::kShortFrameBytes) return drop(VmpiDrop::malformed_short);
            sdu_len = std::to_integer<std::uint32_t>(head[vmpi::kShortFrameBytes - 1]);
            if (sdu_len > vmpi::kShortSduMax) return drop(VmpiDrop::malformed_short);
            word &= ~vmpi::kShortBit;
        } else if (frame_len < frame_min_) {
            return drop(VmpiDrop::short_frame);
        }
    }
    const std::uint32_t channel = word & mask_;
    // Channel 0 with a generation is no channel at all: control has none and is never short.
    if (!contains(channel)) return drop(VmpiDrop::unknown_channel, channel);
    const ChannelEntry& entry = entries_[channel];
    if (!entry.bound) return drop(VmpiDrop::not_allocated, channel);
    if (entry.word != word) {
        if (!faulty(Fault::no_transaction_id_no_generation))
            return drop(VmpiDrop::stale_generation, channel);
    }
    if (sdu_len > sdu_max_) return drop(VmpiDrop::oversized, channel);
    return {VerdictKind::data, VmpiDrop::none, channel, sdu_len, entry.cookie};
}

}  // namespace sluice::shim_hv
