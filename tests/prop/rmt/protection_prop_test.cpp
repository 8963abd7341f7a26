#include <rapidcheck.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <set>
#include <vector>

#include "normal_dif/core/sdu_protection/policies.hpp"

using namespace sluice;
using namespace sluice::sdup;
using Bytes = std::vector<std::byte>;

namespace {

constexpr std::uint16_t kRoom = 40;

Bytes any_pdu() {
    rina::Pci pci;
    pci.ttl = *rc::gen::inRange<std::uint16_t>(0, 65);
    pci.sequence = *rc::gen::arbitrary<std::uint32_t>();
    const auto payload = *rc::gen::arbitrary<std::vector<std::uint8_t>>();
    Bytes pdu(28);
    for (const std::uint8_t byte : payload) pdu.push_back(std::byte{byte});
    pci.length = static_cast<std::uint32_t>(pdu.size());
    rina::write(pci, rina::kDefaultFormat, pdu.data());
    return pdu;
}

Frame frame_in(Bytes& buffer, const Bytes& content) {
    buffer.assign(kRoom, std::byte{0});
    buffer.insert(buffer.end(), content.begin(), content.end());
    buffer.resize(buffer.size() + kRoom);
    Frame frame;
    frame.data = buffer.data() + kRoom;
    frame.bytes = static_cast<std::uint32_t>(content.size());
    frame.headroom = frame.tailroom = kRoom;
    return frame;
}

Protection any_protection() {
    const auto all = protection_policies();
    const auto which = *rc::gen::inRange<std::size_t>(0, all.size());
    auto made = make_protection(all[which].name, {}, rina::kDefaultFormat);
    RC_ASSERT(made.has_value());
    if (auto* sealer = std::get_if<AesGcmSealer>(&made->sealer); sealer != nullptr) {
        TrafficKey key;
        key.key.fill(std::byte{5});
        RC_ASSERT(sealer->install(KeyEpoch{7}, key).has_value());
        RC_ASSERT(std::get<AesGcmOpener>(made->opener).install(KeyEpoch{7}, key).has_value());
    }
    return std::move(*made);
}

}  // namespace

TEST_CASE("SDU protection", "[prop]") {
    CHECK(rc::check("what was sealed is opened as it was, padded or not", [] {
        Protection p = any_protection();
        const Bytes pdu = any_pdu();
        Bytes buffer;
        Frame frame = frame_in(buffer, pdu);
        seal(p.sealer, {}, std::span(&frame, 1));
        RC_ASSERT(!frame.dropped);
        RC_ASSERT(frame.bytes ==
                  pdu.size() + overhead(p.sealer).head + overhead(p.sealer).tail);
        Bytes sent(frame.data, frame.data + frame.bytes);
        // Those without a length of their own leave padding to the parser.
        const bool trims = p.sealer.index() >= 2;
        if (trims) sent.resize(sent.size() + *rc::gen::inRange<std::size_t>(0, 20));
        frame = frame_in(buffer, sent);
        open(p.opener, {}, std::span(&frame, 1));
        RC_ASSERT(!frame.dropped);
        Bytes got(frame.data, frame.data + frame.bytes);
        if (p.sealer.index() == 2) rina::detail::store(got.data() + 4, std::uint16_t{0});
        RC_ASSERT(got == pdu);
    }));
    CHECK(rc::check("any bytes are opened or refused, within their bounds", [] {
        Protection p = any_protection();
        Bytes content = any_pdu();
        if (*rc::gen::arbitrary<bool>()) content[0] = std::byte{1};
        for (const auto& [at, mask] :
             *rc::gen::container<std::vector<std::pair<std::size_t, std::uint8_t>>>(rc::gen::pair(
                 rc::gen::inRange<std::size_t>(0, 34), rc::gen::arbitrary<std::uint8_t>())))
            if (at < content.size()) content[at] = std::byte{mask};
        content.resize(*rc::gen::inRange<std::size_t>(0, content.size() + 1));
        Bytes buffer;
        Frame frame = frame_in(buffer, content);
        open(p.opener, {}, std::span(&frame, 1));
        RC_ASSERT(frame.data >= buffer.data() + kRoom);
        RC_ASSERT(frame.data + frame.bytes <= buffer.data() + kRoom + content.size());
        if (std::holds_alternative<AesGcmOpener>(p.opener)) RC_ASSERT(frame.dropped);
    }));
    CHECK(rc::check("a CRC-32C sees any burst of up to 32 bits", [] {
        Crc32c crc(rina::kDefaultFormat);
        Bytes buffer;
        Frame frame = frame_in(buffer, any_pdu());
        crc.seal({}, std::span(&frame, 1));
        const auto bit = *rc::gen::inRange<std::size_t>(0, frame.bytes * 8 - 31);
        const auto burst = *rc::gen::nonZero<std::uint32_t>();
        for (std::size_t i = 0; i < 32; ++i)
            if ((burst >> i & 1) != 0)
                frame.data[(bit + i) / 8] ^= static_cast<std::byte>(1 << (bit + i) % 8);
        crc.open({}, std::span(&frame, 1));
        RC_ASSERT(frame.dropped);
    }));
}

TEST_CASE("the replay window", "[prop]") {
    CHECK(rc::check("takes each counter once, and all that is not too old", [] {
        ReplayWindow window;
        std::set<std::uint64_t> seen;
        std::uint64_t highest = 0;
        std::uint64_t at = *rc::gen::arbitrary<std::uint32_t>();
        const auto steps = *rc::gen::resize(
            400, rc::gen::container<std::vector<int>>(rc::gen::inRange(-2100, 2200)));
        for (const int step : steps) {
            const std::int64_t far = step % 50 == 0 ? step * 40 : step % 9 == 0 ? step : step % 4;
            const bool below = far < 0 && at < static_cast<std::uint64_t>(-far);
            at = below ? 0 : at + static_cast<std::uint64_t>(far);
            const bool old = !seen.empty() && at < highest && highest - at >= ReplayWindow::kSize;
            RC_ASSERT(window.is_new(at) == (!old && !seen.contains(at)));
            if (!window.is_new(at)) continue;
            window.insert(at);
            seen.insert(at);
            highest = std::max(highest, at);
        }
    }));
}
