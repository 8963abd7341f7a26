#include "normal_dif/core/ipcp/authentication.hpp"

#include <algorithm>
#include <vector>

#include "normal_dif/core/policy/params.hpp"
#include "rina/rlite_name.hpp"

namespace sluice::mgmt {

using rina::CdapMessage;

namespace {

constexpr std::byte kVersion{1};
constexpr std::size_t kInitiatorAt = 4, kResponderAt = 36, kProofAt = 68, kBytes = 100;
enum class Kind : std::uint8_t { hello = 1, challenge, proof, confirmation };

constexpr AuthPolicyInfo kPolicies[] = {
    {"none", "anybody who reaches us may be a neighbour, as with rlite", "", AuthMode::none},
    {"password", "both prove that they know a password (HMAC-SHA-256, scrypt)", "",
     AuthMode::password},
    {"psk", "both prove that they have a key of 32 bytes or more (HMAC-SHA-256)", "",
     AuthMode::psk},
};

constexpr std::size_t size_of(Kind kind) noexcept {
    switch (kind) {
        case Kind::hello: return kResponderAt;
        case Kind::challenge: return kProofAt;
        case Kind::proof:
        case Kind::confirmation: break;
    }
    return kBytes;
}

rina::Bytes frame_of(Kind kind, AuthMode mode, const AuthExchange& x,
                     const AuthTag* proof = nullptr) {
    rina::Bytes out(size_of(kind));
    out[0] = kVersion;
    out[1] = static_cast<std::byte>(kind);
    out[2] = static_cast<std::byte>(mode);
    std::copy(x.initiator_nonce.begin(), x.initiator_nonce.end(), out.begin() + kInitiatorAt);
    if (kind != Kind::hello)
        std::copy(x.responder_nonce.begin(), x.responder_nonce.end(),
                  out.begin() + kResponderAt);
    if (proof != nullptr) std::copy(proof->begin(), proof->end(), out.begin() + kProofAt);
    return out;
}

template <std::size_t kAt>
bool has_nonce(std::span<const std::byte> frame, const AuthNonce& nonce) noexcept {
    return frame.size() >= kAt + nonce.size() &&
           std::equal(nonce.begin(), nonce.end(), frame.begin() + kAt);
}
bool has_nonces(std::span<const std::byte> frame, const AuthExchange& x) noexcept {
    return has_nonce<kInitiatorAt>(frame, x.initiator_nonce) &&
           has_nonce<kResponderAt>(frame, x.responder_nonce);
}
template <std::size_t kAt>
std::array<std::byte, 32> part(std::span<const std::byte> frame) noexcept {
    std::array<std::byte, 32> out;
    std::copy_n(frame.begin() + kAt, out.size(), out.begin());
    return out;
}

bool is_kind(const CdapMessage& m, Kind kind) noexcept {
    const rina::Bytes& frame = m.auth.other;
    return m.auth_mechanism == rina::AuthMechanism::password && frame.size() == size_of(kind) &&
           frame[0] == kVersion && frame[1] == static_cast<std::byte>(kind);
}

// What is wrong with it, whoever sent it; `theirs`: the two kinds that the peer may say.
AuthError check(const CdapMessage& m, AuthMode mode, Kind theirs, Kind theirs_too) {
    const rina::Bytes& frame = m.auth.other;
    if (m.auth_mechanism != rina::AuthMechanism::password || !m.auth.name.empty() ||
        !m.auth.password.empty())
        return AuthError::unknown_mechanism;
    if (frame.size() < kInitiatorAt) return AuthError::malformed;
    if (frame[0] != kVersion || frame[2] != static_cast<std::byte>(mode))
        return AuthError::unknown_mechanism;
    const auto kind = static_cast<Kind>(frame[1]);
    if (kind < Kind::hello || kind > Kind::confirmation || frame[3] != std::byte{0} ||
        frame.size() != size_of(kind))
        return AuthError::malformed;
    return kind == theirs || kind == theirs_too ? AuthError::none : AuthError::reflected;
}

bool says_nothing(const CdapMessage& m) {
    return m.auth_mechanism == rina::AuthMechanism::none && m.auth == rina::AuthValue{};
}

void append(rina::Bytes& out, std::string_view text) {
    const std::size_t n = text.size();
    for (const unsigned shift : {0u, 8u, 16u, 24u})
        out.push_back(static_cast<std::byte>((n >> shift) & 0xff));
    for (const char c : text) out.push_back(static_cast<std::byte>(c));
}

int hex_digit(char c) noexcept {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

}  // namespace

const char* to_string(AuthError error) noexcept {
    switch (error) {
        case AuthError::none: return "none";
        case AuthError::missing: return "it did not authenticate itself";
        case AuthError::downgrade: return "it said yes without a proof";
        case AuthError::unknown_mechanism: return "another mechanism than ours";
        case AuthError::malformed: return "authentication that does not decode";
        case AuthError::reflected: return "it sent our own words back";
        case AuthError::replayed: return "a proof of another handshake";
        case AuthError::wrong_proof: return "a wrong proof";
        case AuthError::unknown_identity: return "a name that has no key here";
        case AuthError::wrong_identity: return "not who it should be";
        case AuthError::no_entropy: return "no random numbers to be had";
    }
    return "?";
}

std::span<const AuthPolicyInfo> auth_policies() noexcept { return kPolicies; }

Result<AuthKey> Authenticator::key_from(const std::string& secret, std::string_view whose) const {
    constexpr std::size_t kPasswordLeast = 8, kKeyLeast = 32;
    if (mode_ == AuthMode::password) {
        if (secret.size() < kPasswordLeast)
            return fail(EINVAL, "password of {} has {} characters, expected {} or more", whose,
                        secret.size(), kPasswordLeast);
        return stretch_password(secret, "sluice authentication password 1 " + dif_);
    }
    rina::Bytes key;
    for (std::size_t i = 0; i + 1 < secret.size(); i += 2) {
        const int high = hex_digit(secret[i]), low = hex_digit(secret[i + 1]);
        if (high < 0 || low < 0) break;
        key.push_back(static_cast<std::byte>(high * 16 + low));
    }
    if (key.size() * 2 != secret.size() || key.size() < kKeyLeast)
        return fail(EINVAL, "pre-shared key of {} is not {} or more bytes in hex digits", whose,
                    kKeyLeast);
    return derive_key(key, std::as_bytes(std::span(dif_)), "sluice authentication psk 1");
}

Result<Authenticator> Authenticator::create(const AuthConfig& config, std::string own,
                                            std::string dif) {
    const auto at = std::find_if(std::begin(kPolicies), std::end(kPolicies),
                                 [&](const auto& p) { return p.name == config.policy; });
    if (at == std::end(kPolicies)) {
        std::vector<std::string> names;
        for (const AuthPolicyInfo& p : kPolicies) names.emplace_back(p.name);
        return fail(EINVAL, "authentication '{}', expected one of {}", config.policy,
                    policy::join(names));
    }
    Authenticator out;
    out.mode_ = at->mode;
    out.own_ = std::move(own);
    out.dif_ = std::move(dif);
    if (!out.is_wanted()) {
        // Who configured a secret believes that it is asked for.
        if (!config.secret.empty() || !config.peers.empty())
            return fail(EINVAL, "authentication none has a secret, expected password or psk");
        return out;
    }
    if (config.secret.empty() && config.peers.empty())
        return fail(EINVAL, "authentication {} without a secret of the DIF or of any peer",
                    config.policy);
    if (!config.entropy)
        return fail(EINVAL, "authentication {} without a source of random numbers",
                    config.policy);
    out.entropy_ = config.entropy;
    if (!config.secret.empty()) {
        SLUICE_TRY(auto key, out.key_from(config.secret, "DIF " + out.dif_));
        out.dif_key_ = key;
    }
    for (const auto& [peer, secret] : config.peers) {
        SLUICE_TRY(auto key, out.key_from(secret, peer));
        out.peer_keys_.emplace(peer, key);
    }
    return out;
}

const AuthKey* Authenticator::key_of(std::string_view peer) const noexcept {
    const auto own = peer_keys_.find(peer);
    if (own != peer_keys_.end()) return &own->second;
    return dif_key_ ? &*dif_key_ : nullptr;
}

bool Authenticator::prove(const AuthKey& key, const AuthExchange& x, bool of_initiator,
                          AuthTag& out) const {
    rina::Bytes message;
    append(message, "sluice cdap authentication 1");
    append(message, of_initiator ? "initiator" : "responder");
    message.push_back(static_cast<std::byte>(mode_));
    message.insert(message.end(), x.initiator_nonce.begin(), x.initiator_nonce.end());
    message.insert(message.end(), x.responder_nonce.begin(), x.responder_nonce.end());
    append(message, dif_);
    append(message, x.initiator);
    append(message, x.responder);
    return hmac_sha256(key, message, out);
}

bool Authenticator::finish(AuthExchange& x, const AuthKey& key) const {
    const auto context = session_secret(x).context;
    std::string label = "sluice cdap session 1";
    using Text = std::string_view;
    for (const Text name : {Text(dif_), Text(x.initiator), Text(x.responder)})
        label += fmt::format(" {}:{}", name.size(), name);
    auto made = derive_key(key.bytes, context, label);
    if (!made) return false;
    x.session_key = *made;
    x.phase = AuthExchange::Phase::done;
    return true;
}

// ---- initiator ----

AuthError Authenticator::begin(AuthExchange& x) const {
    x = {};
    if (!entropy_(x.initiator_nonce)) return AuthError::no_entropy;
    x.is_initiator = true;
    x.initiator = own_;
    x.phase = AuthExchange::Phase::hello;
    x.frame = frame_of(Kind::hello, mode_, x);
    return AuthError::none;
}

AuthError Authenticator::on_answer(AuthExchange& x, const CdapMessage& m,
                                   std::string_view asked) const {
    // Nothing but a confirmation is a yes, and nothing else is one of those.
    if (m.result == 0 && (says_nothing(m) || x.phase != AuthExchange::Phase::proof))
        return AuthError::downgrade;
    const AuthError error = check(m, mode_, Kind::challenge, Kind::confirmation);
    if (error != AuthError::none) return error;
    return m.result == 0 ? on_confirmation(x, m) : on_challenge(x, m, asked);
}

AuthError Authenticator::on_challenge(AuthExchange& x, const CdapMessage& m,
                                      std::string_view asked) const {
    if (x.phase != AuthExchange::Phase::hello || !is_kind(m, Kind::challenge))
        return AuthError::replayed;
    if (!has_nonce<kInitiatorAt>(m.auth.other, x.initiator_nonce)) return AuthError::replayed;
    x.responder_nonce = part<kResponderAt>(m.auth.other);
    if (x.responder_nonce == x.initiator_nonce) return AuthError::reflected;
    x.responder = rina::rlite_name(m.source);
    if (x.responder == own_) return AuthError::reflected;
    if (x.responder.empty() || (asked != dif_ && asked != x.responder))
        return AuthError::wrong_identity;
    const AuthKey* const key = key_of(x.responder);
    if (key == nullptr) return AuthError::unknown_identity;
    AuthTag proof;
    if (!prove(*key, x, true, proof)) return AuthError::wrong_proof;
    x.frame = frame_of(Kind::proof, mode_, x, &proof);
    x.phase = AuthExchange::Phase::proof;
    return AuthError::none;
}

AuthError Authenticator::on_confirmation(AuthExchange& x, const CdapMessage& m) const {
    if (!is_kind(m, Kind::confirmation)) return AuthError::downgrade;
    if (!has_nonces(m.auth.other, x)) return AuthError::replayed;
    if (rina::rlite_name(m.source) != x.responder) return AuthError::wrong_identity;
    const AuthKey* const key = key_of(x.responder);
    AuthTag expected;
    if (key == nullptr || !prove(*key, x, false, expected) ||
        !is_same_secret(expected, part<kProofAt>(m.auth.other)) || !finish(x, *key))
        return AuthError::wrong_proof;
    return AuthError::none;
}

// ---- responder ----

AuthError Authenticator::on_connect(AuthExchange& x, const CdapMessage& m,
                                    const std::string& peer) const {
    if (says_nothing(m)) return AuthError::missing;
    const AuthError error = check(m, mode_, Kind::hello, Kind::proof);
    if (error != AuthError::none) return error;
    if (key_of(peer) == nullptr) return AuthError::unknown_identity;
    if (is_kind(m, Kind::proof)) {
        const AuthError wrong = on_proof(x, m.auth.other, peer);
        if (wrong != AuthError::none) x = {};
        return wrong;
    }
    // A repeated hello gets the same challenge: the first may be under way.
    if (x.phase == AuthExchange::Phase::challenged && x.initiator == peer &&
        is_repeated_hello(x, m))
        return AuthError::none;
    x = {};
    x.initiator_nonce = part<kInitiatorAt>(m.auth.other);
    x.initiator = peer;
    x.responder = own_;
    if (!entropy_(x.responder_nonce) || x.responder_nonce == x.initiator_nonce)
        return AuthError::no_entropy;
    x.frame = frame_of(Kind::challenge, mode_, x);
    x.phase = AuthExchange::Phase::challenged;
    return AuthError::none;
}

AuthError Authenticator::on_proof(AuthExchange& x, std::span<const std::byte> frame,
                                  const std::string& peer) const {
    if (x.phase != AuthExchange::Phase::challenged || !has_nonces(frame, x))
        return AuthError::replayed;
    if (x.initiator != peer) return AuthError::wrong_identity;
    const AuthKey& key = *key_of(peer);
    AuthTag expected, ours;
    if (!prove(key, x, true, expected) || !is_same_secret(expected, part<kProofAt>(frame)) ||
        !prove(key, x, false, ours) || !finish(x, key))
        return AuthError::wrong_proof;
    x.frame = frame_of(Kind::confirmation, mode_, x, &ours);
    return AuthError::none;
}

// ---- either ----

bool Authenticator::is_repeated_hello(const AuthExchange& x, const CdapMessage& m) noexcept {
    return is_kind(m, Kind::hello) && has_nonce<kInitiatorAt>(m.auth.other, x.initiator_nonce);
}

bool Authenticator::is_repeated_proof(const AuthExchange& x, const CdapMessage& m) noexcept {
    return is_kind(m, Kind::proof) && has_nonces(m.auth.other, x);
}

void Authenticator::attach(const AuthExchange& x, CdapMessage& m) {
    m.auth_mechanism = rina::AuthMechanism::password;
    m.auth.other = x.frame;
}

SessionSecret Authenticator::session_secret(const AuthExchange& x) noexcept {
    SessionSecret out;
    out.secret = x.session_key;
    out.is_initiator = x.is_initiator;
    std::copy(x.initiator_nonce.begin(), x.initiator_nonce.end(), out.context.begin());
    std::copy(x.responder_nonce.begin(), x.responder_nonce.end(), out.context.begin() + 32);
    return out;
}

}  // namespace sluice::mgmt
