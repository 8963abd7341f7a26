#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/instant.hpp"
#include "rina/vmpi.hpp"
#include "shim_hv/core/actions.hpp"
#include "shim_hv/core/credit.hpp"
#include "shim_hv/core/demux.hpp"

namespace sluice::shim_hv {

// The part of one VMPI device that runs on the lcore which owns it: which flow a frame belongs to,
// whether it may be received, whether an SDU may be sent, and the CREDIT and CREDIT_PROBE messages.
// Nothing is allocated after the constructor. Not thread-safe: one owner.
class VmpiData {
  public:
    struct Params {
        rina::vmpi::Profile profile = rina::vmpi::Profile::sluice;
        std::uint32_t max_channels = 255;
        std::uint32_t max_sdu_rx = 9000;
        std::uint32_t max_sdu_tx = 9000;
        // Smallest frame that the low level carries; CREDIT frames are longer than most.
        std::uint32_t min_frame_tx = rina::vmpi::kShortFrameBytes;
    };

    struct CreditFrame {
        std::array<std::byte, 64> bytes{};
        std::uint32_t size = 0;
    };

    enum class Submit : std::uint8_t {
        ok,
        no_credit,  // keep it and come again when has_credit() says so
        too_long,   // EMSGSIZE
        too_short,  // EMSGSIZE: profile irati towards a low level with a smallest frame
        not_bound,  // ENOTCONN
    };

    explicit VmpiData(const Params& params);

    // ---- from the control plane, in the order of the outbox ----
    void set_epochs(const SetEpochs& action) noexcept;
    void bind(const Bind& action) noexcept;
    void grant(const Grant& action) noexcept;
    void unbind(const Unbind& action) noexcept;

    // ---- receiving ----
    // head: the first min(frame_len, 14) bytes of the frame, in one piece. Data has been charged
    // to the flow's window when this returns: every data verdict owes an on_consumed(), also if
    // the SDU is dropped further up.
    Verdict classify(const std::byte* head, std::uint32_t frame_len) noexcept {
        Verdict verdict = demux_.classify(head, frame_len);
        if (verdict.kind == VerdictKind::data && has_credits_) {
            ChannelEntry& entry = demux_.at(verdict.channel);
            if (entry.receiver.on_arrival(rina::vmpi::credit_cost(verdict.sdu_len, unit_shift_)) ==
                CreditReceiver::Arrival::overrun) [[unlikely]]
                return {VerdictKind::drop, VmpiDrop::credit_overrun, verdict.channel, 0,
                        entry.cookie};
        }
        return verdict;
    }
    // Long frames of one channel in a row, as nearly all are: whether all of them are its data, and
    // charged; if not, nothing is, and classify() says of each why. `word`: the word that all of
    // them begin with; `units`: the sum of their cost(); `longest`: of their SDUs.
    struct Run {
        std::uint32_t channel = 0;  // 0: ask classify()
        std::uint32_t cookie = 0;
    };
    Run classify_run(std::uint32_t word, std::uint32_t units, std::uint32_t longest) noexcept {
        ChannelEntry& entry = demux_.leads_to(word);
        if (word != entry.word || longest > demux_.max_sdu()) [[unlikely]]
            return {};
        if (has_credits_ && !entry.receiver.on_run(units)) [[unlikely]]
            return {};
        return {word & rina::vmpi::kChannelMask, entry.cookie};
    }

    // An SDU of this length that came on the flow has left towards its application.
    void on_consumed(std::uint32_t channel, std::uint32_t sdu_len) noexcept;
    // The same for reports from another core: units (see cost()) since the flow was bound.
    void on_consumed_total(std::uint32_t channel, std::uint64_t units) noexcept;

    // `message` begins after the channel word. True: it is the data plane's, hand it to
    // on_credit_message(); false: the control plane's.
    bool is_credit(std::span<const std::byte> message) const noexcept;
    // VmpiDrop::none if it was taken. `channel_out`, if wanted: whose credit it was about.
    VmpiDrop on_credit_message(std::span<const std::byte> message,
                               std::uint32_t* channel_out = nullptr) noexcept;

