#include <array>
#include <catch2/catch.hpp>
#include <deque>

#include "allocations.hpp"
#include "frames.hpp"
#include "normal_dif/core/sdu_protection/aes_gcm.hpp"

using namespace sluice;
using namespace sluice::sdup;
using test::Buffer;
using test::Bytes;
using test::hex;
using test::opened;
using test::pdu_of;
using test::sealed;

namespace {

TrafficKey key_of(std::uint8_t seed) {
    TrafficKey key;
    for (std::size_t i = 0; i < key.key.size(); ++i) key.key[i] = static_cast<std::byte>(seed + i);
    key.salt.fill(static_cast<std::byte>(seed));
    return key;
}

// One direction of an N-1 flow whose ends have the key of epoch 1.
struct Link {
    AesGcmSealer sealer;
    AesGcmOpener opener;

    explicit Link(Cipher cipher = Cipher::aes_128_gcm)
        : Link(AesGcmSealer::Params{cipher}, AesGcmOpener::Params{cipher}) {}
    Link(const AesGcmSealer::Params& seal, const AesGcmOpener::Params& open)
        : sealer(seal), opener(open) {
        REQUIRE(sealer.install(KeyEpoch{1}, key_of(1)));
        REQUIRE(opener.install(KeyEpoch{1}, key_of(1)));
    }
};

std::uint64_t counter_of(const Bytes& frame) {
    return rina::detail::load<std::uint64_t>(frame.data() + 8);
}

constexpr Instant at_ms(std::int64_t n) { return Instant{} + Duration::milliseconds(n); }

}  // namespace

TEST_CASE("AES-GCM of known messages") {
    // Test cases 4 and 16 of McGrew and Viega, The Galois/Counter Mode of Operation, appendix B.
    const Bytes nonce = hex("cafebabefacedbaddecaf888");
    const Bytes aad = hex("feedfacedeadbeeffeedfacedeadbeefabaddad2");
    const Bytes plain = hex(
        "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
        "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39");
    const std::string_view half = "feffe9928665731c6d6a8f9467308308";
    struct Known {
        Cipher cipher;
        std::string_view text, tag;
    };
    const Known known[] = {
        {Cipher::aes_128_gcm,
         "42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e"
         "21d514b25466931c7d8f6a5aac84aa051ba30b396a0aac973d58e091",
         "5bc94fbc3221a5db94fae95ae7121a47"},
        {Cipher::aes_256_gcm,
         "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa"
         "8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662",
         "76fc6ece0f4e1768cddf8853bb2d551b"}};
    for (const Known& k : known) {
        const Bytes key = hex(fmt::format("{}{}", half, half));
        const std::span<const std::byte, 32> key_span(key.data(), 32);
        const std::span<const std::byte, 12> nonce_span(nonce.data(), 12);
        auto seal = GcmContext::make(k.cipher, key_span, GcmContext::Use::seal);
        auto open = GcmContext::make(k.cipher, key_span, GcmContext::Use::open);
        REQUIRE(seal);
        REQUIRE(open);
        for (int repeated = 0; repeated < 2; ++repeated) {
            Bytes text = plain;
            std::array<std::byte, 16> tag{};
            REQUIRE(seal->seal(nonce_span, aad, text, tag));
            CHECK(text == hex(k.text));
            CHECK(Bytes(tag.begin(), tag.end()) == hex(k.tag));
            REQUIRE(open->open(nonce_span, aad, text, tag));
            CHECK(text == plain);
            tag[15] ^= std::byte{1};
            CHECK_FALSE(open->open(nonce_span, aad, text, tag));
        }
    }
}

TEST_CASE("HKDF of a known secret") {
    // RFC 5869, appendix A.1.
    Bytes out(42);
    REQUIRE(hkdf_sha256(Bytes(22, std::byte{0x0b}), hex("000102030405060708090a0b0c"),
                        hex("f0f1f2f3f4f5f6f7f8f9"), out));
    CHECK(out == hex("3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf"
                     "34007208d5b887185865"));
}

