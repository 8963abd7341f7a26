#include "normal_dif/core/ipcp/auth_crypto.hpp"

#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>

#include <limits>

#include "normal_dif/core/sdu_protection/aes_gcm.hpp"

namespace sluice::mgmt {

namespace {

unsigned char* raw(std::byte* bytes) noexcept { return reinterpret_cast<unsigned char*>(bytes); }
const unsigned char* raw(const std::byte* bytes) noexcept {
    return reinterpret_cast<const unsigned char*>(bytes);
}

}  // namespace

bool system_entropy(std::span<std::byte> out) noexcept {
    return out.size() <= static_cast<std::size_t>(std::numeric_limits<int>::max()) &&
           RAND_bytes(raw(out.data()), static_cast<int>(out.size())) == 1;
}

AuthKey::~AuthKey() { OPENSSL_cleanse(bytes.data(), bytes.size()); }

bool hmac_sha256(const AuthKey& key, std::span<const std::byte> message, AuthTag& out) noexcept {
    unsigned int written = 0;
    return HMAC(EVP_sha256(), key.bytes.data(), static_cast<int>(key.bytes.size()),
                raw(message.data()), message.size(), raw(out.data()), &written) != nullptr &&
           written == out.size();
}

bool is_same_secret(const AuthTag& a, const AuthTag& b) noexcept {
    return CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

Result<AuthKey> stretch_password(std::string_view password, std::string_view salt) {
    constexpr std::uint64_t kN = 1u << 15, kR = 8, kP = 1;
    // libcrypto's own limit is just what this takes, without what it needs beside.
    constexpr std::uint64_t kMemoryMax = 64u << 20;
    AuthKey key;
    if (EVP_PBE_scrypt(password.data(), password.size(),
                       reinterpret_cast<const unsigned char*>(salt.data()), salt.size(), kN, kR,
                       kP, kMemoryMax, raw(key.bytes.data()), key.bytes.size()) != 1) {
        ERR_clear_error();
        return fail(ENOTSUP, "libcrypto cannot do scrypt with 32 MiB, which passwords need");
    }
    return key;
}

Result<AuthKey> derive_key(std::span<const std::byte> secret, std::span<const std::byte> salt,
                           std::string_view label) {
    AuthKey key;
    SLUICE_TRY_VOID(sdup::hkdf_sha256(secret, salt, std::as_bytes(std::span(label)), key.bytes));
    return key;
}

}  // namespace sluice::mgmt
