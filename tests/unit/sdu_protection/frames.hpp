#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "normal_dif/core/sdu_protection/frame.hpp"
#include "rina/pci.hpp"

namespace sluice::test {

using Bytes = std::vector<std::byte>;

inline Bytes hex(std::string_view text) {
    const auto digit = [](char c) { return c <= '9' ? c - '0' : c - 'a' + 10; };
    Bytes bytes;
    for (std::size_t i = 0; i + 1 < text.size(); i += 2)
        bytes.push_back(static_cast<std::byte>(digit(text[i]) << 4 | digit(text[i + 1])));
    return bytes;
}

// A PDU of the default format with this many bytes of payload.
inline Bytes pdu_of(std::size_t payload, std::uint16_t ttl = 64) {
    Bytes pdu(28 + payload);
    for (std::size_t i = 28; i < pdu.size(); ++i) pdu[i] = static_cast<std::byte>(i * 7);
    rina::Pci pci;
    pci.ttl = ttl;
    pci.destination = rina::Address{5};
    pci.length = static_cast<std::uint32_t>(pdu.size());
    rina::write(pci, rina::kDefaultFormat, pdu.data());
    return pdu;
}

// A buffer with a frame in the middle.
struct Buffer {
    static constexpr std::uint16_t kRoom = 64;
    Bytes bytes;
    sdup::Frame frame;

    explicit Buffer(const Bytes& content, std::uint16_t headroom = kRoom,
                    std::uint16_t tailroom = kRoom)
        : bytes(headroom + content.size() + tailroom, std::byte{0xee}) {
        std::copy(content.begin(), content.end(), bytes.begin() + headroom);
        frame.data = bytes.data() + headroom;
        frame.bytes = static_cast<std::uint32_t>(content.size());
        frame.headroom = headroom;
        frame.tailroom = tailroom;
    }
    Buffer(const Buffer&) = delete;
    Buffer& operator=(const Buffer&) = delete;

    Bytes content() const { return Bytes(frame.data, frame.data + frame.bytes); }
    // Data and rooms make up the buffer.
    bool adds_up() const {
        return frame.data == bytes.data() + frame.headroom &&
               frame.headroom + frame.bytes + frame.tailroom == bytes.size();
    }
};

template <typename P>
Bytes sealed(P& sealer, const Bytes& pdu) {
    Buffer buffer(pdu);
    sealer.seal({}, std::span(&buffer.frame, 1));
    return buffer.frame.dropped ? Bytes{} : buffer.content();
}

struct Opened {
    bool dropped = false;
    DropReason reason{};
    Bytes pdu;

    bool is(DropReason why) const { return dropped && reason == why; }
};
template <typename P>
Opened opened(P& opener, const Bytes& bytes, Instant now = {}) {
    Buffer buffer(bytes);
    opener.open(now, std::span(&buffer.frame, 1));
    return {buffer.frame.dropped, buffer.frame.reason, buffer.content()};
}

}  // namespace sluice::test