TEST_CASE("derived keys differ by all that goes in, and by direction") {
    const Bytes secret(16, std::byte{1});
    const Bytes context(16, std::byte{2});
    std::vector<std::array<std::byte, 32>> keys;
    const auto add = [&](Cipher cipher, const Bytes& s, const Bytes& c, std::uint16_t epoch) {
        auto made = derive_keys(cipher, s, c, KeyEpoch{epoch});
        REQUIRE(made);
        keys.push_back(made->forward.key);
        keys.push_back(made->backward.key);
        CHECK(made->forward.salt != made->backward.salt);
    };
    add(Cipher::aes_128_gcm, secret, context, 1);
    add(Cipher::aes_256_gcm, secret, context, 1);
    add(Cipher::aes_128_gcm, Bytes(16, std::byte{3}), context, 1);
    add(Cipher::aes_128_gcm, secret, Bytes(16, std::byte{3}), 1);
    add(Cipher::aes_128_gcm, secret, context, 2);
    for (std::size_t i = 0; i < keys.size(); ++i)
        for (std::size_t j = 0; j < i; ++j) CHECK(keys[i] != keys[j]);
    add(Cipher::aes_128_gcm, secret, context, 1);
    CHECK(keys[10] == keys[0]);
    CHECK(derive_keys(Cipher::aes_128_gcm, Bytes(15), context, KeyEpoch{1}).error().message ==
          "secret of 15 and context of 16 bytes, expected 16 or more of both");
    CHECK_FALSE(derive_keys(Cipher::aes_128_gcm, secret, Bytes(15), KeyEpoch{1}));
}

TEST_CASE("a sealed PDU has the format that is documented") {
    Link link;
    const Bytes pdu = pdu_of(100);
    for (std::uint64_t n = 0; n < 300; ++n) {
        const Bytes frame = sealed(link.sealer, pdu);
        REQUIRE(frame.size() == 16 + 128 + 16);
        Bytes header = hex("010001008000000000000000000000000");
        header.resize(16);
        header[8] = static_cast<std::byte>(n);
        header[9] = static_cast<std::byte>(n >> 8);
        REQUIRE(Bytes(frame.begin(), frame.begin() + 16) == header);
        // Nothing of the PDU shows.
        REQUIRE(Bytes(frame.begin() + 16, frame.begin() + 144) != pdu);
        // Anybody with the key can read it.
        const TrafficKey key = key_of(1);
        auto context = GcmContext::make(Cipher::aes_128_gcm, key.key, GcmContext::Use::open);
        std::array<std::byte, 12> nonce{};
        std::copy(key.salt.begin(), key.salt.end(), nonce.begin());
        std::copy(frame.begin() + 8, frame.begin() + 16, nonce.begin() + 4);
        Bytes text(frame.begin() + 16, frame.begin() + 144);
        const std::span<const std::byte, 16> tag(frame.data() + 144, 16);
        REQUIRE(context->open(nonce, std::span(frame.data(), 16), text, tag));
        REQUIRE(text == pdu);
    }
}

TEST_CASE("what is sealed is opened, of any length, also padded") {
    const Cipher cipher = GENERATE(Cipher::aes_128_gcm, Cipher::aes_256_gcm);
    Link link(cipher);
    for (const std::size_t payload : {0, 1, 15, 16, 17, 100, 1400, 9000, 65000}) {
        const Bytes pdu = pdu_of(payload);
        Bytes frame = sealed(link.sealer, pdu);
        frame.resize(frame.size() + payload % 19, std::byte{0x77});
        CHECK(opened(link.opener, frame).pdu == pdu);
    }
    Buffer buffer(pdu_of(20), 16, 16);
    link.sealer.seal({}, std::span(&buffer.frame, 1));
    CHECK(buffer.adds_up());
    CHECK(buffer.frame.headroom == 0);
    link.opener.open({}, std::span(&buffer.frame, 1));
    CHECK_FALSE(buffer.frame.dropped);
    CHECK(buffer.adds_up());
    CHECK(buffer.content() == pdu_of(20));
}

