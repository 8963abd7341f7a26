#include "rina/inet_checksum.hpp"

namespace sluice::rina {

namespace {

std::uint16_t fold(std::uint64_t sum) noexcept {
    while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
    return static_cast<std::uint16_t>(sum);
}

}  // namespace

std::uint16_t inet_sum(std::span<const std::byte> bytes) noexcept {
    const std::byte* at = bytes.data();
    std::size_t left = bytes.size();
    // A 32-bit word is congruent to the sum of its halves modulo 2^16 - 1, and four billion of
    // them fit into 64 bits. Two sums, so that one addition need not wait for the other.
    std::uint64_t even = 0;
    std::uint64_t odd = 0;
    for (; left >= 8; at += 8, left -= 8) {
        even += detail::load<std::uint32_t>(at);
        odd += detail::load<std::uint32_t>(at + 4);
    }
    std::uint64_t sum = even + odd;
    for (; left >= 2; at += 2, left -= 2) sum += detail::load<std::uint16_t>(at);
    if (left != 0) sum += std::to_integer<std::uint64_t>(*at);
    return fold(sum);
}

std::uint16_t inet_checksum(std::span<const std::byte> pdu) noexcept {
    const auto there = detail::load<std::uint16_t>(pdu.data() + PciFormat::kChecksumAt);
    // Taken out again by adding its complement, which is subtraction here.
    const std::uint64_t sum =
        std::uint64_t{inet_sum(pdu)} + static_cast<std::uint16_t>(~there);
    return static_cast<std::uint16_t>(~fold(sum));
}

}  // namespace sluice::rina
