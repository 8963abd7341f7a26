#include <catch2/catch.hpp>

#include "frames.hpp"
#include "normal_dif/core/sdu_protection/policies.hpp"

using namespace sluice;
using namespace sluice::sdup;
using test::Buffer;
using test::Bytes;
using test::opened;
using test::pdu_of;
using test::sealed;

TEST_CASE("no protection leaves everything alone") {
    NoProtection none;
    const Bytes pdu = pdu_of(10);
    CHECK(sealed(none, pdu) == pdu);
    CHECK(opened(none, pdu).pdu == pdu);
    CHECK(none.overhead() == Overhead{0, 0});
}

TEST_CASE("a limit of hops: lowered when sealed, refused when opened") {
    TtlLimit limit(20);
    CHECK(sealed(limit, pdu_of(0, 20)) == pdu_of(0, 20));
    CHECK(sealed(limit, pdu_of(0, 21)) == pdu_of(0, 20));
    CHECK(sealed(limit, pdu_of(0, 65535)) == pdu_of(0, 20));
    CHECK(opened(limit, pdu_of(0, 20)).pdu == pdu_of(0, 20));
    CHECK(opened(limit, pdu_of(0, 0)).pdu == pdu_of(0, 0));
    CHECK(opened(limit, pdu_of(0, 21)).is(DropReason::dif_ttl_excessive));
    // What is too short to say is the parser's.
    for (std::size_t size = 0; size < 8; ++size)
        CHECK_FALSE(opened(limit, Bytes(size, std::byte{0xff})).dropped);
}

TEST_CASE("Internet checksum") {
    InetChecksum inet(rina::kDefaultFormat);
    for (const std::size_t payload : {0, 1, 2, 7, 100, 1401}) {
        const Bytes pdu = sealed(inet, pdu_of(payload));
        CHECK(pdu.size() == 28 + payload);
        CHECK(pdu != pdu_of(payload));
        CHECK(opened(inet, pdu).pdu == pdu);
        // Padding is not part of it.
        Bytes padded = pdu;
        padded.resize(pdu.size() + 20, std::byte{0x77});
        CHECK(opened(inet, padded).pdu == pdu);
        for (std::size_t at = 0; at < pdu.size(); ++at) {
            Bytes broken = pdu;
            broken[at] ^= std::byte{0x10};
            const auto result = opened(inet, broken);
            REQUIRE(result.dropped);
            REQUIRE((result.reason == DropReason::dif_bad_checksum ||
                     result.reason == DropReason::dif_bad_length));
        }
    }
    CHECK(opened(inet, pdu_of(5)).is(DropReason::dif_bad_checksum));
    CHECK(opened(inet, Bytes(27)).is(DropReason::dif_bad_length));
    Buffer tiny(Bytes(27));
    inet.seal({}, std::span(&tiny.frame, 1));
    CHECK(tiny.frame.dropped);
    // A relay's adjusted checksum is not computed anew: that would hide what the relay broke.
    Bytes broken = sealed(inet, pdu_of(100));
    broken[60] ^= std::byte{1};
    Buffer buffer(broken);
    buffer.frame.relayed = true;
    inet.seal({}, std::span(&buffer.frame, 1));
    CHECK(buffer.content() == broken);
}

TEST_CASE("CRC-32C of known messages") {
    // RFC 3720, appendix B.4, and the check value of the catalogue of CRCs.
    Bytes rising;
    for (unsigned i = 0; i < 32; ++i) rising.push_back(static_cast<std::byte>(i));
    const Bytes falling(rising.rbegin(), rising.rend());
    const Bytes read = test::hex(
        "01c00000000000000000000000000000140000000000040000000014000000182800000000000000"
        "0200000000000000");
    const Bytes digits = test::hex("313233343536373839");
    const std::pair<Bytes, std::uint32_t> known[] = {
        {Bytes(32), 0x8a9136aa},           {Bytes(32, std::byte{0xff}), 0x62a8ab43},
        {rising, 0x46dd794e},              {falling, 0x113fdb5c},
        {read, 0xd9963a56},                {digits, 0xe3069283},
        {Bytes{}, 0}};
    for (const auto& [message, crc] : known) {
        CHECK(crc32c(message) == crc);
        CHECK(crc32c_by_table(message, 0) == crc);
    }
}

TEST_CASE("CRC-32C: the instruction and the table agree, in one piece and in two") {
    Bytes bytes(4000);
    for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>(i * i >> 3);
    for (std::size_t size = 0; size < bytes.size(); size += size < 1200 ? 1 : 97) {
        const std::span message(bytes.data() + size % 8, size - size % 8);
        const std::uint32_t crc = crc32c_by_table(message, 0);
        REQUIRE(crc32c(message) == crc);
        if (has_crc32c_instruction()) {
            REQUIRE(crc32c_by_instruction(message, 0) == crc);
        }
        const std::size_t cut = message.size() / 3;
        REQUIRE(crc32c(message.subspan(cut), crc32c(message.first(cut))) == crc);
    }
}

