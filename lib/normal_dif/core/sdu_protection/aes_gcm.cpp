#include "normal_dif/core/sdu_protection/aes_gcm.hpp"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <openssl/rand.h>

#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "normal_dif/core/faults.hpp"
#include "normal_dif/core/sdu_protection/secrets.hpp"
#include "rina/pci.hpp"

namespace sluice::sdup {

namespace {

using rina::detail::load;
using rina::detail::store;

constexpr std::byte kVersion{1};
constexpr std::size_t kEpochAt = 2, kLengthAt = 4, kCounterAt = 8;
constexpr std::uint32_t kOverhead = kGcmHeaderBytes + kGcmTagBytes;

template <typename T, void (*kFree)(T*)>
struct Freer {
    void operator()(T* object) const noexcept { kFree(object); }
};
using CipherRef = std::unique_ptr<EVP_CIPHER, Freer<EVP_CIPHER, EVP_CIPHER_free>>;
using KdfRef = std::unique_ptr<EVP_KDF, Freer<EVP_KDF, EVP_KDF_free>>;
using KdfContext = std::unique_ptr<EVP_KDF_CTX, Freer<EVP_KDF_CTX, EVP_KDF_CTX_free>>;

unsigned char* raw(std::byte* bytes) noexcept { return reinterpret_cast<unsigned char*>(bytes); }
const unsigned char* raw(const std::byte* bytes) noexcept {
    return reinterpret_cast<const unsigned char*>(bytes);
}
EVP_CIPHER_CTX* raw(void* context) noexcept { return static_cast<EVP_CIPHER_CTX*>(context); }

tl::unexpected<Error> libcrypto_failed(std::string_view what) {
    std::array<char, 256> text{};
    ERR_error_string_n(ERR_get_error(), text.data(), text.size());
    ERR_clear_error();
    return fail(ENOTSUP, "libcrypto cannot do {}: {}", what, text.data());
}

std::array<std::byte, kGcmNonceBytes> nonce_of(const std::array<std::byte, 4>& salt,
                                               const std::byte* header) noexcept {
    std::array<std::byte, kGcmNonceBytes> nonce;
    std::memcpy(nonce.data(), salt.data(), salt.size());
    std::memcpy(nonce.data() + salt.size(), header + kCounterAt, 8);
    return nonce;
}

OSSL_PARAM octets(const char* key, std::span<const std::byte> bytes) noexcept {
    // libcrypto only reads it.
    return OSSL_PARAM_construct_octet_string(key, const_cast<std::byte*>(bytes.data()),
                                             bytes.size());
}

}  // namespace

std::string_view to_string(Cipher cipher) noexcept {
    return cipher == Cipher::aes_128_gcm ? "aes-128-gcm" : "aes-256-gcm";
}

TrafficKey::~TrafficKey() {
    OPENSSL_cleanse(key.data(), key.size());
    OPENSSL_cleanse(salt.data(), salt.size());
}

Result<> hkdf_sha256(std::span<const std::byte> secret, std::span<const std::byte> salt,
                     std::span<const std::byte> info, std::span<std::byte> out) {
    const KdfRef kdf(EVP_KDF_fetch(nullptr, "HKDF", nullptr));
    const KdfContext context(kdf ? EVP_KDF_CTX_new(kdf.get()) : nullptr);
    if (!context) return libcrypto_failed("HKDF");
    char digest[] = "SHA256";
    const std::array params = {
        OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, digest, 0),
        octets(OSSL_KDF_PARAM_KEY, secret), octets(OSSL_KDF_PARAM_SALT, salt),
        octets(OSSL_KDF_PARAM_INFO, info), OSSL_PARAM_construct_end()};
    if (EVP_KDF_derive(context.get(), raw(out.data()), out.size(), params.data()) != 1)
        return libcrypto_failed("HKDF");
    return {};
}

bool hmac_sha256(std::span<const std::byte> key, std::span<const std::byte> message,
                 Mac& out) noexcept {
    unsigned int written = 0;
    return key.size() <= static_cast<std::size_t>(std::numeric_limits<int>::max()) &&
           HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()), raw(message.data()),
                message.size(), raw(out.data()), &written) != nullptr &&
           written == out.size();
}

