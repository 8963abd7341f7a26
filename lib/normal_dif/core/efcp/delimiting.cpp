#include "normal_dif/core/efcp/delimiting.hpp"

#include <algorithm>
#include <cstring>

#include "normal_dif/core/faults.hpp"
#include "rina/pci.hpp"

namespace sluice::efcp {

using namespace delimiter;
using rina::detail::load;
using rina::detail::store;

std::optional<Fragment> Fragmenter::next() noexcept {
    if (is_done_) return std::nullopt;
    Fragment fragment;
    fragment.offset = offset_;
    const std::uint32_t rest = sdu_bytes_ - offset_;
    const bool is_last = rest <= user_data_max_ - kHeaderBytes;
    const bool is_first = offset_ == 0;
    std::uint8_t kind = kMiddle;
    if (is_first && is_last) {
        kind = kWhole;
    } else if (is_first) {
        kind = kFirst;
    } else if (is_last) {
        kind = kLast;
    }
    fragment.header[0] = std::byte{kind};
    fragment.header_bytes = kHeaderBytes;
    if (kind == kFirst) {
        store(&fragment.header[kHeaderBytes], sdu_bytes_);
        fragment.header_bytes = kFirstHeaderBytes;
    }
    fragment.bytes = std::min(rest, user_data_max_ - fragment.header_bytes);
    offset_ += fragment.bytes;
    is_done_ = is_last;
    return fragment;
}

std::uint32_t Fragmenter::count(std::uint32_t sdu_bytes, std::uint32_t user_data_max) noexcept {
    if (sdu_bytes <= user_data_max - kHeaderBytes) return 1;
    const std::uint32_t behind_first = sdu_bytes - (user_data_max - kFirstHeaderBytes);
    const std::uint32_t each = user_data_max - kHeaderBytes;
    return 1 + behind_first / each + (behind_first % each != 0 ? 1 : 0);
}

bool Concatenator::add(std::span<const std::byte> sdu) noexcept {
    const std::size_t header = count_ == 0 ? kHeaderBytes + kLengthBytes : kLengthBytes;
    if (sdu.size() > kSeveralSduMax || bytes_ + header + sdu.size() > user_data_.size())
        return false;
    if (count_ == 0) user_data_[bytes_++] = std::byte{kSeveral};
    store(&user_data_[bytes_], static_cast<std::uint16_t>(sdu.size()));
    bytes_ += kLengthBytes;
    if (!sdu.empty()) std::memcpy(&user_data_[bytes_], sdu.data(), sdu.size());
    bytes_ += static_cast<std::uint32_t>(sdu.size());
    ++count_;
    return true;
}

void Reassembler::on_pdu(std::uint64_t sequence, PduToken token,
                         std::span<const std::byte> user_data, std::uint32_t user_data_bytes) {
    // A PDU is missing: whatever SDU was under way is not to be had any more.
    if (any_ && sequence != next_sequence_ && !faults::is_active(faults::Fault::gap_in_sdu_ignored))
        lose(DropReason::efcp_sdu_incomplete);
    any_ = true;
    next_sequence_ = sequence + 1;
    if (user_data_bytes == 0 || user_data.empty()) {
        lose(DropReason::efcp_sdu_incomplete);
        drop(token, DropReason::efcp_bad_delimiting);
        return;
    }
    const auto kind = std::to_integer<std::uint8_t>(user_data[0]);
    const bool begins = kind == kWhole || kind == kFirst || kind == kSeveral;
    // The end of the one before is missing in spite of the sequence number: the peer gave it up.
    if (begins) lose(DropReason::efcp_sdu_incomplete);
    if (kind == kWhole) {
        const std::uint32_t bytes = user_data_bytes - kHeaderBytes;
        if (bytes > limits_.sdu_bytes_max) {
            drop(token, DropReason::too_long);
            return;
        }
        pieces_.push_back({token, kHeaderBytes, bytes, true, true});
    } else if (kind == kSeveral) {
        on_several(token, user_data);
    } else if (kind == kFirst || kind == kMiddle || kind == kLast) {
        on_part(kind, token, user_data, user_data_bytes);
    } else {
        lose(DropReason::efcp_sdu_incomplete);
        drop(token, DropReason::efcp_bad_delimiting);
    }
}

void Reassembler::on_part(std::uint8_t kind, PduToken token, std::span<const std::byte> user_data,
                          std::uint32_t user_data_bytes) {
    std::uint32_t header = kHeaderBytes;
    if (kind == kFirst) {
        if (user_data_bytes <= kFirstHeaderBytes || user_data.size() < kFirstHeaderBytes) {
            drop(token, DropReason::efcp_bad_delimiting);
            return;
        }
        sdu_bytes_ = load<std::uint32_t>(&user_data[kHeaderBytes]);
        if (sdu_bytes_ > limits_.sdu_bytes_max) {
            ++sdus_lost_;
            drop(token, DropReason::too_long);
            return;
        }
        header = kFirstHeaderBytes;
        is_open_ = true;
    } else if (!is_open_) {
        drop(token, DropReason::efcp_sdu_incomplete);
        return;
    }
    const std::uint32_t bytes = user_data_bytes - header;
    const std::uint32_t missing = sdu_bytes_ - have_bytes_;
    // The last part, and no other, completes it; an empty part would hold a buffer for nothing.
    const bool is_wrong = bytes == 0 || (kind == kLast ? bytes != missing : bytes >= missing);
    if (is_wrong || parts_.size() >= limits_.parts_max) {
        lose(DropReason::efcp_sdu_incomplete);
        drop(token, DropReason::efcp_bad_delimiting);
        return;
    }
    parts_.push_back({token, header, bytes, kind == kLast, true});
    have_bytes_ += bytes;
    if (kind == kLast) complete();
}

void Reassembler::complete() {
    pieces_.insert(pieces_.end(), parts_.begin(), parts_.end());
    parts_.clear();
    is_open_ = false;
    have_bytes_ = 0;
}

// All or nothing: lengths that do not add up say that none of them can be trusted.
void Reassembler::on_several(PduToken token, std::span<const std::byte> user_data) {
    const std::size_t before = pieces_.size();
    std::size_t at = kHeaderBytes;
    while (user_data.size() - at >= kLengthBytes) {
        const std::uint32_t bytes = load<std::uint16_t>(&user_data[at]);
        at += kLengthBytes;
        if (bytes > user_data.size() - at || bytes > limits_.sdu_bytes_max ||
            pieces_.size() - before >= limits_.parts_max) {
            at = kHeaderBytes;
            break;
        }
        pieces_.push_back({token, static_cast<std::uint32_t>(at), bytes, true, false});
        at += bytes;
    }
    if (at == kHeaderBytes || at != user_data.size()) {
        pieces_.resize(before);
        drop(token, DropReason::efcp_bad_delimiting);
        return;
    }
    pieces_.back().is_last_of_token = true;
}

void Reassembler::lose(DropReason reason) {
    if (!is_open_) return;
    for (const Piece& part : parts_) drop(part.token, reason);
    parts_.clear();
    is_open_ = false;
    have_bytes_ = 0;
    ++sdus_lost_;
}

void Reassembler::abandon() { lose(DropReason::efcp_sdu_incomplete); }

std::optional<Reassembler::Piece> Reassembler::take_piece() noexcept {
    if (piece_at_ == pieces_.size()) {
        pieces_.clear();
        piece_at_ = 0;
        return std::nullopt;
    }
    return pieces_[piece_at_++];
}

std::optional<Reassembler::Dropped> Reassembler::take_dropped() noexcept {
    if (dropped_at_ == dropped_.size()) {
        dropped_.clear();
        dropped_at_ = 0;
        return std::nullopt;
    }
    return dropped_[dropped_at_++];
}

}  // namespace sluice::efcp
