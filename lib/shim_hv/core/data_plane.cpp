#include "shim_hv/core/data_plane.hpp"

#include <algorithm>
#include <bit>

#include "base/check.hpp"

namespace sluice::shim_hv {

namespace vmpi = rina::vmpi;

VmpiData::VmpiData(const Params& params)
    : irati_(params.profile == vmpi::Profile::irati),
      max_sdu_tx_(params.max_sdu_tx),
      params_(params),
      demux_(params.profile, params.max_channels, params.max_sdu_rx) {
    SLUICE_CHECK(params.min_frame_tx <= CreditFrame{}.bytes.size());
    due_.reserve(params.max_channels);
    waiting_.reserve(params.max_channels);
}

void VmpiData::set_epochs(const SetEpochs& action) noexcept {
    own_epoch_ = action.own;
    peer_epoch_ = action.peer;
    if (irati_ || action.peer == 0) return;
    // No allocation may happen here, so what was agreed must lie inside of what was configured.
    demux_.set_max_sdu(std::min(action.limits.max_sdu_rx, params_.max_sdu_rx));
    max_sdu_tx_ = std::min(action.limits.max_sdu_tx, params_.max_sdu_tx);
    has_credits_ = vmpi::is_credit_unit(action.limits.credit_unit);
    if (has_credits_)
        unit_shift_ = static_cast<unsigned>(std::countr_zero(action.limits.credit_unit));
}

void VmpiData::bind(const Bind& action) noexcept {
    if (!demux_.contains(action.channel)) return;
    demux_.bind(action.channel, action.generation, action.flow.value, action.cookie);
    ChannelEntry& entry = demux_.at(action.channel);
    entry.sender.reset();
    entry.receiver.reset(action.window);
}

void VmpiData::grant(const Grant& action) noexcept {
    if (irati_ || !demux_.contains(action.channel)) return;
    ChannelEntry& entry = demux_.at(action.channel);
    if (!entry.bound || entry.generation != action.generation) return;
    entry.receiver.start();
    mark_due(action.channel, entry);
}

void VmpiData::unbind(const Unbind& action) noexcept {
    if (!demux_.contains(action.channel)) return;
    ChannelEntry& entry = demux_.at(action.channel);
    if (!entry.bound || entry.generation != action.generation) return;
    demux_.unbind(action.channel);
    // It stays in due_ and waiting_ until they are walked the next time; both look at `bound`.
    entry.sender.reset();
    entry.receiver.reset(0);
}

void VmpiData::mark_due(std::uint32_t channel, ChannelEntry& entry) noexcept {
    if (entry.due || !entry.receiver.grant_pending()) return;
    entry.due = true;
    due_.push_back(channel);
}

void VmpiData::on_consumed(std::uint32_t channel, std::uint32_t sdu_len) noexcept {
    if (!has_credits_ || !demux_.contains(channel)) return;
    ChannelEntry& entry = demux_.at(channel);
    if (!entry.bound) return;
    entry.receiver.on_consumed(cost(sdu_len));
    mark_due(channel, entry);
}

void VmpiData::on_consumed_total(std::uint32_t channel, std::uint64_t units) noexcept {
    if (!has_credits_ || !demux_.contains(channel)) return;
    ChannelEntry& entry = demux_.at(channel);
    if (!entry.bound) return;
    entry.receiver.on_consumed_total(units);
    mark_due(channel, entry);
}

bool VmpiData::is_credit(std::span<const std::byte> message) const noexcept {
    if (irati_ || message.empty()) return false;
    const auto type = static_cast<vmpi::Type>(message[0]);
    return type == vmpi::Type::credit || type == vmpi::Type::credit_probe;
}

VmpiDrop VmpiData::on_credit_message(std::span<const std::byte> message,
                                     std::uint32_t* channel_out) noexcept {
    vmpi::Message parsed;
    if (vmpi::parse(message, parsed) != vmpi::ParseError::none || !is_credit(message))
        return VmpiDrop::bad_control;
    if (!has_credits_ || peer_epoch_ == 0) return VmpiDrop::device_down;
    if (parsed.epoch != peer_epoch_ || parsed.peer_epoch != own_epoch_)
        return VmpiDrop::stale_control;
    if (!demux_.contains(parsed.channel)) return VmpiDrop::unknown_channel;
    ChannelEntry& entry = demux_.at(parsed.channel);
    if (!entry.bound) return VmpiDrop::not_allocated;
    if (entry.generation != parsed.generation && !faulty(Fault::no_transaction_id_no_generation))
        return VmpiDrop::stale_generation;
    if (channel_out != nullptr) *channel_out = parsed.channel;
    if (parsed.type == vmpi::Type::credit) {
        entry.sender.on_credit(parsed.units);
        return VmpiDrop::none;
    }
    const std::uint64_t lost = entry.receiver.lost();
    if (!entry.receiver.on_probe(parsed.units)) return VmpiDrop::bad_credit;
    lost_units_ += std::max(entry.receiver.lost(), lost) - lost;
    mark_due(parsed.channel, entry);
    return VmpiDrop::none;
}

VmpiData::Submit VmpiData::submit_rare(std::uint32_t channel, std::uint32_t sdu_len,
                                       Instant now) noexcept {
    if (!demux_.contains(channel)) return Submit::not_bound;
    ChannelEntry& entry = demux_.at(channel);
    if (!entry.bound) return Submit::not_bound;
    if (sdu_len > max_sdu_tx_ && !faulty(Fault::late_size_failure)) return Submit::too_long;
    if (!has_credits_) {
        const bool padded = sdu_len + vmpi::kHeaderBytes < params_.min_frame_tx;
        return irati_ && padded ? Submit::too_short : Submit::ok;
    }
    if (entry.sender.try_send(cost(sdu_len), now)) [[likely]]
        return Submit::ok;
    if (!entry.waiting) {
        entry.waiting = true;
        waiting_.push_back(channel);
    }
    probe_at_ = earlier(probe_at_, entry.sender.next_probe());
    return Submit::no_credit;
}

void VmpiData::unsubmit(std::uint32_t channel, std::uint32_t sdu_len) noexcept {
    if (!has_credits_ || !demux_.contains(channel)) return;
    if (ChannelEntry& entry = demux_.at(channel); entry.bound) entry.sender.unsend(cost(sdu_len));
}

bool VmpiData::has_credit(std::uint32_t channel, std::uint32_t sdu_len) const noexcept {
    if (!demux_.contains(channel) || !demux_.at(channel).bound) return false;
    return !has_credits_ || demux_.at(channel).sender.available() >= cost(sdu_len) ||
           faulty(Fault::no_backpressure);
}

void VmpiData::write_credit(vmpi::Type type, std::uint32_t channel, const ChannelEntry& entry,
                            std::uint64_t units, CreditFrame& out) const noexcept {
    vmpi::Message message;
    message.type = type;
    message.epoch = own_epoch_;
    message.peer_epoch = peer_epoch_;
    message.channel = channel;
    message.generation = entry.generation;
    message.units = units;
    out.bytes.fill(std::byte{0});
    const std::size_t size =
        vmpi::encode(message, std::span<std::byte>(out.bytes).subspan(vmpi::kHeaderBytes));
    out.size = std::max(static_cast<std::uint32_t>(size) + vmpi::kHeaderBytes,
                        params_.min_frame_tx);
}

std::size_t VmpiData::collect_due(Instant now, std::span<CreditFrame> out) noexcept {
    std::size_t count = 0;
    while (!due_.empty() && count < out.size()) {
        const std::uint32_t channel = due_.back();
        due_.pop_back();
        ChannelEntry& entry = demux_.at(channel);
        entry.due = false;
        if (!entry.bound) continue;
        if (const auto limit = entry.receiver.grant_due())
            write_credit(vmpi::Type::credit, channel, entry, *limit, out[count++]);
    }
    if (now < probe_at_) return count;
    probe_at_ = Instant::never();
    for (std::size_t i = 0; i < waiting_.size();) {
        ChannelEntry& entry = demux_.at(waiting_[i]);
        if (!entry.bound || entry.sender.next_probe().is_never()) {
            entry.waiting = false;
            waiting_[i] = waiting_.back();
            waiting_.pop_back();
            continue;
        }
        if (entry.sender.probe_due(now) && count < out.size()) {
            write_credit(vmpi::Type::credit_probe, waiting_[i], entry, entry.sender.sent(),
                         out[count++]);
            entry.sender.on_probe_sent(now);
        }
        probe_at_ = earlier(probe_at_, entry.sender.next_probe());
        ++i;
    }
    return count;
}

Instant VmpiData::next_deadline() const noexcept {
    return due_.empty() ? probe_at_ : Instant::zero();
}

}  // namespace sluice::shim_hv