bool is_same_mac(const Mac& a, const Mac& b) noexcept {
    return CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

Result<> scrypt(std::span<const std::byte> password, std::span<const std::byte> salt,
                std::uint64_t cost, std::span<std::byte> out) {
    // libcrypto's own limit is just what this takes, without what it needs beside.
    const std::uint64_t memory_max = cost * 2048;
    if (EVP_PBE_scrypt(reinterpret_cast<const char*>(password.data()), password.size(),
                       raw(salt.data()), salt.size(), cost, 8, 1, memory_max, raw(out.data()),
                       out.size()) != 1)
        return libcrypto_failed("scrypt");
    return {};
}

bool fill_random(std::span<std::byte> out) noexcept {
    return out.size() <= static_cast<std::size_t>(std::numeric_limits<int>::max()) &&
           RAND_bytes(raw(out.data()), static_cast<int>(out.size())) == 1;
}

void wipe(std::span<std::byte> bytes) noexcept { OPENSSL_cleanse(bytes.data(), bytes.size()); }

Result<FlowKeys> derive_keys(Cipher cipher, std::span<const std::byte> secret,
                             std::span<const std::byte> context, KeyEpoch epoch) {
    constexpr std::size_t kLeast = 16;
    if (secret.size() < kLeast || context.size() < kLeast)
        return fail(EINVAL, "secret of {} and context of {} bytes, expected {} or more of both",
                    secret.size(), context.size(), kLeast);
    const std::string label = fmt::format("sluice sdu-protection {} epoch {}", to_string(cipher),
                                          epoch.value);
    std::array<std::byte, 72> made;
    SLUICE_TRY_VOID(hkdf_sha256(secret, context, std::as_bytes(std::span(label)), made));
    FlowKeys keys;
    const std::byte* at = made.data();
    for (TrafficKey* key : {&keys.forward, &keys.backward}) {
        std::memcpy(key->key.data(), at, key->key.size());
        std::memcpy(key->salt.data(), at + key->key.size(), key->salt.size());
        at += key->key.size() + key->salt.size();
    }
    OPENSSL_cleanse(made.data(), made.size());
    return keys;
}

void GcmContext::Free::operator()(void* context) const noexcept {
    EVP_CIPHER_CTX_free(raw(context));
}

Result<GcmContext> GcmContext::make(Cipher cipher, std::span<const std::byte, 32> key, Use use) {
    const char* const name = cipher == Cipher::aes_128_gcm ? "AES-128-GCM" : "AES-256-GCM";
    const CipherRef algorithm(EVP_CIPHER_fetch(nullptr, name, nullptr));
    GcmContext made;
    made.context_.reset(EVP_CIPHER_CTX_new());
    // The default length of the nonce is ours, 12 bytes.
    if (!algorithm || !made.context_ ||
        EVP_CipherInit_ex2(raw(made.context_.get()), algorithm.get(), raw(key.data()), nullptr,
                           use == Use::seal ? 1 : 0, nullptr) != 1)
        return libcrypto_failed(name);
    return made;
}

bool GcmContext::seal(std::span<const std::byte, kGcmNonceBytes> nonce,
                      std::span<const std::byte> aad, std::span<std::byte> message,
                      std::span<std::byte, kGcmTagBytes> tag) noexcept {
    EVP_CIPHER_CTX* const c = raw(context_.get());
    int written = 0;
    return EVP_EncryptInit_ex2(c, nullptr, nullptr, raw(nonce.data()), nullptr) == 1 &&
           EVP_EncryptUpdate(c, nullptr, &written, raw(aad.data()),
                             static_cast<int>(aad.size())) == 1 &&
           EVP_EncryptUpdate(c, raw(message.data()), &written, raw(message.data()),
                             static_cast<int>(message.size())) == 1 &&
           EVP_EncryptFinal_ex(c, raw(message.data()), &written) == 1 &&
           EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_AEAD_GET_TAG, kGcmTagBytes, tag.data()) == 1;
}

bool GcmContext::open(std::span<const std::byte, kGcmNonceBytes> nonce,
                      std::span<const std::byte> aad, std::span<std::byte> message,
                      std::span<const std::byte, kGcmTagBytes> tag) noexcept {
    EVP_CIPHER_CTX* const c = raw(context_.get());
    int written = 0;
    // libcrypto reads the tag and has no const for it.
    void* const expected = const_cast<std::byte*>(tag.data());
    return EVP_DecryptInit_ex2(c, nullptr, nullptr, raw(nonce.data()), nullptr) == 1 &&
           EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_AEAD_SET_TAG, kGcmTagBytes, expected) == 1 &&
           EVP_DecryptUpdate(c, nullptr, &written, raw(aad.data()),
                             static_cast<int>(aad.size())) == 1 &&
           EVP_DecryptUpdate(c, raw(message.data()), &written, raw(message.data()),
                             static_cast<int>(message.size())) == 1 &&
           EVP_DecryptFinal_ex(c, raw(message.data()), &written) == 1;
}

Result<> AesGcmSealer::install(KeyEpoch epoch, const TrafficKey& key) {
    if (key_ && !is_later(epoch, epoch_))
        return fail(EINVAL, "key epoch {} after {}, expected a later one", epoch.value,
                    epoch_.value);
    SLUICE_TRY(auto made, GcmContext::make(params_.cipher, key.key, GcmContext::Use::seal));
    key_ = std::move(made);
    salt_ = key.salt;
    epoch_ = epoch;
    counter_ = 0;
    return {};
}

