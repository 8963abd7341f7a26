#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>

namespace sluice::fuzz {

// The bytes of a fuzzer as a story: what happens next, and with what. Zeros behind its end.
class Script {
  public:
    explicit Script(std::span<const std::byte> bytes) : bytes_(bytes) {}
    bool at_end() const { return bytes_.empty(); }
    std::uint8_t byte() {
        if (bytes_.empty()) return 0;
        const auto value = std::to_integer<std::uint8_t>(bytes_[0]);
        bytes_ = bytes_.subspan(1);
        return value;
    }
    std::uint16_t word() {
        const unsigned low = byte();
        return static_cast<std::uint16_t>(low | unsigned{byte()} << 8);
    }
    // Small numbers more often than others, and now and then what is at the edges.
    std::uint64_t number() {
        const std::uint8_t first = byte();
        switch (first) {
            case 0xfb: return word();
            case 0xfc: return std::uint64_t{word()} << 16 | word();
            case 0xfd: return 0xffff;
            case 0xfe: return 0xffffffff;
            case 0xff: return ~std::uint64_t{0};
            default: return first;
        }
    }
    std::span<const std::byte> piece(std::size_t size) {
        const auto piece = bytes_.first(std::min(size, bytes_.size()));
        bytes_ = bytes_.subspan(piece.size());
        return piece;
    }

  private:
    std::span<const std::byte> bytes_;
};

}  // namespace sluice::fuzz
