#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>

#include "base/drop_reason.hpp"
#include "base/instant.hpp"

// SDU protection: what is done to a PDU before it becomes the SDU of an N-1 flow, and undone at the
// other end of that flow. Each N-1 port has its own.
namespace sluice::sdup {

// A PDU in one piece, with room around it that may be written. seal() and open() move data and
// bytes, and what they do not like is marked as dropped; frames that are already are left alone.
struct Frame {
    std::byte* data = nullptr;
    std::uint32_t bytes = 0;
    std::uint16_t headroom = 0;
    std::uint16_t tailroom = 0;
    // seal(): the relay kept the checksum true that the PDU came with, from an N-1 port with the
    // same protection.
    bool relayed = false;
    bool dropped = false;
    DropReason reason = DropReason::discarded;  // if it was

    void drop(DropReason why) noexcept {
        dropped = true;
        reason = why;
    }
    void trim(std::uint32_t to) noexcept {
        const std::uint32_t more = tailroom + (bytes - to);
        tailroom = static_cast<std::uint16_t>(more < 0xffff ? more : 0xffff);
        bytes = to;
    }
};

// By how much sealed PDUs are longer; the N-1 flow's largest SDU less this is the largest PDU.
struct Overhead {
    std::uint16_t head = 0;
    std::uint16_t tail = 0;

    bool operator==(const Overhead&) const = default;
};

template <typename P>
concept Sealer = requires(P p, const P c, Instant now, std::span<Frame> frames) {
    { c.overhead() } noexcept -> std::same_as<Overhead>;
    { p.seal(now, frames) } noexcept -> std::same_as<void>;
};
// What comes out of open() is a PDU, with nothing behind it where its end could be told.
template <typename P>
concept Opener = requires(P p, Instant now, std::span<Frame> frames) {
    { p.open(now, frames) } noexcept -> std::same_as<void>;
};

}  // namespace sluice::sdup
