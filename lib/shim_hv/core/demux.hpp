#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "base/check.hpp"
#include "rina/vmpi.hpp"
#include "shim_hv/core/credit.hpp"
#include "shim_hv/core/faults.hpp"

namespace sluice::shim_hv {

// Why a frame that came from a VMPI device, or an SDU that was to go into one, went no further.
enum class VmpiDrop : std::uint8_t {
    none,
    short_frame,       // no room for a channel word, or under 14 bytes without the short flag
    malformed_short,   // the short flag, and a length that cannot be
    unknown_channel,   // above the highest channel of the device
    not_allocated,     // a channel that no flow has
    stale_generation,  // a former use of the channel
    oversized,         // longer than was agreed
    credit_overrun,    // more than was granted
    bad_control,       // a control message that breaks the grammar
    stale_control,     // a control message of another epoch, generation or transaction
    bad_credit,        // a CREDIT_PROBE that claims what cannot have been sent
    control_limit,     // the control plane could not take more
    device_down,       // no peer is confirmed
};
inline constexpr std::size_t kVmpiDropCount = 13;

std::string_view to_string(VmpiDrop reason) noexcept;

enum class VerdictKind : std::uint8_t { data, control, drop };

// The SDU of a data verdict begins kHeaderBytes into the frame and is sdu_len bytes long; what
// comes behind it is padding.
struct Verdict {
    VerdictKind kind = VerdictKind::drop;
    VmpiDrop reason = VmpiDrop::none;
    std::uint32_t channel = 0;
    std::uint32_t sdu_len = 0;
    std::uint32_t cookie = 0;  // what the flow was bound with
};

struct ChannelEntry {
    // The channel word that data must carry; one that cannot come while the channel is not bound.
    std::uint32_t word = 0;
    std::uint32_t cookie = 0;
    std::uint32_t flow = 0;
    bool bound = false;
    bool due = false;      // is in the list of channels with a grant to send
    bool waiting = false;  // is in the list of channels whose sender waits for credit
    std::uint8_t generation = 0;
    CreditReceiver receiver{};
    CreditSender sender{};
};

// Which flow does a frame belong to? The table is sized once; classify() is one load and compare
// for data, and looks into every other case out of line.
class ChannelDemux {
  public:
    ChannelDemux(rina::vmpi::Profile profile, std::uint32_t max_channels, std::uint32_t max_sdu_rx)
        : irati_(profile == rina::vmpi::Profile::irati),
          max_channels_(max_channels),
          mask_(irati_ ? ~0u : rina::vmpi::kChannelMask),
          frame_min_(irati_ ? rina::vmpi::kHeaderBytes : rina::vmpi::kShortFrameBytes),
          entries_(max_channels + 2) {
        SLUICE_CHECK(max_channels >= 1 && max_channels <= rina::vmpi::kChannelsMax);
        // Word 0 leads to entry 0 and no other; what is above the table leads to the last entry.
        // Each holds a word that does not lead to it, so neither ever matches.
        entries_[0].word = ~0u;
        set_max_sdu(max_sdu_rx);
    }

    void set_max_sdu(std::uint32_t bytes) noexcept { sdu_max_ = bytes; }
    std::uint32_t max_sdu() const noexcept { return sdu_max_; }
    std::uint32_t max_channels() const noexcept { return max_channels_; }

    // head: the first min(frame_len, 14) bytes of the frame, in one piece.
    Verdict classify(const std::byte* head, std::uint32_t frame_len) const noexcept {
        if (frame_len >= frame_min_) [[likely]] {
            const std::uint32_t word = rina::vmpi::load_le32(head);
            const ChannelEntry& entry = entries_[index(word)];
            const std::uint32_t sdu_len = frame_len - rina::vmpi::kHeaderBytes;
            if (word == entry.word && sdu_len <= sdu_max_) [[likely]]
                return {VerdictKind::data, VmpiDrop::none, word & mask_ & rina::vmpi::kChannelMask,
                        sdu_len, entry.cookie};
        }
        return classify_rare(head, frame_len);
    }

    // The entry whose word a frame with this word would have to match.
    ChannelEntry& leads_to(std::uint32_t word) noexcept { return entries_[index(word)]; }

    bool contains(std::uint32_t channel) const noexcept {
        return channel >= 1 && channel <= max_channels_;
    }
    // The channel must be one of the table.
    ChannelEntry& at(std::uint32_t channel) noexcept {
        SLUICE_DCHECK(contains(channel));
        return entries_[channel];
    }
    const ChannelEntry& at(std::uint32_t channel) const noexcept {
        SLUICE_DCHECK(contains(channel));
        return entries_[channel];
    }

    void bind(std::uint32_t channel, std::uint8_t generation, std::uint32_t flow,
              std::uint32_t cookie) noexcept;
    void unbind(std::uint32_t channel) noexcept;

  private:
    std::size_t index(std::uint32_t word) const noexcept {
        const std::uint32_t channel = word & mask_;
        return channel <= max_channels_ ? channel : max_channels_ + 1;
    }
    Verdict classify_rare(const std::byte* head, std::uint32_t frame_len) const noexcept;

    bool irati_;
    std::uint32_t max_channels_;
    std::uint32_t mask_;
    std::uint32_t frame_min_;
    std::uint32_t sdu_max_ = 0;
    std::vector<ChannelEntry> entries_;
};

}  // namespace sluice::shim_hv
