#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace sluice::test {

using Bytes = std::vector<std::byte>;

// "0100 48" -> bytes; spaces are for the reader.
inline Bytes from_hex(std::string_view text) {
    Bytes bytes;
    int high = -1;
    for (const char c : text) {
        if (c == ' ' || c == '\n') continue;
        const int digit = c <= '9' ? c - '0' : c - 'a' + 10;
        if (high < 0) {
            high = digit;
        } else {
            bytes.push_back(static_cast<std::byte>(high * 16 + digit));
            high = -1;
        }
    }
    return bytes;
}

inline std::string to_hex(std::span<const std::byte> bytes) {
    std::string text;
    for (const std::byte b : bytes) {
        constexpr std::string_view kDigits = "0123456789abcdef";
        text += kDigits[std::to_integer<std::size_t>(b) >> 4];
        text += kDigits[std::to_integer<std::size_t>(b) & 15];
    }
    return text;
}

inline Bytes from_text(std::string_view text) {
    const auto* at = reinterpret_cast<const std::byte*>(text.data());
    return Bytes(at, at + text.size());
}

}  // namespace sluice::test