TEST_CASE("every byte counts") {
    Link link;
    const Bytes frame = sealed(link.sealer, pdu_of(60));
    for (std::size_t at = 0; at < frame.size(); ++at) {
        for (int bit = 0; bit < 8; ++bit) {
            Bytes broken = frame;
            broken[at] ^= static_cast<std::byte>(1 << bit);
            const auto result = opened(link.opener, broken);
            CAPTURE(at, bit);
            REQUIRE(result.dropped);
            const DropReason expected = at < 2   ? DropReason::dif_not_protected
                                        : at < 4 ? DropReason::dif_unknown_epoch
                                                 : DropReason::dif_forged;
            if (at >= 4 && at < 8)  // a length: shorter is forged, longer is more than there is
                REQUIRE((result.is(DropReason::dif_bad_length) ||
                         result.is(DropReason::dif_forged)));
            else
                REQUIRE(result.is(expected));
        }
    }
    for (std::size_t size = 0; size < frame.size(); ++size)
        REQUIRE(opened(link.opener, Bytes(frame.begin(), frame.begin() + static_cast<long>(size)))
                    .is(size < 32 ? DropReason::too_short : DropReason::dif_bad_length));
    // None of that has moved the window: the PDU itself still comes.
    CHECK_FALSE(opened(link.opener, frame).dropped);
    CHECK(opened(link.opener, frame).is(DropReason::dif_replayed));
    // A PDU without protection begins with version 0.
    CHECK(opened(link.opener, pdu_of(100)).is(DropReason::dif_not_protected));
}

TEST_CASE("the other direction, another cipher and another salt do not fit") {
    Link link;
    const Bytes frame = sealed(link.sealer, pdu_of(60));
    for (const bool salt : {false, true}) {
        AesGcmOpener other(AesGcmOpener::Params{});
        TrafficKey key = key_of(1);
        (salt ? key.salt[3] : key.key[15]) ^= std::byte{1};
        REQUIRE(other.install(KeyEpoch{1}, key));
        CHECK(opened(other, frame).is(DropReason::dif_forged));
    }
    AesGcmOpener other(AesGcmOpener::Params{Cipher::aes_256_gcm});
    REQUIRE(other.install(KeyEpoch{1}, key_of(1)));
    CHECK(opened(other, frame).is(DropReason::dif_forged));
}

TEST_CASE("replay window") {
    Link link;
    std::vector<Bytes> frames;
    for (std::size_t i = 0; i < 3 * ReplayWindow::kSize; ++i)
        frames.push_back(sealed(link.sealer, pdu_of(0)));
    static_assert(ReplayWindow::kSize >= 1024);
    const std::size_t high = 2 * ReplayWindow::kSize;
    CHECK_FALSE(opened(link.opener, frames[high]).dropped);
    CHECK(opened(link.opener, frames[high]).is(DropReason::dif_replayed));
    // The last that is remembered, and the first that is not.
    const std::size_t low = high - ReplayWindow::kSize + 1;
    CHECK_FALSE(opened(link.opener, frames[low]).dropped);
    CHECK(opened(link.opener, frames[low]).is(DropReason::dif_replayed));
    CHECK(opened(link.opener, frames[low - 1]).is(DropReason::dif_replayed));
    for (std::size_t i = low + 1; i < high; ++i)
        REQUIRE_FALSE(opened(link.opener, frames[i]).dropped);
    for (std::size_t i = 0; i <= high; ++i)
        REQUIRE(opened(link.opener, frames[i]).is(DropReason::dif_replayed));
    for (std::size_t i = frames.size(); i-- > high + 1;)
        REQUIRE_FALSE(opened(link.opener, frames[i]).dropped);
}

TEST_CASE("replay window: far jumps and the ends of counters") {
    ReplayWindow window;
    CHECK(window.is_new(0));
    window.insert(0);
    CHECK_FALSE(window.is_new(0));
    window.insert(63);
    window.insert(64);
    CHECK_FALSE(window.is_new(0));
    CHECK(window.is_new(1));
    CHECK_FALSE(window.is_new(63));
    // The same word of the ring, one round later, knows nothing of the old one.
    const std::uint64_t round = ReplayWindow::kWords * 64;
    window.insert(round);
    CHECK(window.is_new(round + 63));
    CHECK_FALSE(window.is_new(64));
    window.insert(10 * round + 5);
    for (std::uint64_t i = 0; i < ReplayWindow::kSize; ++i) {
        if (i > 0) REQUIRE(window.is_new(10 * round + 5 - i));
    }
    const std::uint64_t last = ~std::uint64_t{0};
    CHECK_FALSE(window.is_new(last));
    window.insert(last - 1);
    CHECK_FALSE(window.is_new(last - 1));
    CHECK(window.is_new(last - 2));
    CHECK_FALSE(window.is_new(last));
    CHECK_FALSE(window.is_new(0));
}

