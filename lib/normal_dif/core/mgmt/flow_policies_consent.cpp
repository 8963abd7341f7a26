#include "normal_dif/core/mgmt/flow_policies_consent.hpp"

#include <algorithm>
#include <string_view>

#include "base/rng.hpp"

namespace sluice::mgmt {

namespace {

constexpr std::string_view kOfferMagic = "SLFO";
constexpr std::string_view kAnswerMagic = "SLFA";
constexpr std::uint8_t kVersion = 1;
constexpr std::size_t kBytes = 36;
constexpr std::size_t kVersionAt = 4, kFeaturesAt = 6, kCreditAt = 8, kQosAt = 12, kNonceAt = 16,
                      kDelayAt = 24, kJitterAt = 28, kLossAt = 32;

using rina::detail::load;
using rina::detail::store;

bool is(const rina::Bytes& bytes, std::string_view magic) noexcept {
    return bytes.size() >= kBytes &&
           std::equal(magic.begin(), magic.end(), bytes.begin(), [](char c, std::byte b) {
               return static_cast<std::byte>(c) == b;
           });
}

rina::Bytes begun(std::string_view magic, Features features, std::uint32_t credit,
                  rina::QosId qos) {
    rina::Bytes bytes(kBytes);
    std::transform(magic.begin(), magic.end(), bytes.begin(),
                   [](char c) { return static_cast<std::byte>(c); });
    store(bytes.data() + kVersionAt, kVersion);
    store(bytes.data() + kFeaturesAt, features.bits());
    store(bytes.data() + kCreditAt, credit);
    store(bytes.data() + kQosAt, qos.value);
    return bytes;
}

std::uint64_t proof(const Answer& answer, const Offer& offer, std::uint64_t port,
                    std::uint32_t cep) noexcept {
    // Each number is stirred in by one step of SplitMix64, so that their order counts.
    std::uint64_t sum = offer.nonce;
    const auto stir = [&](std::uint64_t number) { sum = Rng(sum ^ number).next(); };
    stir(port);
    stir(cep);
    stir(answer.features.bits());
    stir(answer.credit);
    stir(answer.qos.value);
    return sum;
}

}  // namespace

rina::Bytes encode(const Offer& offer) {
    rina::Bytes bytes = begun(kOfferMagic, offer.features, offer.credit, offer.qos);
    store(bytes.data() + kNonceAt, offer.nonce);
    store(bytes.data() + kDelayAt, offer.delay_us);
    store(bytes.data() + kJitterAt, offer.jitter_us);
    store(bytes.data() + kLossAt, offer.max_loss);
    return bytes;
}

std::optional<Offer> offer_in(const rina::Bytes& bytes) {
    if (!is(bytes, kOfferMagic) || load<std::uint8_t>(bytes.data() + kVersionAt) == 0)
        return std::nullopt;
    Offer offer;
    offer.features = Features(load<std::uint16_t>(bytes.data() + kFeaturesAt));
    offer.credit = load<std::uint32_t>(bytes.data() + kCreditAt);
    offer.qos = rina::QosId{load<std::uint16_t>(bytes.data() + kQosAt)};
    offer.nonce = load<std::uint64_t>(bytes.data() + kNonceAt);
    offer.delay_us = load<std::uint32_t>(bytes.data() + kDelayAt);
    offer.jitter_us = load<std::uint32_t>(bytes.data() + kJitterAt);
    offer.max_loss = load<std::uint16_t>(bytes.data() + kLossAt);
    if (offer.nonce == 0 || offer.max_loss > kLossAny) return std::nullopt;
    return offer;
}

rina::Bytes encode(const Answer& answer, const Offer& offer, std::uint64_t port,
                   std::uint32_t cep) {
    rina::Bytes bytes = begun(kAnswerMagic, answer.features, answer.credit, answer.qos);
    store(bytes.data() + kNonceAt, proof(answer, offer, port, cep));
    return bytes;
}

ReadAnswer answer_in(const rina::Bytes& bytes, const Offer& offer, std::uint64_t port,
                     std::uint32_t cep) {
    if (!is(bytes, kAnswerMagic)) return {};
    Answer answer;
    const auto features = load<std::uint16_t>(bytes.data() + kFeaturesAt);
    answer.features = Features(features);
    answer.credit = load<std::uint32_t>(bytes.data() + kCreditAt);
    answer.qos = rina::QosId{load<std::uint16_t>(bytes.data() + kQosAt)};
    // More than was offered cannot have been agreed on.
    const bool sound = (features & ~offer.features.bits()) == 0 && answer.credit <= offer.credit &&
                       (answer.qos == offer.qos || answer.qos == rina::QosId{}) &&
                       load<std::uint64_t>(bytes.data() + kNonceAt) ==
                           proof(answer, offer, port, cep);
    return {sound ? Consent::given : Consent::invalid, answer};
}

Features useful(Features features, const efcp::EfcpPolicies& policies) noexcept {
    if (!policies.reliable())
        features = features.without(Feature::sack).without(Feature::rate_estimate);
    if (!policies.window) features = features.without(Feature::large_windows);
    if (!policies.in_order) features = features.without(Feature::delimiting);
    if (!policies.dtcp_present) features = features.without(Feature::ecn);
    return features;
}

Answer agree(const Offer& offer, const ExtensionConfig& own, const efcp::EfcpPolicies& policies,
             bool cube_known) noexcept {
    Answer answer;
    answer.features = useful(offer.features & own.features, policies);
    const std::uint32_t credit = std::min({offer.credit, own.credit, efcp::kCreditMax});
    // A window of nothing would never open.
    if (credit == 0) answer.features = answer.features.without(Feature::large_windows);
    if (answer.features.has(Feature::large_windows)) answer.credit = credit;
    if (cube_known) answer.qos = offer.qos;
    return answer;
}

efcp::EfcpPolicies with(efcp::EfcpPolicies policies, const Answer& agreed) noexcept {
    const Features features = useful(agreed.features, policies);
    policies.dialect = efcp::Dialect::sluice;
    policies.sack = features.has(Feature::sack);
    policies.delimiting = features.has(Feature::delimiting);
    policies.ecn = features.has(Feature::ecn);
    if (features.has(Feature::large_windows) && agreed.credit != 0) {
        policies.large_windows = true;
        policies.window->initial_credit = agreed.credit;
    }
    if (features.has(Feature::rate_estimate))
        policies.congestion = efcp::Congestion::rate_estimate;
    return policies;
}

}  // namespace sluice::mgmt
