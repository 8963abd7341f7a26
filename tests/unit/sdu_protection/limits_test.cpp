#include <catch2/catch.hpp>

#include "frames.hpp"
#include "normal_dif/core/sdu_protection/aes_gcm.hpp"
#include "normal_dif/core/sdu_protection/crc32c.hpp"
#include "normal_dif/core/sdu_protection/plain.hpp"
#include "normal_dif/core/sdu_protection/secrets.hpp"

using namespace sluice;
using namespace sluice::sdup;
using test::Buffer;
using test::Bytes;
using test::hex;
using test::opened;
using test::pdu_of;
using test::sealed;

namespace {

std::span<const std::byte> text(std::string_view from) { return std::as_bytes(std::span(from)); }

// A frame that says that it is longer than libcrypto can count. Nobody may look behind its header.
Frame endless(Bytes& header) {
    Frame frame;
    frame.data = header.data() + 64;
    frame.bytes = 0x8000'0000;
    frame.headroom = frame.tailroom = 64;
    return frame;
}

}  // namespace

TEST_CASE("scrypt of a known password") {
    // RFC 7914, section 12.
    Bytes out(64);
    REQUIRE(scrypt(text("pleaseletmein"), text("SodiumChloride"), 16384, out));
    CHECK(out == hex("7023bdcb3afd7348461c06cd81fd38ebfda8fbba904f8e3ea9b543f6545da1f2"
                     "d5432955613f0fcf62d49705242a9af9e61e85dc0d651e40dfcf017b45575887"));
}

TEST_CASE("what libcrypto refuses is an error that says what was wanted") {
    // RFC 5869, section 2.3: at most 255 hashes.
    Bytes longest(255 * 32);
    CHECK(hkdf_sha256(Bytes(16), Bytes(16), Bytes(4), longest));
    Bytes longer(255 * 32 + 1);
    const auto hkdf = hkdf_sha256(Bytes(16), Bytes(16), Bytes(4), longer);
    REQUIRE_FALSE(hkdf);
    CHECK(hkdf.error().code == ENOTSUP);
    CHECK(hkdf.error().message.rfind("libcrypto cannot do HKDF: ", 0) == 0);
    // RFC 7914, section 2: a power of two.
    Bytes key(32);
    const auto stretched = scrypt(text("password"), text("salt"), 1000, key);
    REQUIRE_FALSE(stretched);
    CHECK(stretched.error().code == ENOTSUP);
    CHECK(stretched.error().message.rfind("libcrypto cannot do scrypt: ", 0) == 0);
    CHECK(key == Bytes(32));
}

TEST_CASE("a frame that is too long to count is dropped unseen") {
    Bytes bytes(64 + 64, std::byte{0x11});
    const Bytes before = bytes;
    SECTION("as it is sealed") {
        AesGcmSealer sealer({Cipher::aes_256_gcm});
        REQUIRE(sealer.install(KeyEpoch{1}, TrafficKey{}));
        Frame frame = endless(bytes);
        sealer.seal({}, std::span(&frame, 1));
        CHECK(frame.reason == DropReason::too_long);
        CHECK(bytes == before);
        // And costs no counter.
        CHECK(rina::detail::load<std::uint64_t>(sealed(sealer, pdu_of(1)).data() + 8) == 0);
    }
    SECTION("as it is opened") {
        AesGcmOpener opener({Cipher::aes_256_gcm});
        REQUIRE(opener.install(KeyEpoch{1}, TrafficKey{}));
        Frame frame = endless(bytes);
        frame.bytes = 0xffff'ffff;
        std::byte* const header = frame.data;
        header[0] = std::byte{1};
        header[1] = std::byte{0};
        rina::detail::store(header + 2, std::uint16_t{1});
        rina::detail::store(header + 4, std::uint32_t{0x8000'0000});
        opener.open({}, std::span(&frame, 1));
        CHECK(frame.dropped);
        CHECK(frame.reason == DropReason::dif_bad_length);
    }
}

TEST_CASE("what was dropped before is neither sealed nor opened") {
    AesGcmSealer sealer({});
    AesGcmOpener opener({});
    REQUIRE(sealer.install(KeyEpoch{1}, TrafficKey{}));
    REQUIRE(opener.install(KeyEpoch{1}, TrafficKey{}));
    Buffer buffer(pdu_of(5));
    buffer.frame.drop(DropReason::dif_no_route);
    sealer.seal({}, std::span(&buffer.frame, 1));
    CHECK(buffer.content() == pdu_of(5));
    const Bytes frame = sealed(sealer, pdu_of(5));
    Buffer arrived(frame);
    arrived.frame.drop(DropReason::dif_no_route);
    opener.open({}, std::span(&arrived.frame, 1));
    CHECK(arrived.content() == frame);
    CHECK(arrived.frame.reason == DropReason::dif_no_route);
    // Its counter is new still.
    CHECK(opened(opener, frame).pdu == pdu_of(5));
}

TEST_CASE("frames without a whole PCI") {
    const Bytes stump(27, std::byte{0xff});
    SECTION("have no hops to limit; the parser drops them") {
        TtlLimit limit(8);
        CHECK(sealed(limit, Bytes(3, std::byte{0xff})) == Bytes(3, std::byte{0xff}));
        CHECK_FALSE(opened(limit, Bytes(3, std::byte{0xff})).dropped);
    }
    SECTION("have no checksum") {
        InetChecksum checksum(rina::kDefaultFormat);
        Buffer buffer(stump);
        checksum.seal({}, std::span(&buffer.frame, 1));
        CHECK(buffer.frame.reason == DropReason::too_short);
        CHECK(opened(checksum, stump).is(DropReason::dif_bad_length));
    }
    SECTION("have no end that a trailer could follow") {
        Crc32c crc(rina::kDefaultFormat);
        CHECK(opened(crc, stump).is(DropReason::dif_bad_length));
    }
}

TEST_CASE("the Internet checksum of what a relay passes on is not made anew") {
    InetChecksum checksum(rina::kDefaultFormat);
    Buffer buffer(pdu_of(4));
    buffer.frame.relayed = true;
    checksum.seal({}, std::span(&buffer.frame, 1));
    CHECK(buffer.content() == pdu_of(4));
    CHECK(opened(checksum, pdu_of(4)).is(DropReason::dif_bad_checksum));
}

TEST_CASE("padding beyond what tailroom can count is room all the same") {
    Bytes bytes(0x1'0000 + 100);
    Frame frame;
    frame.data = bytes.data();
    frame.bytes = static_cast<std::uint32_t>(bytes.size() - 10);
    frame.tailroom = 10;
    frame.trim(50);
    CHECK(frame.bytes == 50);
    CHECK(frame.tailroom == 0xffff);
    frame.trim(40);
    CHECK(frame.tailroom == 0xffff);
}

TEST_CASE("ciphers have names") {
    CHECK(to_string(Cipher::aes_128_gcm) == "aes-128-gcm");
    CHECK(to_string(Cipher::aes_256_gcm) == "aes-256-gcm");
}
