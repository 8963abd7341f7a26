#pragma once

#include <array>
#include <cstddef>
#include <functional>
#include <span>
#include <string_view>

#include "base/result.hpp"

// Keys, proofs and nonces of authentication.
namespace sluice::mgmt {

// Fills the bytes with what nobody can guess; false if there is none. Injected, as the machines
// are pure; a nonce from Rng, which is predictable, would let who knows the seed replay a proof.
using Entropy = std::function<bool(std::span<std::byte>)>;
// The kernel's and libcrypto's.
bool system_entropy(std::span<std::byte> out) noexcept;

// 32 bytes that nobody may know, overwritten when they go.
struct AuthKey {
    std::array<std::byte, 32> bytes{};

    AuthKey() = default;
    AuthKey(const AuthKey&) = default;
    AuthKey& operator=(const AuthKey&) = default;
    ~AuthKey();
};
using AuthTag = std::array<std::byte, 32>;

// RFC 2104. False: libcrypto failed.
bool hmac_sha256(const AuthKey& key, std::span<const std::byte> message, AuthTag& out) noexcept;
// In a time that does not tell where they differ.
bool is_same_secret(const AuthTag& a, const AuthTag& b) noexcept;

// scrypt (RFC 7914) with N = 2^15, r = 8, p = 1: 32 MiB and about 0.1 s for each guess of who has
// recorded a handshake. Of the first version of the handshake, thus no parameter.
Result<AuthKey> stretch_password(std::string_view password, std::string_view salt);
// HKDF-SHA256 (RFC 5869).
Result<AuthKey> derive_key(std::span<const std::byte> secret, std::span<const std::byte> salt,
                           std::string_view label);

}  // namespace sluice::mgmt
