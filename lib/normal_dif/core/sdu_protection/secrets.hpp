#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "base/result.hpp"

// What else of libcrypto is needed: for proofs, passwords and nonces. In aes_gcm.cpp with the
// rest, so that one file alone sees libcrypto.
namespace sluice::sdup {

using Mac = std::array<std::byte, 32>;

// RFC 2104 with SHA-256. False: libcrypto failed.
bool hmac_sha256(std::span<const std::byte> key, std::span<const std::byte> message,
                 Mac& out) noexcept;
// In a time that does not tell where they differ.
bool is_same_mac(const Mac& a, const Mac& b) noexcept;
// RFC 7914, with the block size 8 and 1 lane: 1024 times `cost` bytes of memory.
Result<> scrypt(std::span<const std::byte> password, std::span<const std::byte> salt,
                std::uint64_t cost, std::span<std::byte> out);
// What nobody can guess; false if there is none.
bool fill_random(std::span<std::byte> out) noexcept;
// Overwrites, also where nobody reads it again.
void wipe(std::span<std::byte> bytes) noexcept;

}  // namespace sluice::sdup
