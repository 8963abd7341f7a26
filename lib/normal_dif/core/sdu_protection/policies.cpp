#include "normal_dif/core/sdu_protection/policies.hpp"

#include <array>
#include <string>
#include <vector>

namespace sluice::sdup {

namespace {

using policy::Params;
using rina::PciFormat;

Result<Protection> make_none(Params& params, const PciFormat&) {
    SLUICE_TRY_VOID(params.finish());
    return Protection{NoProtection{}, NoProtection{}};
}

Result<Protection> make_ttl(Params& params, const PciFormat&) {
    const TtlLimit limit(
        static_cast<std::uint16_t>(params.number("hops", rina::kTtlDefault, 1, 65535)));
    SLUICE_TRY_VOID(params.finish());
    return Protection{limit, limit};
}

template <typename P>
Result<Protection> make_of_format(Params& params, const PciFormat& format) {
    SLUICE_TRY_VOID(params.finish());
    return Protection{P(format), P(format)};
}

template <Cipher kCipher>
Result<Protection> make_aes_gcm(Params& params, const PciFormat&) {
    AesGcmSealer::Params seal;
    AesGcmOpener::Params open;
    seal.cipher = open.cipher = kCipher;
    seal.renew_after_pdus =
        params.number("renew_pdus", seal.renew_after_pdus, 1, seal.pdus_max);
    const auto lasts = static_cast<std::uint64_t>(open.old_epoch_lasts.ns) / 1'000'000;
    open.old_epoch_lasts = Duration::milliseconds(
        static_cast<std::int64_t>(params.number("old_epoch_ms", lasts, 0, 3'600'000)));
    SLUICE_TRY_VOID(params.finish());
    return Protection{AesGcmSealer(seal), AesGcmOpener(open)};
}

constexpr std::array kPolicies = {
    ProtectionPolicy{"none", "PDUs as they are", "", make_none},
    ProtectionPolicy{"ttl", "a limit of the hops that a PDU may have left", "hops=64", make_ttl},
    ProtectionPolicy{"inet", "the Internet checksum in the PCI, rlite's csum=inet", "",
                     make_of_format<InetChecksum>},
    ProtectionPolicy{"crc32c", "CRC-32C behind the PDU", "", make_of_format<Crc32c>},
    ProtectionPolicy{"aes-128-gcm", "encrypted and authenticated, with replay protection",
                     "renew_pdus=4294967296 old_epoch_ms=5000", make_aes_gcm<Cipher::aes_128_gcm>},
    ProtectionPolicy{"aes-256-gcm", "encrypted and authenticated, with replay protection",
                     "renew_pdus=4294967296 old_epoch_ms=5000", make_aes_gcm<Cipher::aes_256_gcm>},
};

}  // namespace

std::span<const ProtectionPolicy> protection_policies() noexcept { return kPolicies; }

Result<Protection> make_protection(std::string_view name, std::span<const policy::Param> params,
                                   const PciFormat& format) {
    for (const ProtectionPolicy& known : kPolicies) {
        if (known.name != name) continue;
        Params reader(fmt::format("SDU protection {}", name), params);
        return known.make(reader, format);
    }
    std::vector<std::string> names;
    for (const ProtectionPolicy& known : kPolicies) names.emplace_back(known.name);
    return fail(EINVAL, "SDU protection '{}' is not known, expected one of {}", name,
                policy::join(names));
}

}  // namespace sluice::sdup