TEST_CASE("a change of epoch while PDUs are in flight loses none") {
    AesGcmOpener::Params params;
    params.old_epoch_lasts = Duration::milliseconds(100);
    Link link({}, params);
    const Bytes old_1 = sealed(link.sealer, pdu_of(1));
    const Bytes old_2 = sealed(link.sealer, pdu_of(2));
    const Bytes old_3 = sealed(link.sealer, pdu_of(3));
    REQUIRE(link.opener.install(KeyEpoch{2}, key_of(2)));
    REQUIRE(link.sealer.install(KeyEpoch{2}, key_of(2)));
    CHECK(link.opener.epoch() == KeyEpoch{1});
    CHECK(link.opener.next_deadline().is_never());
    const Bytes new_1 = sealed(link.sealer, pdu_of(4));
    const Bytes new_2 = sealed(link.sealer, pdu_of(5));
    CHECK(counter_of(new_1) == 0);

    // A forgery in the name of the next epoch changes nothing.
    Bytes forged = new_1;
    forged[40] ^= std::byte{1};
    CHECK(opened(link.opener, forged, at_ms(5)).is(DropReason::dif_forged));
    CHECK(link.opener.epoch() == KeyEpoch{1});
    CHECK_FALSE(opened(link.opener, old_1, at_ms(6)).dropped);
    CHECK(opened(link.opener, new_2, at_ms(10)).pdu == pdu_of(5));
    CHECK(link.opener.epoch() == KeyEpoch{2});
    CHECK(link.opener.next_deadline() == at_ms(110));
    CHECK(opened(link.opener, old_2, at_ms(109)).pdu == pdu_of(2));
    // Both epochs have windows of their own.
    CHECK(opened(link.opener, old_1, at_ms(109)).is(DropReason::dif_replayed));
    CHECK(opened(link.opener, new_1, at_ms(109)).pdu == pdu_of(4));
    CHECK(opened(link.opener, new_2, at_ms(109)).is(DropReason::dif_replayed));
    CHECK(opened(link.opener, old_3, at_ms(110)).is(DropReason::dif_unknown_epoch));
    CHECK(link.opener.next_deadline().is_never());
}

TEST_CASE("the former key is forgotten in time, also if nothing comes") {
    AesGcmOpener::Params params;
    params.old_epoch_lasts = Duration::milliseconds(100);
    Link link({}, params);
    const Bytes old = sealed(link.sealer, pdu_of(1));
    REQUIRE(link.opener.install(KeyEpoch{2}, key_of(2)));
    REQUIRE(link.sealer.install(KeyEpoch{2}, key_of(2)));
    CHECK_FALSE(opened(link.opener, sealed(link.sealer, pdu_of(1)), at_ms(0)).dropped);
    link.opener.on_timeout(at_ms(99));
    CHECK(link.opener.next_deadline() == at_ms(100));
    link.opener.on_timeout(at_ms(100));
    CHECK(link.opener.next_deadline().is_never());
    CHECK(opened(link.opener, old, at_ms(0)).is(DropReason::dif_unknown_epoch));
}

