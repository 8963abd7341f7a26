#pragma once

#include <array>
#include <cstring>

#include "normal_dif/core/sdu_protection/frame.hpp"
#include "rina/inet_checksum.hpp"
#include "rina/pci.hpp"

// Protection that adds nothing to a PDU.
namespace sluice::sdup {

class NoProtection {
  public:
    Overhead overhead() const noexcept { return {}; }
    void seal(Instant, std::span<Frame>) noexcept {}
    void open(Instant, std::span<Frame>) noexcept {}
};

// A bound on the life of PDUs and nothing else: none has more hops left than the DIF allows,
// whatever a neighbour says. Delta-t rests on such a bound (Watson, The Delta-t Transport Protocol,
// 1981). Where the life ends is the relay's work.
class TtlLimit {
  public:
    explicit TtlLimit(std::uint16_t hops_max) noexcept : hops_max_(hops_max) {}

    Overhead overhead() const noexcept { return {}; }
    void seal(Instant, std::span<Frame> frames) noexcept {
        for (Frame& frame : frames)
            if (!frame.dropped && ttl_of(frame) > hops_max_)
                rina::detail::store(frame.data + rina::PciFormat::kTtlAt, hops_max_);
    }
    void open(Instant, std::span<Frame> frames) noexcept {
        for (Frame& frame : frames)
            if (!frame.dropped && ttl_of(frame) > hops_max_)
                frame.drop(DropReason::dif_ttl_excessive);
    }

  private:
    // 0 of what has none; the parser drops that.
    static std::uint16_t ttl_of(const Frame& frame) noexcept {
        if (frame.bytes < rina::PciFormat::kSequenceAt) return 0;
        return rina::detail::load<std::uint16_t>(frame.data + rina::PciFormat::kTtlAt);
    }

    std::uint16_t hops_max_;
};

// How long a PDU says it is; 0 if it cannot be.
inline std::uint32_t pdu_bytes(const Frame& frame, const rina::PciFormat& format) noexcept {
    if (frame.bytes < format.bytes()) return 0;
    const std::uint64_t bytes =
        rina::detail::load_width(frame.data + format.length_at(), format.length);
    return bytes < format.bytes() || bytes > frame.bytes ? 0 : static_cast<std::uint32_t>(bytes);
}

// The Internet checksum in the PCI, as rlite's IPC processes have it with csum=inet. A relay
// adjusts it to the TTL it writes, and so it covers the way through the relay too.
class InetChecksum {
  public:
    explicit InetChecksum(const rina::PciFormat& format) noexcept : format_(format) {}

    Overhead overhead() const noexcept { return {}; }
    void seal(Instant, std::span<Frame> frames) noexcept {
        for (Frame& frame : frames) {
            if (frame.dropped || frame.relayed) continue;
            if (frame.bytes < format_.bytes())
                frame.drop(DropReason::too_short);
            else
                rina::seal_inet_checksum(std::span(frame.data, frame.bytes));
        }
    }
    void open(Instant, std::span<Frame> frames) noexcept {
        for (Frame& frame : frames) {
            if (frame.dropped) continue;
            const std::uint32_t bytes = pdu_bytes(frame, format_);
            if (bytes == 0)
                frame.drop(DropReason::dif_bad_length);
            else if (!rina::has_inet_checksum(std::span(frame.data, bytes)))
                frame.drop(DropReason::dif_bad_checksum);
            else
                frame.trim(bytes);
        }
    }

  private:
    rina::PciFormat format_;
};

static_assert(Sealer<NoProtection> && Opener<NoProtection>);
static_assert(Sealer<TtlLimit> && Opener<TtlLimit>);
static_assert(Sealer<InetChecksum> && Opener<InetChecksum>);

}  // namespace sluice::sdup