    // ---- sending ----
    // On ok the SDU is charged; the frame's channel word is data_word(channel), and the frame is
    // finished by seal(). Give a charge back with unsubmit() if the ring could not take it.
    Submit submit(std::uint32_t channel, std::uint32_t sdu_len, Instant now) noexcept {
        if (has_credits_ && demux_.contains(channel) && sdu_len <= max_sdu_tx_) [[likely]] {
            ChannelEntry& entry = demux_.at(channel);
            if (entry.bound && entry.sender.try_charge(cost(sdu_len))) [[likely]]
                return Submit::ok;
        }
        return submit_rare(channel, sdu_len, now);
    }
    // Several SDUs of a channel at once: all charged, or nothing is, and submit() says of each why.
    bool submit_run(std::uint32_t channel, std::uint32_t units, std::uint32_t longest) noexcept {
        if (!has_credits_ || !demux_.contains(channel) || longest > max_sdu_tx_) return false;
        ChannelEntry& entry = demux_.at(channel);
        return entry.bound && entry.sender.try_charge(units);
    }
    void unsubmit(std::uint32_t channel, std::uint32_t sdu_len) noexcept;
    bool has_credit(std::uint32_t channel, std::uint32_t sdu_len) const noexcept;
    std::uint32_t data_word(std::uint32_t channel) const noexcept {
        if (!demux_.contains(channel)) return 0;
        const std::uint32_t word = demux_.at(channel).word;
        if (faulty(Fault::host_byte_order) && host_is_big_endian) return __builtin_bswap32(word);
        return word;
    }
    // Bytes on the wire of an SDU of this length.
    std::uint32_t frame_bytes(std::uint32_t sdu_len) const noexcept {
        return irati_ ? sdu_len + rina::vmpi::kHeaderBytes : rina::vmpi::frame_bytes(sdu_len);
    }
    // Writes word and padding of a frame whose SDU lies at frame + 4 with room for frame_bytes().
    void seal(std::byte* frame, std::uint32_t channel, std::uint32_t sdu_len) const noexcept {
        if (irati_)
            rina::vmpi::store_le32(frame, data_word(channel));
        else
            rina::vmpi::seal_frame(frame, data_word(channel), sdu_len);
    }

    // ---- time ----
    // Fills `out` with the CREDIT and CREDIT_PROBE frames that are due and says how many; when it
    // fills all of out there may be more. A frame that cannot be sent may be forgotten: the next
    // probe heals it.
    std::size_t collect_due(Instant now, std::span<CreditFrame> out) noexcept;
    // zero() while a grant waits for collect_due().
    Instant next_deadline() const noexcept;

    // ---- introspection ----
    // Credit units that peers say they have sent and that never came, of all flows so far.
    std::uint64_t lost_units() const noexcept { return lost_units_; }
    std::uint32_t max_sdu_tx() const noexcept { return max_sdu_tx_; }
    std::uint32_t max_sdu_rx() const noexcept { return demux_.max_sdu(); }
    std::uint32_t max_channels() const noexcept { return demux_.max_channels(); }
    std::uint32_t cost(std::uint32_t sdu_len) const noexcept {
        return rina::vmpi::credit_cost(sdu_len, unit_shift_);
    }
    bool has_credits() const noexcept { return has_credits_; }
    // The channel must lie in 1..max_channels().
    const ChannelEntry& entry(std::uint32_t channel) const noexcept { return demux_.at(channel); }

  private:
    Submit submit_rare(std::uint32_t channel, std::uint32_t sdu_len, Instant now) noexcept;
    void mark_due(std::uint32_t channel, ChannelEntry& entry) noexcept;
    void write_credit(rina::vmpi::Type type, std::uint32_t channel, const ChannelEntry& entry,
                      std::uint64_t units, CreditFrame& out) const noexcept;

    bool irati_;
    bool has_credits_ = false;
    unsigned unit_shift_ = 11;
    std::uint32_t max_sdu_tx_ = 0;
    Params params_;
    ChannelDemux demux_;
    std::uint64_t lost_units_ = 0;
    std::uint64_t own_epoch_ = 0;
    std::uint64_t peer_epoch_ = 0;
    // Each channel is in each list at most once, and room for all was reserved at the start.
    std::vector<std::uint32_t> due_;
    std::vector<std::uint32_t> waiting_;
    Instant probe_at_ = Instant::never();
};

}  // namespace sluice::shim_hv