void AesGcmSealer::seal(Instant, std::span<Frame> frames) noexcept {
    for (Frame& frame : frames)
        if (!frame.dropped) seal_one(frame);
}

void AesGcmSealer::seal_one(Frame& frame) noexcept {
    if (!key_ || counter_ >= params_.pdus_max) return frame.drop(DropReason::dif_no_key);
    if (frame.headroom < kGcmHeaderBytes || frame.tailroom < kGcmTagBytes)
        return frame.drop(DropReason::dif_no_room);
    if (frame.bytes > static_cast<std::uint32_t>(std::numeric_limits<int>::max()))
        return frame.drop(DropReason::too_long);
    std::byte* const header = frame.data - kGcmHeaderBytes;
    header[0] = kVersion;
    header[1] = std::byte{0};
    store(header + kEpochAt, epoch_.value);
    store(header + kLengthAt, frame.bytes);
    // Used up also if what follows should fail.
    store(header + kCounterAt, counter_++);
    const auto nonce = nonce_of(salt_, header);
    const std::span<std::byte, kGcmTagBytes> tag(frame.data + frame.bytes, kGcmTagBytes);
    if (!key_->seal(nonce, std::span(header, kGcmHeaderBytes), std::span(frame.data, frame.bytes),
                    tag))
        return frame.drop(DropReason::dif_no_key);
    frame.data = header;
    frame.bytes += kOverhead;
    frame.headroom = static_cast<std::uint16_t>(frame.headroom - kGcmHeaderBytes);
    frame.tailroom = static_cast<std::uint16_t>(frame.tailroom - kGcmTagBytes);
}

Result<> AesGcmOpener::install(KeyEpoch epoch, const TrafficKey& key) {
    const Epoch* const last = next_ ? &*next_ : current_ ? &*current_ : nullptr;
    if (last != nullptr && !is_later(epoch, last->epoch))
        return fail(EINVAL, "key epoch {} after {}, expected a later one", epoch.value,
                    last->epoch.value);
    SLUICE_TRY(auto made, GcmContext::make(params_.cipher, key.key, GcmContext::Use::open));
    (current_ ? next_ : current_) = Epoch{std::move(made), key.salt, epoch, {}};
    return {};
}

AesGcmOpener::Epoch* AesGcmOpener::find(KeyEpoch epoch) noexcept {
    for (std::optional<Epoch>* slot : {&current_, &former_, &next_})
        if (*slot && (*slot)->epoch == epoch) return &**slot;
    return nullptr;
}

void AesGcmOpener::open(Instant now, std::span<Frame> frames) noexcept {
    on_timeout(now);
    for (Frame& frame : frames)
        if (!frame.dropped) open_one(now, frame);
}

void AesGcmOpener::open_one(Instant now, Frame& frame) noexcept {
    if (frame.bytes < kOverhead) return frame.drop(DropReason::too_short);
    // A copy, that nobody changes between the checks and their use.
    std::array<std::byte, kGcmHeaderBytes> header;
    std::memcpy(header.data(), frame.data, header.size());
    asm volatile("" ::: "memory");
    if (header[0] != kVersion || header[1] != std::byte{0})
        return frame.drop(DropReason::dif_not_protected);
    const auto bytes = load<std::uint32_t>(header.data() + kLengthAt);
    if (bytes > frame.bytes - kOverhead ||
        bytes > static_cast<std::uint32_t>(std::numeric_limits<int>::max()))
        return frame.drop(DropReason::dif_bad_length);
    if (!current_) return frame.drop(DropReason::dif_no_key);
    Epoch* const epoch = find(KeyEpoch{load<std::uint16_t>(header.data() + kEpochAt)});
    if (epoch == nullptr) return frame.drop(DropReason::dif_unknown_epoch);
    // A replay costs less before the decryption; the window learns only what is authentic.
    const auto counter = load<std::uint64_t>(header.data() + kCounterAt);
    if (!epoch->window.is_new(counter) && !faults::is_active(faults::Fault::no_replay_window))
        return frame.drop(DropReason::dif_replayed);
    std::byte* const pdu = frame.data + kGcmHeaderBytes;
    const std::span<const std::byte, kGcmTagBytes> tag(pdu + bytes, kGcmTagBytes);
    if (!epoch->key.open(nonce_of(epoch->salt, header.data()), header, std::span(pdu, bytes), tag))
        return frame.drop(DropReason::dif_forged);
    epoch->window.insert(counter);
    frame.data = pdu;
    frame.bytes -= kGcmHeaderBytes;
    frame.headroom = static_cast<std::uint16_t>(frame.headroom + kGcmHeaderBytes);
    frame.trim(bytes);
    if (next_ && epoch == &*next_) {
        former_ = std::move(current_);
        former_until_ = now + params_.old_epoch_lasts;
        current_ = std::move(next_);
        next_.reset();
    }
}

}  // namespace sluice::sdup
