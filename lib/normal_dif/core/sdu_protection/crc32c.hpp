#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "normal_dif/core/sdu_protection/frame.hpp"
#include "rina/pci.hpp"

namespace sluice::sdup {

// CRC-32C (Castagnoli; RFC 3720, appendix B.4) of `bytes` behind data with the CRC `before`.
std::uint32_t crc32c(std::span<const std::byte> bytes, std::uint32_t before = 0) noexcept;
// The two ways to compute it, for tests; has_crc32c_instruction() must hold for the first.
std::uint32_t crc32c_by_instruction(std::span<const std::byte> bytes,
                                    std::uint32_t before) noexcept;
std::uint32_t crc32c_by_table(std::span<const std::byte> bytes, std::uint32_t before) noexcept;
bool has_crc32c_instruction() noexcept;

// Four bytes behind the PDU: the CRC-32C of all of it, the PCI included, least byte first. They are
// found by the length in the PCI, and so the N-1 flow may pad the frame.
class Crc32c {
  public:
    static constexpr std::uint16_t kTrailerBytes = 4;

    explicit Crc32c(const rina::PciFormat& format) noexcept : format_(format) {}

    Overhead overhead() const noexcept { return {0, kTrailerBytes}; }
    void seal(Instant, std::span<Frame> frames) noexcept;
    void open(Instant, std::span<Frame> frames) noexcept;

  private:
    rina::PciFormat format_;
};
static_assert(Sealer<Crc32c> && Opener<Crc32c>);

}  // namespace sluice::sdup
