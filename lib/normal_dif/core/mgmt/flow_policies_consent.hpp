#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "normal_dif/core/mgmt/flow_policies.hpp"
#include "rina/objects.hpp"
#include "rina/pci.hpp"

// What two of our own nodes agree on beyond what rlite can, in the field access_control of the
// FlowRequest, which rlite neither writes nor reads.
//
// The initiator's M_CREATE carries an offer. rlite answers a request with the same request, filled
// in where it knows the fields, so the offer may come back: that is no consent. Consent is an
// answer with another magic number and a proof, computed from the offer's nonce, the ids that the
// responder chose, and what it agreed to. Without it, the flow is what the rest of the request
// says, and rlite's dialect is spoken. The proof is against echoes and mix-ups; it is no
// authentication, of which this layer has none.
//
// Both are 36 bytes, little-endian. A later version may append to them; what is not understood is
// not agreed on.
//    0 magic: "SLFO" (offer) or "SLFA" (answer)    16 nonce (offer), proof (answer)
//    4 version, 1                                  24 delay, us    (offer; 0 in the answer)
//    5 0                                           28 jitter, us   (idem)
//    6 features                                    32 loss, 1/10000 (idem)
//    8 credit of both windows, PDUs                34 0
//   12 QoS-id of the cube (0: none)
//   14 0
namespace sluice::mgmt {

enum class Feature : std::uint16_t {
    sack = 1,
    large_windows = 2,
    delimiting = 4,
    ecn = 8,
    rate_estimate = 16,  // a congestion control that is not friendly to rlite's
};

class Features {
  public:
    constexpr Features() noexcept = default;
    constexpr explicit Features(std::uint16_t bits) noexcept : bits_(bits & kKnown) {}
    static constexpr Features all() noexcept { return Features(kKnown); }

    constexpr bool has(Feature f) const noexcept {
        return (bits_ & static_cast<std::uint16_t>(f)) != 0;
    }
    constexpr Features with(Feature f) const noexcept {
        return Features(static_cast<std::uint16_t>(bits_ | static_cast<std::uint16_t>(f)));
    }
    constexpr Features without(Feature f) const noexcept {
        return Features(static_cast<std::uint16_t>(bits_ & ~static_cast<std::uint16_t>(f)));
    }
    constexpr Features operator&(Features o) const noexcept {
        return Features(static_cast<std::uint16_t>(bits_ & o.bits_));
    }
    constexpr std::uint16_t bits() const noexcept { return bits_; }
    constexpr bool operator==(const Features&) const noexcept = default;

  private:
    static constexpr std::uint16_t kKnown = 31;
    std::uint16_t bits_ = 0;
};

// What this end can do and wants.
struct ExtensionConfig {
    bool offered = true;  // false: requests are rlite's to the last byte
    Features features = Features::all();
    std::uint32_t credit = 4096;  // with large windows
};

struct Offer {
    Features features;
    std::uint32_t credit = 0;
    rina::QosId qos{};
    std::uint64_t nonce = 0;  // never 0
    // What the application asked for and rlite's FlowRequests do not say.
    std::uint32_t delay_us = 0;
    std::uint32_t jitter_us = 0;
    std::uint16_t max_loss = kLossAny;

    bool operator==(const Offer&) const = default;
};

struct Answer {
    Features features;
    std::uint32_t credit = 0;
    rina::QosId qos{};

    bool operator==(const Answer&) const = default;
};

rina::Bytes encode(const Offer& offer);
// Nothing: no offer, or one that makes no sense.
std::optional<Offer> offer_in(const rina::Bytes& access_control);

// `port` and `cep` are the responder's.
rina::Bytes encode(const Answer& answer, const Offer& offer, std::uint64_t port,
                   std::uint32_t cep);

enum class Consent : std::uint8_t {
    none,     // no answer: rlite, or somebody who does not know about all this
    given,
    invalid,  // an answer that is none to this offer: nobody knows what the other end will do
};
struct ReadAnswer {
    Consent consent = Consent::none;
    Answer answer{};
};
ReadAnswer answer_in(const rina::Bytes& access_control, const Offer& offer, std::uint64_t port,
                     std::uint32_t cep);

// What makes sense for a connection with these policies.
Features useful(Features features, const efcp::EfcpPolicies& policies) noexcept;
// What the responder agrees to; `cube_known`: the offer's QoS-id is one of its cubes.
Answer agree(const Offer& offer, const ExtensionConfig& own, const efcp::EfcpPolicies& policies,
             bool cube_known) noexcept;
// The policies with what was agreed on.
efcp::EfcpPolicies with(efcp::EfcpPolicies policies, const Answer& agreed) noexcept;

}  // namespace sluice::mgmt
