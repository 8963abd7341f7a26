#include "normal_dif/core/ipcp/auth_crypto.hpp"

#include "normal_dif/core/sdu_protection/aes_gcm.hpp"
#include "normal_dif/core/sdu_protection/secrets.hpp"

namespace sluice::mgmt {

bool system_entropy(std::span<std::byte> out) noexcept { return sdup::fill_random(out); }

AuthKey::~AuthKey() { sdup::wipe(bytes); }

bool hmac_sha256(const AuthKey& key, std::span<const std::byte> message, AuthTag& out) noexcept {
    return sdup::hmac_sha256(key.bytes, message, out);
}

bool is_same_secret(const AuthTag& a, const AuthTag& b) noexcept {
    return sdup::is_same_mac(a, b);
}

Result<AuthKey> stretch_password(std::string_view password, std::string_view salt) {
    constexpr std::uint64_t kCost = 1u << 15;
    AuthKey key;
    SLUICE_TRY_VOID(sdup::scrypt(std::as_bytes(std::span(password)),
                                 std::as_bytes(std::span(salt)), kCost, key.bytes));
    return key;
}

Result<AuthKey> derive_key(std::span<const std::byte> secret, std::span<const std::byte> salt,
                           std::string_view label) {
    AuthKey key;
    SLUICE_TRY_VOID(sdup::hkdf_sha256(secret, salt, std::as_bytes(std::span(label)), key.bytes));
    return key;
}

}  // namespace sluice::mgmt
