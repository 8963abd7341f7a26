#pragma once

#include <span>
#include <string_view>
#include <variant>

#include "base/result.hpp"
#include "normal_dif/core/policy/params.hpp"
#include "normal_dif/core/sdu_protection/aes_gcm.hpp"
#include "normal_dif/core/sdu_protection/crc32c.hpp"
#include "normal_dif/core/sdu_protection/plain.hpp"
#include "rina/pci.hpp"

// The SDU protection there is, and how a configuration names it. To add some: its header, a line in
// both variants, a line in the table of policies.cpp, and a test.
namespace sluice::sdup {

using AnySealer = std::variant<NoProtection, TtlLimit, InetChecksum, Crc32c, AesGcmSealer>;
using AnyOpener = std::variant<NoProtection, TtlLimit, InetChecksum, Crc32c, AesGcmOpener>;

// Of one N-1 port; the two halves may be on different lcores.
struct Protection {
    AnySealer sealer;
    AnyOpener opener;
};

struct ProtectionPolicy {
    std::string_view name;
    std::string_view help;
    std::string_view params;  // keys with their defaults
    Result<Protection> (*make)(policy::Params& params, const rina::PciFormat& format);
};
std::span<const ProtectionPolicy> protection_policies() noexcept;

// EINVAL: a name that nobody knows, or a parameter that the policy does not understand. What needs
// keys drops everything until it is given some.
Result<Protection> make_protection(std::string_view name, std::span<const policy::Param> params,
                                   const rina::PciFormat& format);

inline Overhead overhead(const AnySealer& sealer) noexcept {
    return std::visit([](const auto& s) { return s.overhead(); }, sealer);
}
inline void seal(AnySealer& sealer, Instant now, std::span<Frame> frames) noexcept {
    std::visit([&](auto& s) { s.seal(now, frames); }, sealer);
}
inline void open(AnyOpener& opener, Instant now, std::span<Frame> frames) noexcept {
    std::visit([&](auto& o) { o.open(now, frames); }, opener);
}

}  // namespace sluice::sdup