TEST_CASE("epochs go up, and roll over") {
    Link link;
    CHECK(link.sealer.install(KeyEpoch{1}, key_of(9)).error().message ==
          "key epoch 1 after 1, expected a later one");
    CHECK_FALSE(link.sealer.install(KeyEpoch{0}, key_of(9)));
    CHECK_FALSE(link.opener.install(KeyEpoch{1}, key_of(9)));
    CHECK_FALSE(link.sealer.install(KeyEpoch{32769}, key_of(9)));
    std::uint8_t seed = 1;
    for (const KeyEpoch epoch : {KeyEpoch{32768}, KeyEpoch{65535}, KeyEpoch{0}, KeyEpoch{3}}) {
        REQUIRE(link.sealer.install(epoch, key_of(++seed)));
        REQUIRE(link.opener.install(epoch, key_of(seed)));
        REQUIRE_FALSE(opened(link.opener, sealed(link.sealer, pdu_of(1))).dropped);
        REQUIRE(link.opener.epoch() == epoch);
    }
    // A key that was never used is forgotten for the next.
    REQUIRE(link.opener.install(KeyEpoch{4}, key_of(50)));
    REQUIRE(link.opener.install(KeyEpoch{5}, key_of(51)));
    CHECK_FALSE(link.opener.install(KeyEpoch{5}, key_of(51)));
    REQUIRE(link.sealer.install(KeyEpoch{4}, key_of(50)));
    CHECK(opened(link.opener, sealed(link.sealer, pdu_of(1))).is(DropReason::dif_unknown_epoch));
    REQUIRE(link.sealer.install(KeyEpoch{5}, key_of(51)));
    CHECK_FALSE(opened(link.opener, sealed(link.sealer, pdu_of(1))).dropped);
}

TEST_CASE("no nonce comes twice: a key that is used up seals nothing more") {
    AesGcmSealer::Params params;
    params.renew_after_pdus = 3;
    params.pdus_max = 5;
    Link link(params, {});
    for (std::uint64_t n = 0; n < 5; ++n) {
        CHECK(link.sealer.wants_key() == (n >= 3));
        CHECK(counter_of(sealed(link.sealer, pdu_of(1))) == n);
    }
    Buffer buffer(pdu_of(1));
    link.sealer.seal({}, std::span(&buffer.frame, 1));
    CHECK(buffer.frame.reason == DropReason::dif_no_key);
    CHECK(buffer.content() == pdu_of(1));
    REQUIRE(link.sealer.install(KeyEpoch{2}, key_of(2)));
    CHECK_FALSE(link.sealer.wants_key());
    CHECK(counter_of(sealed(link.sealer, pdu_of(1))) == 0);
}

TEST_CASE("without keys nothing passes") {
    AesGcmSealer sealer(AesGcmSealer::Params{});
    AesGcmOpener opener(AesGcmOpener::Params{});
    CHECK(sealer.wants_key());
    CHECK_FALSE(sealer.epoch());
    CHECK_FALSE(opener.epoch());
    CHECK(sealed(sealer, pdu_of(1)).empty());
    Link link;
    CHECK(opened(opener, sealed(link.sealer, pdu_of(1))).is(DropReason::dif_no_key));
}

TEST_CASE("without room nothing is sealed, and no counter used") {
    Link link;
    for (const auto& [head, tail] : {std::pair<std::uint16_t, std::uint16_t>{15, 16}, {16, 15}}) {
        Buffer buffer(pdu_of(1), head, tail);
        link.sealer.seal({}, std::span(&buffer.frame, 1));
        CHECK(buffer.frame.reason == DropReason::dif_no_room);
        CHECK(buffer.content() == pdu_of(1));
    }
    CHECK(counter_of(sealed(link.sealer, pdu_of(1))) == 0);
}

TEST_CASE("bursts are sealed and opened without asking for memory") {
    Link link;
    std::deque<Buffer> buffers;
    for (std::size_t i = 0; i < 64; ++i) buffers.emplace_back(pdu_of(100 + i));
    std::vector<Frame> frames(buffers.size());
    std::size_t before = 0;
    for (int round = 0; round < 3; ++round) {
        for (std::size_t i = 0; i < frames.size(); ++i) frames[i] = buffers[i].frame;
        // The first round may make ready what libcrypto makes ready once.
        if (round == 1) before = test::libcrypto_allocations();
        link.sealer.seal({}, frames);
        link.opener.open({}, frames);
        for (std::size_t i = 0; i < frames.size(); ++i) {
            REQUIRE_FALSE(frames[i].dropped);
            REQUIRE(Bytes(frames[i].data, frames[i].data + frames[i].bytes) == pdu_of(100 + i));
        }
        // Forgeries neither: an error of libcrypto would be put on a list.
        Bytes forged = sealed(link.sealer, pdu_of(5));
        forged[20] ^= std::byte{1};
        CHECK(opened(link.opener, forged).is(DropReason::dif_forged));
    }
    CHECK(before > 0);
    CHECK(test::libcrypto_allocations() == before);
}
