#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/result.hpp"
#include "normal_dif/core/ipcp/auth_crypto.hpp"
#include "rina/cdap.hpp"

// Who is at the other end of a CDAP session: both prove that they have a secret before any message
// but M_CONNECT is listened to. The secret never travels.
//
//   initiator                             responder
//   M_CONNECT: hello, Ni              ->
//                                     <-  M_CONNECT_R, result kAuthContinues: challenge, Ni, Nr
//   M_CONNECT: proof, Ni, Nr, Pi      ->
//                                     <-  M_CONNECT_R, result 0: confirmation, Ni, Nr, Pr
//
//   P = HMAC-SHA-256(K, label | role | mechanism | Ni | Nr | DIF | initiator | responder)
//
// Who calls proves first: otherwise anybody could call and take home something to guess passwords
// on. The names are those of M_CONNECT and M_CONNECT_R, each with its length before it, so that a
// proof is good for one pair, one direction, one DIF and one pair of nonces. In auth_value.other,
// with auth_mech AUTH_PASSWD (a shared secret; which, says byte 2):
//
//   bytes      what
//   0          1, the version of this format
//   1          what it is: 1 hello, 2 challenge, 3 proof, 4 confirmation
//   2          mechanism: 1 password, 2 psk
//   3          0
//   4..35      Ni
//   36..67     Nr (not in hello)
//   68..99     P (in proof and confirmation)
//
// Every M_CONNECT may be repeated until it is answered. K is scrypt of the password, or HKDF of
// the pre-shared key, both salted with the DIF's name; a peer may have a key of its own, and is
// then believed with no other. Session keys are HKDF(K, Ni | Nr): new ones for each session, but
// whoever learns K later can compute them from a recording (there is no Diffie-Hellman in it).
//
// The identity that authenticated is the identity that may act:
// - A session belongs to the name that proved itself. An M_CONNECT on it by another name is
//   refused, and one by the same name (a peer that restarted) ends it only after a proof.
// - Who asked for an IPC process by name takes no answer from another; who asked for the DIF takes
//   one of any name that can prove itself.
// - What is about the two ends alone (enrollment, lower flow, keepalive, release) is about the
//   authenticated name: these messages carry no other. Policies are taken from who enrolls us, and
//   only while it does.
// - Replicated tables (members, links, directory, addresses) carry entries of others, as they are
//   flooded: a member is trusted to pass them on. Entries of our own name we overrule.
// - Between members that share the DIF's secret each can claim to be the other; keys by peer do
//   not allow that.
namespace sluice::mgmt {

enum class AuthMode : std::uint8_t { none = 0, password = 1, psk = 2 };

// result of the M_CONNECT_R that carries a challenge: not 0, so that nobody takes it for a yes.
inline constexpr std::int32_t kAuthContinues = 1;

enum class AuthError : std::uint8_t {
    none,
    missing,            // an M_CONNECT without authentication
    downgrade,          // an M_CONNECT_R that says yes without proof
    unknown_mechanism,  // not ours, or a version that we do not know
    malformed,          // of a wrong length
    reflected,          // our own words, or our nonce as theirs
    replayed,           // about nonces that are not those of this handshake
    wrong_proof,
    unknown_identity,   // a name that we have no key for
    wrong_identity,     // not who was asked for, or another than that of the session
    no_entropy,
};
inline constexpr std::size_t kAuthErrorCount = 11;
const char* to_string(AuthError error) noexcept;

struct AuthConfig {
    std::string policy = "none";
    // Of the DIF: a password of 8 characters or more, or the hex digits of 32 bytes or more. Empty:
    // only peers with a secret of their own.
    std::string secret;
    std::map<std::string, std::string, std::less<>> peers;  // by the name of the IPC process
    Entropy entropy;
};

// The policies there are. To add one: a line in the table of authentication.cpp, what it does with
// a secret there, and a test. Secrets are no parameters, since parameters are shown.
struct AuthPolicyInfo {
    std::string_view name;
    std::string_view help;
    std::string_view params;
    AuthMode mode;
};
std::span<const AuthPolicyInfo> auth_policies() noexcept;

using AuthNonce = std::array<std::byte, 32>;

// One handshake, seen from one side.
struct AuthExchange {
    enum class Phase : std::uint8_t { none, hello, proof, challenged, done };
    Phase phase = Phase::none;
    bool is_initiator = false;
    AuthNonce initiator_nonce{}, responder_nonce{};
    std::string initiator, responder;  // names
    rina::Bytes frame;                 // what our next or repeated M_CONNECT(_R) carries
    AuthKey session_key;               // once done
};

// For SDU protection: both ends have the same, and nobody else. sdup::derive_keys(cipher, secret,
// context, epoch) makes traffic keys of it; forward is from the initiator.
struct SessionSecret {
    AuthKey secret;
    std::array<std::byte, 64> context{};  // Ni | Nr
    bool is_initiator = false;
};

// Of one IPC process: its secrets, and the rules above. Without state of its own.
class Authenticator {
  public:
    // The policy none.
    Authenticator() = default;
    // EINVAL: a policy that nobody knows, or a secret that will not do. Takes 0.1 s for each
    // password.
    static Result<Authenticator> create(const AuthConfig& config, std::string own,
                                        std::string dif);

    bool is_wanted() const noexcept { return mode_ != AuthMode::none; }
    AuthMode mode() const noexcept { return mode_; }

    // Initiator.
    AuthError begin(AuthExchange& x) const;
    // An M_CONNECT_R to an M_CONNECT for `asked`. With AuthError::none, either the phase is proof
    // (and another M_CONNECT is due, with frame) or done.
    AuthError on_answer(AuthExchange& x, const rina::CdapMessage& m,
                        std::string_view asked) const;

    // Responder: an M_CONNECT of `peer`. With AuthError::none, frame goes into the answer; the
    // phase is challenged or done. A challenge is good for one proof.
    AuthError on_connect(AuthExchange& x, const rina::CdapMessage& m,
                         const std::string& peer) const;

    // Is it the M_CONNECT that led to this exchange, once more?
    static bool is_repeated_hello(const AuthExchange& x, const rina::CdapMessage& m) noexcept;
    static bool is_repeated_proof(const AuthExchange& x, const rina::CdapMessage& m) noexcept;
    static void attach(const AuthExchange& x, rina::CdapMessage& m);
    static SessionSecret session_secret(const AuthExchange& x) noexcept;

  private:
    const AuthKey* key_of(std::string_view peer) const noexcept;
    Result<AuthKey> key_from(const std::string& secret, std::string_view whose) const;
    // Of the side whose proof it is; false: libcrypto failed.
    bool prove(const AuthKey& key, const AuthExchange& x, bool of_initiator,
               AuthTag& out) const;
    AuthError on_challenge(AuthExchange& x, const rina::CdapMessage& m,
                           std::string_view asked) const;
    AuthError on_confirmation(AuthExchange& x, const rina::CdapMessage& m) const;
    AuthError on_proof(AuthExchange& x, std::span<const std::byte> frame,
                       const std::string& peer) const;
    bool finish(AuthExchange& x, const AuthKey& key) const;

    AuthMode mode_ = AuthMode::none;
    std::string own_, dif_;
    std::optional<AuthKey> dif_key_;
    std::map<std::string, AuthKey, std::less<>> peer_keys_;
    Entropy entropy_;
};

}  // namespace sluice::mgmt