TEST_CASE("CRC-32C trailer") {
    Crc32c crc(rina::kDefaultFormat);
    for (const std::size_t payload : {0, 1, 100, 1400}) {
        const Bytes pdu = pdu_of(payload);
        const Bytes sent = sealed(crc, pdu);
        REQUIRE(sent.size() == pdu.size() + 4);
        CHECK(Bytes(sent.begin(), sent.end() - 4) == pdu);
        CHECK(rina::detail::load<std::uint32_t>(sent.data() + pdu.size()) == crc32c(pdu));
        CHECK(opened(crc, sent).pdu == pdu);
        Bytes padded = sent;
        padded.resize(sent.size() + 20, std::byte{0x77});
        CHECK(opened(crc, padded).pdu == pdu);
        for (std::size_t at = 0; at < sent.size(); ++at) {
            for (const int bit : {0, 7}) {
                Bytes broken = sent;
                broken[at] ^= static_cast<std::byte>(1 << bit);
                REQUIRE(opened(crc, broken).dropped);
            }
        }
        for (std::size_t size = 0; size < sent.size(); size += 7)
            REQUIRE(opened(crc, Bytes(sent.begin(), sent.begin() + static_cast<long>(size)))
                        .is(DropReason::dif_bad_length));
    }
    Buffer cramped(pdu_of(10), 0, 3);
    crc.seal({}, std::span(&cramped.frame, 1));
    CHECK(cramped.frame.dropped);
    CHECK(cramped.frame.reason == DropReason::dif_no_room);
    CHECK(cramped.content() == pdu_of(10));
    Buffer fits(pdu_of(10), 0, 4);
    crc.seal({}, std::span(&fits.frame, 1));
    CHECK_FALSE(fits.frame.dropped);
    CHECK(fits.adds_up());
    crc.open({}, std::span(&fits.frame, 1));
    CHECK(fits.adds_up());
}

TEST_CASE("frames that are dropped already are left alone") {
    for (const ProtectionPolicy& known : protection_policies()) {
        auto p = make_protection(known.name, {}, rina::kDefaultFormat);
        REQUIRE(p);
        Buffer buffer(Bytes(3, std::byte{0xff}));
        buffer.frame.drop(DropReason::no_flow);
        seal(p->sealer, {}, std::span(&buffer.frame, 1));
        open(p->opener, {}, std::span(&buffer.frame, 1));
        CHECK(buffer.frame.reason == DropReason::no_flow);
        CHECK(buffer.content() == Bytes(3, std::byte{0xff}));
    }
}

TEST_CASE("protection is made by name") {
    std::vector<std::string_view> names;
    for (const ProtectionPolicy& known : protection_policies()) {
        names.push_back(known.name);
        auto p = make_protection(known.name, {}, rina::kDefaultFormat);
        REQUIRE(p);
        // What is said to be the overhead is it, or there is no key yet.
        Buffer buffer(pdu_of(10));
        seal(p->sealer, {}, std::span(&buffer.frame, 1));
        const Overhead more = overhead(p->sealer);
        if (!known.name.starts_with("aes")) {
            CHECK_FALSE(buffer.frame.dropped);
            CHECK(buffer.frame.bytes == 38u + more.head + more.tail);
            open(p->opener, {}, std::span(&buffer.frame, 1));
            CHECK_FALSE(buffer.frame.dropped);
        } else {
            CHECK(buffer.frame.reason == DropReason::dif_no_key);
            CHECK(more == Overhead{16, 16});
        }
    }
    CHECK(names == std::vector<std::string_view>{"none", "ttl", "inet", "crc32c", "aes-128-gcm",
                                                 "aes-256-gcm"});
    const auto error = [](std::string_view name, const std::vector<policy::Param>& params) {
        auto p = make_protection(name, params, rina::kDefaultFormat);
        return p ? std::string() : p.error().message;
    };
    CHECK(error("md5", {}) ==
          "SDU protection 'md5' is not known, expected one of none, ttl, inet, crc32c, "
          "aes-128-gcm, aes-256-gcm");
    CHECK(error("none", {{"hops", "1"}}) ==
          "SDU protection none: parameter 'hops' is not known, expected none");
    CHECK(error("ttl", {{"hops", "0"}}) ==
          "SDU protection ttl: parameter 'hops' is '0', expected a number from 1 to 65535");
    CHECK(error("aes-128-gcm", {{"old_epoch_ms", "3600001"}}) ==
          "SDU protection aes-128-gcm: parameter 'old_epoch_ms' is '3600001', expected a number "
          "from 0 to 3600000");
}
